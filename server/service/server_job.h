// A job held by this server: its shard, run on the owner threads, with what happens around a step: norms between
// servers, metrics, progress, failure, release.
//
//   auto job = std::make_shared<ServerJob>(plan, environment);
//   job->Initialize([] { ... });                 // allocates and fills the chunks on their threads
//   job->Handle(request);                        // on the chunk's owner thread; answers go to request.key.origin
//
// An owner thread works for the job with an OwnerState of its own, so that handling a request neither allocates nor
// shares anything with another thread.
//
// Lifetime: shared by the registry, queued tasks and callbacks; the destructor is the point where nothing refers to the
// job any more, and runs `on_gone` when its memory is free. Thread safe, except where a method names a thread.
#ifndef PARAMD_SERVER_SERVICE_SERVER_JOB_H_
#define PARAMD_SERVER_SERVICE_SERVER_JOB_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/base/clock.h"
#include "common/rpc/channel_cache.h"
#include "proto/cluster.pb.h"
#include "proto/parameter.pb.h"
#include "server/service/checkpoint_capture.h"
#include "server/service/job_stats.h"
#include "server/service/job_trace.h"
#include "server/service/lease.h"
#include "server/service/norm_exchange.h"
#include "server/service/owner_threads.h"
#include "server/service/request_origin.h"
#include "server/service/server_metrics.h"
#include "server/store/job_members.h"
#include "server/store/job_shard.h"
#include "server/store/norm_table.h"

namespace paramd {

// What a job needs around it; all of it outlives the job.
struct ServerJobEnvironment {
  OwnerThreads& threads;
  ServerMetrics& metrics;
  const Clock& clock;
  ChannelCache& channels;  // To other servers.
  absl::Duration norm_timeout = absl::Seconds(30);
  std::function<void(const JobPlan& plan, const absl::Status& status)> on_failed;
  std::function<void(const JobPlan& plan, const v1::ServerProgress& progress)> on_progress;
  // Runs, on a thread of its own, what blocks on files. Null: on the caller's.
  std::function<void(std::function<void()> task)> run_blocking = nullptr;
  std::function<Lease()> lease = nullptr;  // Null: this server needs none.
};

class ServerJob : public std::enable_shared_from_this<ServerJob> {
 public:
  using TotalNorm = std::function<void(absl::StatusOr<double> squared_norm)>;

  // `on_gone` runs last in the destructor.
  ServerJob(std::shared_ptr<const JobPlan> plan, const ServerJobEnvironment& environment,
            std::function<void()> on_gone);
  ~ServerJob();

  const JobPlan& plan() const { return shard_.plan(); }
  const JobShard& shard() const { return shard_; }
  JobMetrics& metrics() { return metrics_; }
  // The thread that owns the local chunk.
  int OwnerOf(const Chunk& chunk) const { return chunk.index() % environment_.threads.count(); }

  // Initialises all chunks on their owner threads, then calls `done` on one of them.
  void Initialize(std::function<void()> done);
  // Instead, when the plan has a checkpoint to start from: reads the chunks from there. Errors are CheckpointReader's.
  void Restore(std::function<void(const absl::Status& status)> done);
  bool initialized() const { return chunks_to_initialize_ == 0; }
  // The newest that was adopted, or is about to be.
  uint64_t generation() const { return shard_.generation(); }
  // Failed or released.
  bool ended() const { return ended_; }

  // On the owner thread of the request's chunk, which Check has found here. The request has an origin.
  void Handle(const ChunkRequest& request);
  // On owner thread `thread`: deadlines of its chunks, and metrics. Returns when the next deadline is.
  absl::Time Tick(int thread, absl::Time now);
  void DropStream(uint64_t stream);
  // The current snapshot of a chunk, on one of the owner threads.
  void GetSnapshot(int chunk, std::function<void(SnapshotPointer snapshot)> done);

  // Keeps the chunks as they are at a step boundary (checkpoint_capture.h); an earlier call that waits is forgotten.
  void Capture(uint64_t step, CheckpointCapture::Done done);
  void CancelCapture() { capture_.Cancel(); }

  // Lead only: takes norms of a step, and calls `done` when the step's total is known. Returns a number for
  // CancelTotal. kFailedPrecondition (NOT_LEAD) elsewhere; the errors of NormTable::Add.
  absl::StatusOr<uint64_t> ReduceNorm(const v1::ReduceNormRequest& request, TotalNorm done);
  // `done` of ReduceNorm will not be called any more.
  void CancelTotal(uint64_t number);

  using Adopted = std::function<void(const v1::GenerationAdopted& adopted)>;
  // Has all chunks adopt the generation, on their threads, and then calls `done` on one of them with what is missing.
  // An older generation than the job's is ignored; the same again is answered again.
  void Adopt(std::shared_ptr<const JobMembers> members, Adopted done);

  // Records the next steps (job_trace.h) and then calls `done`, once, on any thread: spans "sum", "apply" and "answer"
  // of the owner threads, "norm" from the server's own norms to the total.
  void CollectTrace(const TraceRequest& request, TraceRecorder::Done done);

  // Answers everything that waits, and all that comes later, with `status`; tells on_failed. The first call counts.
  void Fail(const absl::Status& status);
  // As Fail with JOB_RELEASED, but silent: the coordinator asked for it.
  void Release(const absl::Status& status);

 private:
  struct GoneNotice {
    ~GoneNotice() {
      if (on_gone) on_gone();
    }
    const std::function<void()> on_gone;
  };

  struct Waiter {
    uint64_t step;
    TotalNorm done;
  };

  // What an owner thread needs for this job. On cache lines of its own.
  struct alignas(64) OwnerState {
    std::vector<Chunk*> chunks;
    ChunkActions actions;  // Of the event at hand; empty between events.
    JobStats stats;
    uint64_t norm_step = 0;
    std::vector<StepNorm> norms;  // Of step norm_step, of those chunks that have theirs.
  };

  OwnerState& StateOf(const Chunk& chunk) { return owners_[OwnerOf(chunk)]; }
  // Runs `event(chunk, actions)` for each chunk, on their threads, and does what they ask for.
  void PostToChunks(std::function<void(Chunk& chunk, ChunkActions& actions)> event);
  // Of a chunk's owner thread, since `start_ns`.
  void RecordSpan(const Chunk& chunk, const char* name, uint64_t step, int64_t start_ns);
  void CountRefused(const OwnerState& owner);
  // Does what the actions in the chunk's OwnerState ask for, and clears them.
  void Dispatch(Chunk& chunk, OwnerState& owner);
  void Deliver(const Chunk& chunk, OwnerState& owner);
  void CountApplied(const Chunk& chunk, OwnerState& owner);
  void FailChunks(const absl::Status& status);
  absl::Status RestoreChunks();
  // A local chunk's norm is known. When those of all chunks of its thread are, they are put together with those of the
  // other threads, once a step; and when all are, they go to the lead.
  void OnLocalNorm(const StepNorm& norm, OwnerState& owner);
  void OnLocalNorms(const std::vector<StepNorm>& norms);
  // Whether anybody wants to know norms: for clipping, or for progress reports that one server can make alone.
  bool reports_norms() const {
    return plan().needs_total_norm() || (plan().is_lead() && plan().placement.servers_size() == 1);
  }
  absl::Status AddToTotal(uint64_t step, const std::vector<v1::ChunkNorm>& norms);
  void OnTotal(uint64_t step, double squared_norm);
  void MaybeReportProgress(const Chunk& chunk, const AppliedStep& applied);

  const GoneNotice gone_notice_;  // First, and so destroyed after everything else.
  const ServerJobEnvironment environment_;
  JobMetrics metrics_;
  JobShard shard_;
  CheckpointCapture capture_;
  std::vector<OwnerState> owners_;  // Each of its thread.
  JobTrace trace_;
  std::atomic<int64_t> chunks_to_initialize_;
  std::atomic<bool> ended_ = false;
  std::atomic<uint64_t> skipped_ = 0;

  absl::Mutex norm_mutex_;
  NormTable local_norms_ ABSL_GUARDED_BY(norm_mutex_);
  std::optional<NormTable> all_norms_ ABSL_GUARDED_BY(norm_mutex_);  // Lead only.
  std::map<uint64_t, Waiter> waiters_ ABSL_GUARDED_BY(norm_mutex_);
  uint64_t next_waiter_ ABSL_GUARDED_BY(norm_mutex_) = 1;
  double last_squared_norm_ ABSL_GUARDED_BY(norm_mutex_) = 0;
  uint64_t norm_step_ ABSL_GUARDED_BY(norm_mutex_) = 0;     // The newest whose own norms are known,
  int64_t norm_since_ns_ ABSL_GUARDED_BY(norm_mutex_) = 0;  // since when, for a trace; 0: not taken.
  std::unique_ptr<NormExchange> exchange_;                  // Other servers than the lead, when totals are needed.

  std::atomic<int64_t> last_report_ms_ = INT64_MIN / 2;  // Of progress, since the epoch.
};

}  // namespace paramd

#endif  // PARAMD_SERVER_SERVICE_SERVER_JOB_H_
