// A chunk's weights and optimizer state, and the one pass in which a step goes over them: block by block, while the
// block is in the first-level cache, the gradient is summed up, its norm taken, the optimizer run, and the new weights
// copied to where waiting clients want them.
//
//   ChunkWeights weights(plan, 7, pool);
//   weights.Initialize();
//   GradientBlocks gradient(payload);
//   SquaredNormSum norm(average);
//   if (weights.Apply(gradient, {.average = average, .learning_rate = rate, .norm = &norm})) ...
//
// Invariants: the version grows by one per applied or skipped step; a published snapshot never changes. Not thread
// safe. Allocates nothing after the first steps.
#ifndef PARAMD_SERVER_STORE_CHUNK_WEIGHTS_H_
#define PARAMD_SERVER_STORE_CHUNK_WEIGHTS_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "common/tensor/reduce.h"
#include "proto/parameter.pb.h"
#include "server/store/buffer_pool.h"
#include "server/store/gradient_blocks.h"
#include "server/store/job_plan.h"
#include "server/store/snapshot.h"

namespace paramd {

// Where a client wants the weights, and how: memory that may be shared with it, so only ever written.
struct WeightsTarget {
  v1::Codec codec = v1::CODEC_FP32;  // Or BF16.
  absl::Span<float> memory;          // AnswerBytes of the chunk's elements, at least.
};

// Writes `weights`, which start at element `first` of the chunk.
void WriteWeights(absl::Span<const float> weights, int64_t first, const WeightsTarget& target);

class ChunkWeights {
 public:
  struct Step {
    float average = 1;  // Of the gradient, a sum.
    float clip = 1;
    double learning_rate = 0;
    SquaredNormSum* norm = nullptr;           // Gets the gradient's; null when that is known to be finite.
    absl::Span<const WeightsTarget> targets;  // Get the new weights.
    bool bf16 = false;                        // The snapshot is going to be asked for BF16.
  };

  // Allocates nothing yet.
  ChunkWeights(std::shared_ptr<const JobPlan> plan, int index, std::shared_ptr<BufferPool> pool);

  // Allocates, and fills the weights with the model's initial values. Once, before anything else.
  void Initialize();

  // Instead: takes up where other weights, of as many elements, were saved. `state` has state_count runs of them.
  void Restore(uint64_t version, uint64_t updates, absl::Span<const float> weights, absl::Span<const float> state);
  // What the optimizer keeps, as it is now.
  Buffer CopyState() const;

  // Runs the optimizer over the gradient, which has the chunk's size, and publishes the result as the next version.
  // False when the norm turns out not to be finite: nothing is published then, but the optimizer state is spoilt and
  // the targets are unspecified.
  bool Apply(GradientBlocks& gradient, const Step& step);
  // Publishes the same weights as the next version.
  void Keep();

  int64_t elements() const { return elements_; }
  uint64_t version() const { return version_; }
  uint64_t updates() const { return updates_; }
  const SnapshotPointer& snapshot() const { return snapshot_; }

 private:
  // The pass over elements [begin, end): from their gradient, little-endian fp32, to new weights. `segment` is the
  // first segment that does not end before; moved on.
  void Update(const char* gradient, int64_t begin, int64_t end, const Step& step, Buffer& weights, size_t& segment);
  void PrepareSteps(double learning_rate);
  void Publish(Buffer weights, Buffer bf16 = Buffer());

  const std::shared_ptr<const JobPlan> plan_;
  const int index_;
  const int64_t elements_;
  const std::vector<ChunkSegment> segments_;
  const std::shared_ptr<BufferPool> pool_;

  uint64_t version_ = 0;
  uint64_t updates_ = 0;  // Optimizer steps really applied: what bias correction counts.
  SnapshotPointer snapshot_;
  Buffer state_;                   // state_count runs of elements_.
  std::vector<UpdateStep> steps_;  // Of the step that is applied, by segment.
};

}  // namespace paramd

#endif  // PARAMD_SERVER_STORE_CHUNK_WEIGHTS_H_
