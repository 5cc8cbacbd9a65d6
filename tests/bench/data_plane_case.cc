#include "tests/bench/data_plane_case.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace paramd {
namespace {

constexpr int64_t kKiB = 1024;
constexpr int64_t kMiB = 1024 * kKiB;

bool Matches(absl::string_view name, absl::string_view word) {
  const bool begins = absl::ConsumePrefix(&word, "^"), ends = absl::ConsumeSuffix(&word, "$");
  return (!begins || absl::StartsWith(name, word)) && (!ends || absl::EndsWith(name, word)) &&
         absl::StrContains(name, word);
}

}  // namespace

std::string CaseName(const DataPlaneCase& c) {
  if (c.small) return absl::StrCat("small/", c.path, c.tls ? "/tls" : "");
  return absl::StrCat(c.path, "/", c.tls ? "tls" : "plain", "/", c.codec, "/", c.chunk_bytes / kKiB, "KiB/", c.workers,
                      "x", c.servers);
}

std::vector<DataPlaneCase> AllCases() {
  std::vector<DataPlaneCase> cases = {{.path = "raw_tcp"}};
  for (const char* path : {"stock_unary", "stock_stream", "paramd_tcp", "paramd_unix", "paramd_shm"}) {
    for (int64_t chunk_bytes : {64 * kKiB, 256 * kKiB, 1 * kMiB, 4 * kMiB}) {
      cases.push_back({.path = path, .chunk_bytes = chunk_bytes});
    }
  }
  cases.push_back({.path = "paramd_tcp", .tls = true});
  for (const char* codec : {"bf16", "fp16", "int8", "topk", "onebit"}) {
    cases.push_back({.path = "paramd_tcp", .codec = codec});
  }
  for (const char* path : {"paramd_tcp", "paramd_shm"}) {
    cases.push_back({.path = path, .workers = 1, .servers = 2});
    cases.push_back({.path = path, .workers = 2, .servers = 1});
    cases.push_back({.path = path, .workers = 2, .servers = 2});
  }
  for (const char* path : {"stock_unary", "stock_stream", "paramd_tcp", "paramd_unix", "paramd_shm"}) {
    cases.push_back({.path = path, .small = true});
  }
  return cases;
}

std::vector<DataPlaneCase> TuningCases() {
  std::vector<DataPlaneCase> cases;
  for (const char* path : {"tuned_stream", "tuned_unix"}) {
    for (int64_t chunk_bytes : {64 * kKiB, 256 * kKiB, 1 * kMiB, 4 * kMiB}) {
      cases.push_back({.path = path, .chunk_bytes = chunk_bytes});
    }
    cases.push_back({.path = path, .small = true});
  }
  return cases;
}

std::vector<DataPlaneCase> FilterCases(const std::vector<DataPlaneCase>& cases, absl::string_view filter) {
  const std::vector<std::string> words = absl::StrSplit(filter, ',', absl::SkipEmpty());
  std::vector<DataPlaneCase> chosen;
  std::copy_if(cases.begin(), cases.end(), std::back_inserter(chosen), [&](const DataPlaneCase& c) {
    return words.empty() ||
           std::any_of(words.begin(), words.end(), [&](const std::string& word) { return Matches(CaseName(c), word); });
  });
  return chosen;
}

}  // namespace paramd
