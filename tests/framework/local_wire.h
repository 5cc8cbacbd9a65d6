// What codecs make of a job's gradients and weights on their way, without a wire: the reference for jobs that lose
// precision.
//
//   ASSIGN_OR_RETURN(LocalWire wire, LocalWire::Create(spec, plan, /*workers=*/2));
//   int push = wire.PushOf(first_slot, width);          // -1: no worker pushes this subtree
//   RETURN_IF_ERROR(wire.Push(push, absl::MakeSpan(sum)));   // The sum as the servers decode it.
//
// Each subtree that a worker pushes has a residual of its own, in each chunk. Not thread safe.
#ifndef PARAMD_TESTS_FRAMEWORK_LOCAL_WIRE_H_
#define PARAMD_TESTS_FRAMEWORK_LOCAL_WIRE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/partition/arena_plan.h"
#include "common/partition/codec_plan.h"
#include "common/partition/slot_tree.h"
#include "proto/job.pb.h"

namespace paramd {

class LocalWire {
 public:
  // kInvalidArgument: 0 workers or more than slots; codecs that cannot be pushed with.
  static absl::StatusOr<LocalWire> Create(const v1::JobSpec& spec, const ArenaPlan& plan, uint32_t workers);

  // The number of the push that carries exactly the slots [first, first + width), cut off at the job's slots; -1: none.
  int PushOf(uint32_t first, uint32_t width) const;

  // Replaces an arena of sums by what a server decodes from the push.
  absl::Status Push(int push, absl::Span<float> sum);

  // The weights as workers pull them.
  void Pull(absl::Span<const float> weights, absl::Span<float> pulled) const;

  int64_t pushed_bytes() const { return pushed_bytes_; }
  int64_t raw_bytes() const { return raw_bytes_; }  // The same as fp32.

 private:
  LocalWire(ArenaPlan plan, CodecPlan codecs, uint32_t slots)
      : plan_(std::move(plan)), codecs_(std::move(codecs)), tree_(slots) {}

  ArenaPlan plan_;
  CodecPlan codecs_;
  SlotTree tree_;
  std::vector<Subtree> pushes_;
  std::vector<std::vector<float>> residuals_;  // Arenas; one per push, or none when nothing is lost.
  std::string bytes_;
  int64_t pushed_bytes_ = 0;
  int64_t raw_bytes_ = 0;
};

}  // namespace paramd

#endif  // PARAMD_TESTS_FRAMEWORK_LOCAL_WIRE_H_
