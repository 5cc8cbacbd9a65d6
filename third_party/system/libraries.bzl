"""Binds the libraries of the operating system as `@system//:NAME`.

Each entry names its pkg-config modules or its raw link options, one header that must exist, and the
Debian package that brings it, so that a machine that lacks one is told what to install.
"""

_LIBRARIES = {
    # name: (pkg-config modules, extra link options, header, Debian package)
    "absl": (
        "absl_status absl_statusor absl_strings absl_str_format absl_synchronization absl_time absl_flat_hash_map " +
        "absl_flat_hash_set absl_span absl_optional absl_hash absl_random_random absl_cord absl_any_invocable",
        "",
        "absl/status/statusor.h",
        "libabsl-dev",
    ),
    "benchmark": ("benchmark", "", "benchmark/benchmark.h", "libbenchmark-dev"),
    "cli11": ("", "", "CLI/CLI.hpp", "libcli11-dev"),
    "concurrentqueue": ("", "", "concurrentqueue/concurrentqueue.h", "libconcurrentqueue-dev"),
    "dnnl": ("", "-ldnnl -lgomp", "oneapi/dnnl/dnnl.hpp", "libdnnl-dev"),
    "grpc": ("grpc++ protobuf", "", "grpcpp/grpcpp.h", "libgrpc++-dev"),
    "grpc_reflection": ("", "-Wl,--no-as-needed -lgrpc++_reflection -Wl,--as-needed", "grpcpp/ext/proto_server_reflection_plugin.h", "libgrpc++-dev"),
    "gtest": ("gmock gtest", "", "gtest/gtest.h", "libgtest-dev libgmock-dev"),
    "isal": ("libisal", "", "isa-l/crc.h", "libisal-dev"),
    "nlohmann_json": ("", "", "nlohmann/json.hpp", "nlohmann-json3-dev"),
    "openssl_crypto": ("libcrypto", "", "openssl/sha.h", "libssl-dev"),
    "openssl_ssl": ("libssl libcrypto", "", "openssl/ssl.h", "libssl-dev"),
    "prometheus": ("", "-lprometheus-cpp-core -lcivetweb-cpp -lcivetweb", "prometheus/registry.h", "prometheus-cpp-dev libcivetweb-dev"),
    "protobuf": ("protobuf", "", "google/protobuf/message.h", "libprotobuf-dev"),
    "zlib": ("zlib", "", "zlib.h", "zlib1g-dev"),
    "spdlog": ("spdlog", "", "spdlog/spdlog.h", "libspdlog-dev"),
    "sqlite3": ("sqlite3", "", "sqlite3.h", "libsqlite3-dev"),
    "yaml_cpp": ("yaml-cpp", "", "yaml-cpp/yaml.h", "libyaml-cpp-dev"),
}

_DEPS = {
    "grpc_reflection": [":grpc"],
}

_INCLUDE_DIRS = ["/usr/include", "/usr/include/x86_64-linux-gnu", "/usr/local/include"]

def _require_header(ctx, name, header, package):
    for directory in _INCLUDE_DIRS:
        if ctx.path(directory + "/" + header).exists:
            return
    fail("%s: header <%s> not found; run deploy/install-packages (or: apt-get install %s)" % (name, header, package))

def _flags(ctx, modules, what, package):
    if not modules:
        return []
    result = ctx.execute(["pkg-config", what] + modules.split(" "))
    if result.return_code != 0:
        fail("pkg-config %s failed; run deploy/install-packages (or: apt-get install %s): %s" % (modules, package, result.stderr))
    return [flag for flag in result.stdout.strip().split(" ") if flag]

def _system_libraries_impl(ctx):
    rules = []
    for name, (modules, extra, header, package) in _LIBRARIES.items():
        _require_header(ctx, name, header, package)
        defines = [f[2:] for f in _flags(ctx, modules, "--cflags-only-other", package) if f.startswith("-D")]
        linkopts = _flags(ctx, modules, "--libs", package) + [f for f in extra.split(" ") if f]
        rules.append("cc_library(name = %r, defines = %r, linkopts = %r, deps = %r, visibility = [\"//visibility:public\"])" %
                     (name, defines, linkopts, _DEPS.get(name, [])))
    ctx.file("BUILD", "\n".join(rules) + "\n")
    ctx.file("WORKSPACE", "workspace(name = \"system\")\n")

system_libraries = repository_rule(
    implementation = _system_libraries_impl,
    local = True,
    doc = "Creates @system with one cc_library per operating system library.",
)
