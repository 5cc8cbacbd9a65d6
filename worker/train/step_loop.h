// The training loop of one worker in one job: data, forward, backward, push, pull, evaluation, progress.
//
//   StepLoop loop({.spec = spec, .plan = plan, .data = *data, .program = *program, .client = *client,
//                  .worker_index = 0, .workers = 2, .slots = {0, 4}}, observer);
//   ASSIGN_OR_RETURN(StepLoop::Result result, loop.Run());     // Blocks; other threads may stop or cancel it.
//
// The job's workers may change while it runs: Change tells the loop, before the client's generation changes. It takes
// notice between two slots, and in every wait for weights.
//
// Deterministic: what is pushed depends on the spec, the slots and the weights pulled alone. Thread safety: Run once,
// on one thread, which also calls the observer; RequestStop, StopAt, Change and Cancel from any thread at any time.
#ifndef PARAMD_WORKER_TRAIN_STEP_LOOP_H_
#define PARAMD_WORKER_TRAIN_STEP_LOOP_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/partition/arena_plan.h"
#include "common/partition/chunk_map.h"
#include "common/partition/codec_plan.h"
#include "common/trace/trace_recorder.h"
#include "proto/cluster.pb.h"
#include "proto/job.pb.h"
#include "worker/data/dataset.h"
#include "worker/data/sampler.h"
#include "worker/models/model_program.h"
#include "worker/parameter_client/parameter_client.h"
#include "worker/train/arena_memory.h"
#include "worker/train/chunk_exchange.h"
#include "worker/train/slot_assignment.h"
#include "worker/train/stop_control.h"

namespace paramd {

// What one step of this worker took and did.
struct StepReport {
  uint64_t step = 0;
  double loss = 0;  // Mean over the worker's slots.
  int64_t samples = 0;
  int64_t tokens = 0;  // Predictions: tokens of a language model, examples of a classifier.
  // Parts of the step. Forward ends when the first gradient is final, so it contains the output layer's backward pass.
  absl::Duration data;
  absl::Duration pull;
  absl::Duration forward;
  absl::Duration backward;
  absl::Duration push;
  bool non_finite_loss = false;
  bool non_finite_gradient = false;  // ssp and async with clipping, where the worker sees its whole gradient.
};

class StepLoopObserver {
 public:
  virtual ~StepLoopObserver() = default;
  virtual void OnStep(const StepReport& report) = 0;
  // Every report_every steps and after the last one.
  virtual void OnProgress(const v1::WorkerProgress& progress) = 0;
  // This worker's share; none when the job has no held-out split.
  virtual void OnEvaluation(const v1::Evaluation& evaluation) = 0;
};

struct StepLoopOptions {
  const v1::JobSpec& spec;  // Filled and valid.
  const ArenaPlan& plan;
  const Dataset& data;
  ModelProgram& program;  // Compiled for spec.training.micro_batch.
  ParameterClient& client;
  uint32_t worker_index = 0;
  uint32_t workers = 1;
  SlotRange slots;                      // This worker's.
  uint64_t first_step = 0;              // The steps before it are done: the job goes on from a checkpoint.
  bool joining = false;                 // The job trains already: Change, before Run, says where this worker begins.
  std::shared_ptr<ArenaMemory> memory;  // For weights and gradients. Null: the heap.
  const CodecPlan* codecs = nullptr;    // The client's. Null: fp32.
  TraceRecorder* trace = nullptr;       // The client's. Null: nothing is recorded.
};

class StepLoop {
 public:
  struct Result {
    uint64_t step = 0;           // Steps done.
    bool stopped_early = false;  // By StopAt.
  };

  // Everything borrowed must outlive the loop; the client's open requests borrow the loop's gradients, so either Run
  // has returned OK or the client is destroyed (or cancelled and never used again) before the loop.
  StepLoop(const StepLoopOptions& options, Sampler sampler, StepLoopObserver& observer);

  // Trains until the last step, StopAt's or Cancel. After OK, weights() are those after all steps of all workers.
  // Errors: Cancel's reason, the parameter client's, the program's, or NON_FINITE_LOSS under the FAIL policy; kAborted
  // (REJOIN) when a worker that has just joined is to take over slots of the step before its first: another loop, with
  // another client, can, if it begins with this change.
  absl::StatusOr<Result> Run();

  // The first boundary this worker can stop at; it waits there for StopAt or Cancel.
  uint64_t RequestStop() { return control_.RequestStop(); }
  void StopAt(uint64_t step) { control_.StopAt(step); }
  // The job's workers have changed. The client's ChangeGeneration is to be called after it.
  void Change(const WorkerChange& change);
  // Ends Run at the next wait or step boundary.
  void Cancel(const absl::Status& reason);

  // Of the training thread, or after Run.
  absl::Span<const float> weights() const { return exchange_.weights(); }
  int64_t memory_bytes() const { return exchange_.memory_bytes(); }
  // Its index among the job's workers, now.
  uint32_t worker_index() const { return assignment_.part().worker_index; }

 private:
  absl::Status RunStep(uint64_t step);
  void EndTracedStep(uint64_t step);
  // One of the worker's own slots; adds its mean loss to `loss`.
  absl::Status RunSlot(uint64_t step, uint32_t i, StepReport& report, double& loss);
  // From data to the last gradient, which goes to `gradients`.
  absl::Status ComputeSlot(const RunKey& key, absl::Span<const float> weights, absl::Span<float> gradients,
                           StepReport& report, double& loss);
  absl::Status RunEvaluation(uint64_t step);
  void ReportStep(StepReport& report, double loss, uint32_t slots);

  // step_loop_members.cc
  // Whether it would have to know weights that are older than those it began with.
  bool LacksWeights(uint64_t step) const {
    return joined_at_ == step && assignment_.NextInherited(step - 1).has_value();
  }
  // Where a worker begins that joins a running job with this change: `steps` when all are done.
  uint64_t FirstStepWith(const WorkerChange& change) const;
  // Takes the newest change, and asks for the weights of its first step, which is returned.
  absl::StatusOr<uint64_t> Join();
  // Takes the news, if there are any. `next_step` is the first that is not yet begun.
  void AdoptChange(uint64_t next_step);
  // A wait was interrupted in `step`, before its first slot was computed, or at the boundary before it.
  absl::Status OnInterrupted(uint64_t step, uint64_t next_step);
  // Computes and pushes what this worker has inherited of `step`, if anything. Adds to the numbers of the step.
  absl::Status RunInherited(uint64_t step, StepReport& report, double& loss, uint32_t& slots);
  // WaitForAll at the boundary before `step`, however often it is interrupted.
  absl::Status WaitAtBoundary(uint64_t step);
  void ReportProgress(uint64_t steps_done);

  const StepLoopOptions options_;
  const Sampler sampler_;
  StepLoopObserver& observer_;
  StopControl control_;

  absl::Mutex change_mutex_;
  std::optional<WorkerChange> change_ ABSL_GUARDED_BY(change_mutex_);  // The newest, until the loop takes it.
  bool begun_ ABSL_GUARDED_BY(change_mutex_);                          // Its first step is certain.

  // Of the training thread.
  SlotAssignment assignment_;
  uint64_t joined_at_ = 0;  // The first step; 0 unless it joined.
  ChunkExchange exchange_;
  Batch batch_;
  std::vector<int64_t> samples_;
  v1::WorkerProgress progress_;
  absl::Time start_;
  absl::Duration evaluating_;
  int64_t non_finite_steps_ = 0;
};

}  // namespace paramd

#endif  // PARAMD_WORKER_TRAIN_STEP_LOOP_H_
