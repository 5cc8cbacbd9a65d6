// The squared gradient norms of a step, chunk by chunk, and their sum in chunk order: independent of which servers the
// chunks are on and of who reported first. Each server gathers its own chunks' norms in one; the lead gathers all.
//
//   NormTable table({0, 1, 2});
//   RETURN_IF_ERROR(table.Add(step, chunk, squared_norm));
//   if (std::optional<double> total = table.Total(step)) ...
//
// Steps complete one after the other; the last kKeptSteps stay, for those that ask again. Not thread safe.
#ifndef PARAMD_SERVER_STORE_NORM_TABLE_H_
#define PARAMD_SERVER_STORE_NORM_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "absl/status/status.h"

namespace paramd {

class NormTable {
 public:
  static constexpr uint64_t kKeptSteps = 4;

  // `chunks` ascending, at least one.
  explicit NormTable(std::vector<uint32_t> chunks, uint64_t first_step = 0)
      : chunks_(std::move(chunks)), first_incomplete_(first_step) {}

  // A repeated report changes nothing. kInvalidArgument (INVALID_CHUNK) for a chunk that is not in the table;
  // kFailedPrecondition (STEP_AHEAD, STEP_FORGOTTEN) for a step beyond the first incomplete one, or too old.
  absl::Status Add(uint64_t step, uint32_t chunk, double squared_norm);
  // The sum in chunk order once all chunks have reported.
  std::optional<double> Total(uint64_t step) const;
  // The norm of each chunk, in the order of the constructor's; only when Total has a value.
  const std::vector<double>& Norms(uint64_t step) const { return steps_.at(step).norms; }
  const std::vector<uint32_t>& chunks() const { return chunks_; }

 private:
  struct Step {
    std::vector<double> norms;
    std::vector<bool> known;
    size_t missing;
  };

  const std::vector<uint32_t> chunks_;
  uint64_t first_incomplete_;
  std::map<uint64_t, Step> steps_;
};

}  // namespace paramd

#endif  // PARAMD_SERVER_STORE_NORM_TABLE_H_
