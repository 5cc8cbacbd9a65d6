"""C++ libraries from .proto files, through the operating system's protoc and grpc_cpp_plugin."""

def cc_grpc_library(name, srcs, deps = [], proto_root = "", imports = [], grpc = True, visibility = None):
    """Generates messages and, with grpc, service stubs; also exports the sources as NAME_protos.

    Args:
      name: the cc_library.
      srcs: .proto files of this package.
      deps: other cc_grpc_library targets whose messages the sources import.
      proto_root: the workspace directory that import paths of the sources start from ("" is the workspace's root).
      imports: further directories to search for imports.
      grpc: whether the sources declare services.
      visibility: as everywhere.
    """
    outs = []
    headers = []
    for src in srcs:
        stem = src[:-len(".proto")]
        headers.append(stem + ".pb.h")
        outs.append(stem + ".pb.cc")
        if grpc:
            headers.append(stem + ".grpc.pb.h")
            outs.append(stem + ".grpc.pb.cc")
    native.filegroup(
        name = name + "_protos",
        srcs = srcs + [dep + "_protos" for dep in deps],
        visibility = visibility,
    )
    root = proto_root or "."
    plugin = " --plugin=protoc-gen-grpc=$$(command -v grpc_cpp_plugin) --grpc_out=" if grpc else ""
    out_dir = "$(GENDIR)/" + proto_root if proto_root else "$(GENDIR)"
    native.genrule(
        name = name + "_gen",
        srcs = [":" + name + "_protos"],
        outs = headers + outs,
        cmd = "protoc -I%s %s --cpp_out=%s %s %s" % (
            root,
            " ".join(["-I" + i for i in imports]),
            out_dir,
            plugin + out_dir if grpc else "",
            " ".join(["%s/%s" % (native.package_name(), src) for src in srcs]),
        ),
    )
    native.cc_library(
        name = name,
        srcs = outs,
        hdrs = headers,
        copts = ["-w"],
        strip_include_prefix = "/" + proto_root if proto_root else None,
        deps = deps + ["@system//:grpc"],
        visibility = visibility,
    )
