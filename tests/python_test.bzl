"""Tests in Python against the built daemons."""

def process_test(name, src, data = [], size = "medium", tags = []):
    """Runs the unittest module `src` with the daemons and paramctl at hand.

    Args:
      name: the test.
      src: a .py file of this package.
      data: further files.
      size: as everywhere.
      tags: as everywhere.
    """
    native.sh_test(
        name = name,
        size = size,
        srcs = ["//tests/framework:python_test.sh"],
        args = ["%s/%s" % (native.package_name(), src)],
        data = data + [
            src,
            "//client:paramctl",
            "//server:paramd-server",
            "//server/coordinator:paramd-coordinator",
            "//tests/framework:processes.py",
            "//worker:paramd-worker",
        ],
        tags = tags + [
            "exclusive",
            "multi-process",
        ],
    )
