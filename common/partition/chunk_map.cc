#include "common/partition/chunk_map.h"

#include <algorithm>
#include <numeric>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/error.h"

namespace paramd {
namespace {

absl::Status DoesNotFit(absl::Span<const int64_t> chunk_bytes, absl::Span<const int64_t> free_bytes) {
  const int64_t needed = std::accumulate(chunk_bytes.begin(), chunk_bytes.end(), int64_t{0});
  int64_t available = 0;
  for (const int64_t room : free_bytes) available += std::max<int64_t>(room, 0);
  return MakeError(absl::StatusCode::kResourceExhausted, "INSUFFICIENT_SERVER_MEMORY",
                   absl::StrCat("the job needs ", needed, " bytes in ", chunk_bytes.size(), " chunks; ",
                                free_bytes.size(), " servers have ", available, " bytes free"),
                   {{"neededBytes", absl::StrCat(needed)},
                    {"availableBytes", absl::StrCat(available)},
                    {"servers", absl::StrCat(free_bytes.size())}});
}

}  // namespace

absl::StatusOr<std::vector<uint32_t>> PlaceChunks(absl::Span<const int64_t> chunk_bytes,
                                                  absl::Span<const int64_t> free_bytes) {
  for (const int64_t bytes : chunk_bytes) {
    if (bytes < 0) {
      return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_CHUNK",
                       absl::StrCat("a chunk cannot have ", bytes, " bytes"));
    }
  }
  std::vector<size_t> largest_first(chunk_bytes.size());
  std::iota(largest_first.begin(), largest_first.end(), size_t{0});
  std::stable_sort(largest_first.begin(), largest_first.end(),
                   [&](size_t a, size_t b) { return chunk_bytes[a] > chunk_bytes[b]; });
  std::vector<int64_t> load(free_bytes.size(), 0);
  std::vector<uint32_t> server_of(chunk_bytes.size());
  for (const size_t chunk : largest_first) {
    const size_t none = free_bytes.size();
    size_t best = none;
    for (size_t server = 0; server < free_bytes.size(); ++server) {
      const bool fits = chunk_bytes[chunk] <= free_bytes[server] - load[server];
      if (fits && (best == none || load[server] < load[best])) best = server;
    }
    if (best == none) return DoesNotFit(chunk_bytes, free_bytes);
    load[best] += chunk_bytes[chunk];
    server_of[chunk] = static_cast<uint32_t>(best);
  }
  return server_of;
}

std::vector<SlotRange> DealSlots(uint32_t slots, uint32_t workers) {
  std::vector<SlotRange> ranges;
  ranges.reserve(workers);
  for (uint64_t worker = 0; worker < workers; ++worker) {
    const uint32_t begin = static_cast<uint32_t>(worker * slots / workers);
    const uint32_t end = static_cast<uint32_t>((worker + 1) * slots / workers);
    ranges.push_back({.first = begin, .count = end - begin});
  }
  return ranges;
}

}  // namespace paramd
