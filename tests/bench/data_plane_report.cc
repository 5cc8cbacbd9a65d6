#include "tests/bench/data_plane_report.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tests/bench/median.h"

namespace paramd {
namespace {

using nlohmann::json;

struct Figure {
  const char* what;
  const char* row;
  const char* against;
  double goal;
};

constexpr Figure kFigures[] = {
    {"TCP against raw TCP, one way", "paramd_tcp/plain/fp32/1024KiB/1x1", "raw_tcp/plain/fp32/1024KiB/1x1", 1.15},
    {"TCP against stock unary", "paramd_tcp/plain/fp32/1024KiB/1x1", "stock_unary/plain/fp32/1024KiB/1x1", 2.5},
    {"TCP against stock stream", "paramd_tcp/plain/fp32/1024KiB/1x1", "stock_stream/plain/fp32/1024KiB/1x1", 1.5},
    {"unix socket against TCP", "paramd_unix/plain/fp32/1024KiB/1x1", "paramd_tcp/plain/fp32/1024KiB/1x1", 1.2},
    {"shared memory against TCP", "paramd_shm/plain/fp32/1024KiB/1x1", "paramd_tcp/plain/fp32/1024KiB/1x1", 4},
    {"bf16 against fp32, TCP", "paramd_tcp/plain/bf16/1024KiB/1x1", "paramd_tcp/plain/fp32/1024KiB/1x1", 1.7},
    {"TLS against plaintext, TCP", "paramd_tcp/tls/fp32/1024KiB/1x1", "paramd_tcp/plain/fp32/1024KiB/1x1", 0.45},
    {"1 KiB messages against stock unary calls", "small/paramd_tcp", "small/stock_unary", 5},
};

double Value(const Measurement& m, bool small) { return small ? m.small.messages_per_s : m.gb_per_s; }

const CaseResult* Find(absl::Span<const CaseResult> results, absl::string_view name) {
  for (const CaseResult& result : results) {
    if (CaseName(result.measured) == name && !result.rounds.empty()) return &result;
  }
  return nullptr;
}

std::string FigureLine(const Figure& figure, const CaseResult& row, const CaseResult& against) {
  std::vector<double> ratios;
  for (size_t i = 0; i < std::min(row.rounds.size(), against.rounds.size()); ++i) {
    ratios.push_back(Value(row.rounds[i], row.measured.small) / Value(against.rounds[i], against.measured.small));
  }
  const auto [low, high] = std::minmax_element(ratios.begin(), ratios.end());
  const double median = Median(ratios);
  return absl::StrFormat("%-42s %6.2fx  (%.2f to %.2f)  goal %.2fx%s\n", figure.what, median, *low, *high, figure.goal,
                         median >= figure.goal ? "" : "  MISSED");
}

template <typename Get>
double MedianBy(const CaseResult& result, Get get) {
  std::vector<double> values;
  for (const Measurement& m : result.rounds) values.push_back(get(m));
  return Median(std::move(values));
}

}  // namespace

Measurement MedianOf(const CaseResult& result) {
  return {.gb_per_s = MedianBy(result, [](const Measurement& m) { return m.gb_per_s; }),
          .cpu_s_per_gb = MedianBy(result, [](const Measurement& m) { return m.cpu_s_per_gb; }),
          .server_copies = MedianBy(result, [](const Measurement& m) { return m.server_copies; }),
          .worker_copies = MedianBy(result, [](const Measurement& m) { return m.worker_copies; }),
          .small = {.messages_per_s = MedianBy(result, [](const Measurement& m) { return m.small.messages_per_s; }),
                    .p50_us = MedianBy(result, [](const Measurement& m) { return m.small.p50_us; }),
                    .p99_us = MedianBy(result, [](const Measurement& m) { return m.small.p99_us; })}};
}

json ToJson(absl::Span<const CaseResult> results) {
  json rows = json::array(), small = json::array();
  for (const CaseResult& result : results) {
    const DataPlaneCase& c = result.measured;
    const Measurement median = MedianOf(result);
    if (c.small) {
      small.push_back({{"path", c.path},
                       {"tls", c.tls},
                       {"bytes", kSmallMessageBytes},
                       {"messages_per_s", median.small.messages_per_s},
                       {"p50_us", median.small.p50_us},
                       {"p99_us", median.small.p99_us}});
    } else {
      rows.push_back({{"path", c.path},
                      {"tls", c.tls},
                      {"codec", c.codec},
                      {"chunk_bytes", c.chunk_bytes},
                      {"workers", c.workers},
                      {"servers", c.servers},
                      {"gb_per_s", median.gb_per_s},
                      {"cpu_s_per_gb", median.cpu_s_per_gb}});
    }
  }
  return {{"rows", std::move(rows)}, {"small", std::move(small)}};
}

std::string ToTable(absl::Span<const CaseResult> results) {
  std::string table = absl::StrFormat("%-44s %8s %12s\n", "path/tls/codec/chunk/workers x servers", "GB/s", "CPU-s/GB");
  std::string small = absl::StrFormat("%-44s %12s %8s %8s\n", "1 KiB messages", "messages/s", "p50 us", "p99 us");
  const size_t small_header = small.size();
  for (const CaseResult& result : results) {
    const Measurement m = MedianOf(result);
    const std::string name = CaseName(result.measured);
    if (result.measured.small) {
      absl::StrAppendFormat(&small, "%-44s %12.0f %8.1f %8.1f\n", name, m.small.messages_per_s, m.small.p50_us,
                            m.small.p99_us);
    } else {
      absl::StrAppendFormat(&table, "%-44s %8.2f %12.3f\n", name, m.gb_per_s, m.cpu_s_per_gb);
    }
  }
  return small.size() == small_header ? table : absl::StrCat(table, "\n", small);
}

std::string ToCopiesTable(absl::Span<const CaseResult> results) {
  std::string table =
      absl::StrFormat("%-46s %10s %10s\n", "copied in user space per byte sent or received", "by server", "by worker");
  for (const CaseResult& result : results) {
    if (result.measured.small) continue;
    const Measurement m = MedianOf(result);
    absl::StrAppendFormat(&table, "%-46s %10.4f %10.4f\n", CaseName(result.measured), m.server_copies, m.worker_copies);
  }
  return table;
}

std::string ToFigures(absl::Span<const CaseResult> results) {
  std::string figures;
  for (const Figure& figure : kFigures) {
    const CaseResult* row = Find(results, figure.row);
    const CaseResult* against = Find(results, figure.against);
    if (row != nullptr && against != nullptr) figures += FigureLine(figure, *row, *against);
  }
  return figures;
}

}  // namespace paramd
