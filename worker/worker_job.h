// One job on this worker, from PrepareWorker to Released: a thread that opens the data, compiles the model, connects to
// the servers, waits for the start, trains, and waits for the release.
//
//   WorkerJob job(environment, command.prepare_worker(), /*predecessor=*/nullptr);
//   job.StartTraining();
//   job.Release();               // Everything ends at once; the thread reports Released and done() becomes true.
//
// What happens is told through `report`: Prepared, WorkerProgress, Evaluation, TraceReport, WorkerFinished, Released,
// or one failure. After a failure the job only waits for its release. A dropped job reports nothing more.
//
// Threading: all methods are thread safe and do not block; the destructor drops the job and joins its thread.
#ifndef PARAMD_WORKER_WORKER_JOB_H_
#define PARAMD_WORKER_WORKER_JOB_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/shared_memory.h"
#include "common/partition/arena_plan.h"
#include "common/partition/chunk_map.h"
#include "common/partition/codec_plan.h"
#include "common/trace/trace_recorder.h"
#include "proto/cluster.pb.h"
#include "worker/data/dataset.h"
#include "worker/data/sampler.h"
#include "worker/model_compiler.h"
#include "worker/parameter_client/parameter_client.h"
#include "worker/train/arena_memory.h"
#include "worker/train/step_loop.h"
#include "worker/train/worker_metrics.h"

namespace paramd {

// What a job needs of the worker. Everything referred to outlives the job and is thread safe.
struct WorkerJobEnvironment {
  uint64_t incarnation = 0;
  ModelCompiler compile;
  WorkerMetrics& metrics;
  DataPlaneOptions data_plane;
  std::shared_ptr<const Credentials> credentials;  // TLS to servers. Null: plain text.
  std::function<void(v1::JobReport)> report;
  absl::Duration connect_timeout = absl::Seconds(30);
  absl::Duration fence_limit = absl::Seconds(60);  // How long servers may be ahead of what the coordinator has said.
};

class WorkerJob final : private StepLoopObserver {
 public:
  // `predecessor`, an earlier generation of the job, is dropped and joined by the new job's thread before it begins.
  WorkerJob(const WorkerJobEnvironment& environment, v1::PrepareWorker command, std::unique_ptr<WorkerJob> predecessor);
  ~WorkerJob() override;

  const std::string& job_id() const { return job_id_; }
  // The newest it was told.
  uint64_t generation() const { return generation_; }

  uint32_t slots() const { return spec_.training().slots(); }

  // The command was repeated: reports Prepared again if it is.
  void RepeatPrepare();
  void StartTraining();
  // The job's workers have changed; nothing happens when the generation is not newer.
  void ChangeGeneration(const v1::ChangeGeneration& command);
  // Reports the StopPoint.
  void RequestStop();
  void StopAt(uint64_t step);
  // Reports a TraceReport after the steps asked for, or when training is over.
  void CollectTrace(const v1::CollectTrace& command);
  void Release();
  // Ends the job without further reports.
  void Drop(const absl::Status& reason);
  // Reports the failure `reason` (unless the job is over) and drops the job.
  void Fail(const absl::Status& reason);
  // The thread has nothing more to do: the destructor will not wait.
  bool done() const;

 private:
  enum class Phase { kPreparing, kPrepared, kTraining, kOver };

  void Run();
  absl::Status Prepare();
  // The parts of Prepare: a client and the loop that uses it.
  absl::StatusOr<std::unique_ptr<ParameterClient>> MakeClient(SlotRange slots);
  std::unique_ptr<StepLoop> MakeLoop(SlotRange slots, Sampler sampler, ParameterClient& client);
  // Memory for the arenas that a server on this host may map, if there is such a server and it can be had; else null.
  std::shared_ptr<SharedSegment> MakeSegment(SlotRange slots) const;
  absl::Status Train();
  // Trains with what loop_ points to; once more from the open step on when a worker that joined must.
  absl::StatusOr<StepLoop::Result> RunLoop(StepLoop*& loop);
  // A new client and loop that begin with the newest change.
  absl::StatusOr<StepLoop*> Rejoin();
  absl::StatusOr<std::string> GenerateSample();
  // Drops what the job holds, client first: its open requests borrow the loop's memory.
  void FreeAll();
  absl::Status cancelled() const;
  void Report(v1::JobReport report);
  void ReportPrepared();

  void OnStep(const StepReport& report) override;
  void OnProgress(const v1::WorkerProgress& progress) override;
  void OnEvaluation(const v1::Evaluation& evaluation) override;

  // Constant after construction.
  const WorkerJobEnvironment environment_;
  const v1::PrepareWorker command_;
  const v1::JobSpec& spec_;  // In command_.
  const std::string job_id_;
  std::atomic<uint64_t> generation_;  // Only ever higher.

  // Of the job's thread.
  std::unique_ptr<WorkerJob> predecessor_;
  ArenaPlan plan_;
  CodecPlan codecs_;
  std::unique_ptr<Dataset> data_;
  CompiledModel model_;
  std::shared_ptr<ArenaMemory> memory_;  // Shared with the client: messages on their way point into it.
  std::unique_ptr<WorkerJobMetrics> metrics_;

  // Made and freed by the job's thread, under the mutex; used by others to stop and cancel.
  mutable absl::Mutex mutex_;
  std::unique_ptr<StepLoop> loop_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<ParameterClient> client_ ABSL_GUARDED_BY(mutex_);
  Phase phase_ ABSL_GUARDED_BY(mutex_) = Phase::kPreparing;
  v1::ChangeGeneration change_ ABSL_GUARDED_BY(mutex_);  // The newest.
  uint64_t memory_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  bool start_ ABSL_GUARDED_BY(mutex_) = false;
  // What a loop that is begun anew has to be told, too.
  bool stop_requested_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<uint64_t> stop_at_ ABSL_GUARDED_BY(mutex_);
  bool released_ ABSL_GUARDED_BY(mutex_) = false;
  bool silent_ ABSL_GUARDED_BY(mutex_) = false;  // Dropped.
  bool done_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status cancelled_ ABSL_GUARDED_BY(mutex_);

  TraceRecorder trace_;  // Own synchronisation. Its end reports.

  std::thread thread_;  // Last: everything above is there when it starts.
};

}  // namespace paramd

#endif  // PARAMD_WORKER_WORKER_JOB_H_
