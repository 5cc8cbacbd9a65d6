// Between a model program and the parameter client: the forward pass waits parameter by parameter for the chunks it
// needs, the backward pass hands over gradients, and a chunk's push starts as soon as its last gradient is final.
//
//   exchange.PullWeights(0);
//   per step t:  exchange.BeginStep(t, slots);
//     per slot i:  program.ForwardBackward(..., exchange.weights(), exchange.BeginSlot(i), exchange, exchange);
//     exchange.EndStep();
//   exchange.Finish(t);       // weights() are those after the last step of all workers.
//
// Weights arrive in the second of two arenas while backward still reads the first; BeginStep and WaitForAll let them
// change places. So what a program reads between two of these calls changes only where it was not there yet.
//
// sync: a push per subtree of the worker's slots, the last one asking for version t + 1. ssp(s): one push per chunk and
// clock, asking for weights that contain all clocks up to t + 1 - s of every worker. async: the same without waiting.
// With clipping, ssp and async push at the end of the step, when the norm of the worker's whole gradient is known.
//
// Slots of a worker that went during a step are computed apart from one's own, with the same weights, even when the
// next step has begun to wait for its: those of the step before are in the other arena until this step's first push. A
// wait that such news interrupts (kAborted, WAIT_INTERRUPTED) leaves everything as it was and is made again.
//
// Codecs with error feedback have their residuals here: one arena per payload, so that what a subtree's push has lost
// is added to the same subtree's next.
//
// One thread. Borrows plan, client and codecs. The client is gone, or has failed and is never used again, before the
// exchange, which its open requests borrow.
#ifndef PARAMD_WORKER_TRAIN_CHUNK_EXCHANGE_H_
#define PARAMD_WORKER_TRAIN_CHUNK_EXCHANGE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/partition/arena_plan.h"
#include "common/partition/chunk_map.h"
#include "common/partition/codec_plan.h"
#include "common/trace/trace_lane.h"
#include "proto/job.pb.h"
#include "worker/models/model_program.h"
#include "worker/parameter_client/parameter_client.h"
#include "worker/train/arena_memory.h"
#include "worker/train/slot_accumulator.h"

namespace paramd {

// Whether all workers take each step together; else everyone has a clock of its own. The default is that they do.
bool IsSync(const v1::JobSpec& spec);

struct ChunkExchangeOptions {
  const v1::JobSpec& spec;
  const ArenaPlan& plan;
  SlotRange slots;  // The worker's, within spec.training.slots.
  ParameterClient& client;
  std::shared_ptr<ArenaMemory> memory;  // For weights and gradients. Null: the heap.
  const CodecPlan* codecs = nullptr;    // The client's. Null: fp32.
  TraceRecorder* trace = nullptr;       // Outlives the exchange. Null: nothing is recorded.
};

class ChunkExchange final : public ParameterGate, public GradientSink {
 public:
  explicit ChunkExchange(const ChunkExchangeOptions& options);

  // Room in a shared segment for the arenas and the encoded pushes of an exchange and its client.
  static size_t SharedBytes(const v1::JobSpec& spec, const ArenaPlan& plan, SlotRange slots, const CodecPlan& codecs);

  // The weights that step `step` begins with: of just this version (sync), if `exact`; whatever there is otherwise.
  absl::Status PullWeights(uint64_t step, bool exact = false);
  // `slots` are the worker's in this step; they may be none.
  void BeginStep(uint64_t step, SlotRange slots);
  // Other slots for the step that was begun, of which none is computed yet.
  void SetSlots(SlotRange slots);
  // Where the gradient of the worker's i-th slot goes.
  absl::Span<float> BeginSlot(uint32_t i);
  // sync: where the gradient of one slot of step `step` goes that is not the worker's own: the step begun last, or the
  // one before, if no slot of the step begun is computed yet. Pushed as it is, slot by slot.
  absl::Span<float> BeginInherited(uint64_t step, uint32_t slot);
  absl::Span<const float> inherited_weights() const { return weights_[inherited_front_]; }
  // Waits until its pushes are acknowledged.
  absl::Status EndInherited();
  // Clips and pushes what had to wait for the whole gradient; asks for the next weights if there was nothing to push.
  absl::Status EndStep();
  // Waits until weights() hold the newest answers of all chunks.
  absl::Status WaitForAll();
  // After `steps` steps and WaitForAll: asks for the weights that contain all of them, of all workers. WaitForAll
  // waits.
  absl::Status Finish(uint64_t steps);

  // To be asked for again after BeginStep and WaitForAll.
  absl::Span<const float> weights() const { return weights_[front_]; }

  // What codecs have lost so far, arena by arena; none when they lose nothing that they keep.
  int residual_count() const { return static_cast<int>(residuals_.size()); }
  absl::Span<const float> residual(int i) const { return residuals_[i]; }
  // E.g. "residual/slots/4+2": of the pushes that sum up slots 4 and 5. Two workers never have the same.
  std::string residual_name(int i) const;

  absl::Status WaitForParameter(int parameter) override;
  absl::Status GradientFinal(int parameter) override;

  // What the training thread does. The exchange turns "forward" into "backward" at a slot's first gradient, and
  // interrupts what goes on with: wait (for a chunk's weights), sum, encode or send (a chunk's gradient).
  TraceLane& lane() { return lane_; }

  // Time spent waiting for weights, and adding up and sending gradients, since the last call; and when the first
  // gradient of the current slot was final.
  struct Times {
    absl::Duration pull;
    absl::Duration push;
  };
  Times TakeTimes();
  absl::Time first_gradient() const { return first_gradient_; }
  // Gradients scaled down, and gradients whose norm was not finite, so far (ssp and async).
  int64_t clipped_steps() const { return clipped_steps_; }
  int64_t non_finite_steps() const { return non_finite_steps_; }
  // Arenas, residuals and the encodings of pushes.
  int64_t memory_bytes() const;

 private:
  // Where the chunk's weights are to go: the arena that is not being read.
  absl::Span<float> Landing(int chunk);
  absl::Span<float> Residual(int chunk, int payload);
  absl::Status Pull(int chunk, PullPart pull);
  void ResizeResiduals(const std::vector<Subtree>& before);
  absl::Status PushInherited(int chunk);
  // From now on weights() are those asked for last.
  void Turn();
  absl::Status WaitFor(int chunk);
  absl::Status Push(int chunk);
  absl::Status PushTraced(int chunk);
  // Scales the worker's average gradient to clip_norm at most, as torch.nn.utils.clip_grad_norm_ does.
  void Clip();

  // Constant after construction.
  const ArenaPlan& plan_;
  const bool sync_;
  const bool clip_here_;
  const double clip_norm_;
  const uint64_t staleness_;  // ssp; async: no bound.
  const SlotTree tree_;
  std::vector<int> parameters_in_chunk_;
  ParameterClient& client_;

  const CodecPlan* const codecs_;
  const std::shared_ptr<ArenaMemory> memory_;
  const absl::Span<float> weights_[2];
  SlotRange slots_;  // The worker's own.
  std::vector<uint32_t> slots_in_subtree_;
  SlotAccumulator sums_;
  bool lossy_ = false;                         // Some codec keeps what it loses.
  std::vector<std::vector<float>> residuals_;  // By payload, arena_elements each.
  int front_ = 0;                              // The arena that is read.
  uint64_t front_step_ = 0;                    // sync: the step that its weights are for.
  bool ahead_ = false;                         // Weights were asked for since the last turn.
  std::vector<bool> awaited_;                  // A pull of the chunk is open.
  std::vector<int> remaining_;                 // Parameters of the chunk whose gradient is not final in this slot.
  uint64_t step_ = 0;
  bool inheriting_ = false;
  uint64_t inherited_step_ = 0;
  uint32_t inherited_slot_ = 0;
  int inherited_front_ = 0;          // The arena with its weights.
  absl::Span<float> inherited_sum_;  // Its gradient; allocated when first needed.
  TraceLane lane_;
  Times times_;
  absl::Time first_gradient_;
  int64_t clipped_steps_ = 0;
  int64_t non_finite_steps_ = 0;
};

}  // namespace paramd

#endif  // PARAMD_WORKER_TRAIN_CHUNK_EXCHANGE_H_
