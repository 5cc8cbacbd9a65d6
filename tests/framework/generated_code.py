"""The messages and stubs of proto/, as protoc generates them for Python.

    generated_code.generate(directory)
    from proto import parameter_pb2, parameter_pb2_grpc
"""

import pathlib
import shutil
import subprocess
import sys

IMPORTS = ("", "third_party/googleapis")


def generate(directory):
    """Runs protoc over the .proto files of the working directory; `directory` becomes importable."""
    sources = []
    for root, pattern in zip(IMPORTS, ("proto/*.proto", "google/rpc/*.proto")):
        sources += [str(path.relative_to(root)) for path in sorted(pathlib.Path(root).glob(pattern))]
    plugin = shutil.which("grpc_python_plugin")
    subprocess.run(
        [
            "protoc",
            *(f"-I{root or '.'}" for root in IMPORTS),
            f"--plugin=protoc-gen-grpc_python={plugin}",
            f"--python_out={directory}",
            f"--grpc_python_out={directory}",
            *sources,
        ],
        check=True,
    )
    sys.path.insert(0, str(directory))
