// Measures how fast model bytes move between workers and servers, over every path, in interleaved rounds: raw TCP, gRPC
// as it comes, and paramd over TCP, unix sockets and shared memory.
//
//   bazel run -c opt //tests/bench:data_plane -- [--json] [--rounds 5] [--rows paramd_tcp/plain,raw_tcp]
//
// Servers and workers are processes of their own, SGD is really applied and the weights are checked. Prints a table and
// the ratios that docs/performance.md explains, or one JSON object.
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/status_macros.h"
#include "tests/bench/data_plane_measure.h"
#include "tests/bench/data_plane_report.h"

namespace paramd {
namespace {

struct Flags {
  std::string role;  // Set in child processes.
  std::string rows;
  std::vector<int64_t> chunk_bytes;
  bool json = false;
  DataPlaneSettings settings;
};

void AddTransportFlags(CLI::App& app, BulkTransportOptions& transport) {
  app.add_option("--frame-bytes", transport.max_frame_bytes, "HTTP/2 frame size");
  app.add_option("--read-chunk-bytes", transport.read_chunk_bytes, "of one read from a socket");
  app.add_option("--min-read-chunk-bytes", transport.min_read_chunk_bytes, "least of one read");
  app.add_option("--max-read-chunk-bytes", transport.max_read_chunk_bytes, "most of one read");
  app.add_option("--lookahead-bytes", transport.lookahead_bytes, "HTTP/2 window of a stream");
  app.add_option("--bdp", transport.bdp_probe, "HTTP/2 bandwidth probe");
  app.add_option("--write-buffer-bytes", transport.write_buffer_bytes, "HTTP/2 write buffer; 0: gRPC's default");
  app.add_option("--tls-frame-bytes", transport.tls_frame_bytes, "frame of the TLS layer; 0: gRPC's default");
  app.add_option("--unix-buffer-bytes", transport.unix_buffer_bytes, "of unix sockets; 0: the system's default");
  app.add_option("--loopback-reno", transport.loopback_reno, "TCP within the host is not paced");
}

void AddFlags(CLI::App& app, Flags& flags) {
  DataPlaneSettings& settings = flags.settings;
  app.option_defaults()->always_capture_default();
  app.add_option("--rows", flags.rows, "only rows whose name contains one of these words, e.g. ^raw,paramd_tcp,1x2$");
  app.add_flag("--json", flags.json, "print one JSON object");
  app.add_option("--rounds", settings.rounds, "interleaved rounds; medians are printed")->check(CLI::Range(1, 1000));
  app.add_option("--seconds", settings.seconds, "measured per row and round")->check(CLI::Range(0.001, 60.0));
  app.add_option("--model-bytes", settings.model_bytes, "fp32 model; a power of two")
      ->check(CLI::Range(int64_t{1} << 16, int64_t{1} << 32));
  app.add_option("--chunk-bytes", flags.chunk_bytes, "replaces the chunk sizes of the rows chosen")->delimiter(',');
  app.add_option("--window", settings.window, "chunks in flight")->check(CLI::Range(1, 1 << 16));
  app.add_option("--streams", settings.streams, "streams per worker and server")->check(CLI::Range(1, 16));
  app.add_option("--owner-threads", settings.owner_threads, "of the server; 0: its default")->check(CLI::Range(0, 64));
  app.add_option("--checksum", settings.checksum, "auto or always")->check(CLI::IsMember({"auto", "always"}));
  app.add_option("--mallopt", settings.mallopt, "keep freed memory in the process");
  app.add_option("--copy-counter", settings.copy_counter, "libcopy_counter.so: count copies instead of time");
  AddTransportFlags(app, settings.transport);
  app.add_option("--role", flags.role, "of a child process")->group("");
}

std::vector<DataPlaneCase> ChosenCases(const Flags& flags) {
  std::vector<DataPlaneCase> known = AllCases();
  if (!flags.rows.empty()) {
    for (DataPlaneCase& c : TuningCases()) known.push_back(std::move(c));
  }
  const std::vector<DataPlaneCase> chosen = FilterCases(known, flags.rows);
  if (flags.chunk_bytes.empty()) return chosen;
  std::vector<DataPlaneCase> cases;
  for (int64_t chunk_bytes : flags.chunk_bytes) {
    for (DataPlaneCase c : chosen) {
      c.chunk_bytes = chunk_bytes;
      const bool chosen_before = std::any_of(
          cases.begin(), cases.end(), [&](const DataPlaneCase& other) { return CaseName(other) == CaseName(c); });
      if (!chosen_before) cases.push_back(c);
    }
  }
  return cases;
}

absl::StatusOr<std::vector<CaseResult>> MeasureAll(const Flags& flags) {
  std::vector<CaseResult> results;
  for (const DataPlaneCase& c : ChosenCases(flags)) results.push_back({.measured = c});
  if (results.empty()) return absl::InvalidArgumentError("no row has such a name");
  for (int round = 0; round < flags.settings.rounds; ++round) {
    for (CaseResult& result : results) {
      absl::StatusOr<Measurement> measurement = Measure(result.measured, flags.settings);
      if (!measurement.ok()) {
        return absl::Status(measurement.status().code(),
                            absl::StrCat(CaseName(result.measured), ": ", measurement.status().message()));
      }
      result.rounds.push_back(*measurement);
      std::fprintf(stderr, "round %d/%d %s\r", round + 1, flags.settings.rounds,
                   absl::StrFormat("%-60s", CaseName(result.measured)).c_str());
    }
  }
  std::fprintf(stderr, "\n");
  return results;
}

absl::Status Run(const Flags& flags) {
  ASSIGN_OR_RETURN(const std::vector<CaseResult> results, MeasureAll(flags));
  if (!flags.settings.copy_counter.empty()) {
    std::printf("%s", ToCopiesTable(results).c_str());
  } else if (flags.json) {
    std::printf("%s\n", ToJson(results).dump().c_str());
  } else {
    std::printf("%s\n%s", ToTable(results).c_str(), ToFigures(results).c_str());
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace paramd

int main(int argc, char** argv) {
  paramd::Flags flags;
  CLI::App app("Measures paramd's data plane against raw TCP and stock gRPC.", "data_plane");
  try {
    paramd::AddFlags(app, flags);
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  std::signal(SIGPIPE, SIG_IGN);  // A child that ended is an error like others.
  if (!flags.role.empty()) return paramd::RunRole(flags.role);
  const absl::Status status = paramd::Run(flags);
  if (!status.ok()) std::fprintf(stderr, "data_plane: %s\n", std::string(status.message()).c_str());
  return status.ok() ? 0 : 1;
}
