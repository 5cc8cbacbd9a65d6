// The coordinator's engine: it feeds the pure cores (job_machine.h, scheduler.h, membership.h), stores what they decide
// before acting on it, and passes the results to daemons and watchers.
//
//   Coordinator coordinator(options, *store, clock, metrics);
//   RETURN_IF_ERROR(coordinator.Load());          // jobs of an earlier life
//   ... every 100 ms: coordinator.Tick();
//   coordinator.Shutdown(why);
//
// Threading: all public methods are thread safe; one mutex guards everything and is held over a store commit
// (milliseconds). SessionLink, WatchSink and TraceSink are called under that mutex: they queue, and never call back. No
// threads of its own. Ownership: borrows store, clock and metrics; a link or sink is borrowed until its Close/Finish,
// CloseSession or the end of its watch.
#ifndef PARAMD_SERVER_COORDINATOR_COORDINATOR_H_
#define PARAMD_SERVER_COORDINATOR_COORDINATOR_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "proto/cluster.pb.h"
#include "proto/job.pb.h"
#include "server/coordinator/coordinator_metrics.h"
#include "server/coordinator/job_machine.h"
#include "server/coordinator/job_progress.h"
#include "server/coordinator/job_record.pb.h"
#include "server/coordinator/membership.h"
#include "server/coordinator/scheduler.h"
#include "server/coordinator/store/store.h"
#include "server/coordinator/trace_collector.h"
#include "server/coordinator/watch.h"

namespace paramd {

struct CoordinatorOptions {
  MembershipOptions membership;
  JobMachineOptions machine;
  absl::Duration heartbeat = absl::Seconds(2);
  absl::Duration restart_grace = absl::Seconds(5);  // On top of a lease, for daemons to come back after a restart.
  absl::Duration series_linger = absl::Minutes(5);  // A job's metrics outlive it by this.
  std::string coordinator_id;
  uint64_t term = 0;  // Of the lead, where there are standbys (proto: Welcome.term).
};

// The coordinator's end of one daemon's Session stream.
class SessionLink {
 public:
  virtual ~SessionLink() = default;
  virtual void Send(const v1::CoordinatorMessage& message) = 0;
  // The last call; ends the stream after what was sent.
  virtual void Close(const absl::Status& status) = 0;
};

class Coordinator {
 public:
  Coordinator(CoordinatorOptions options, Store& store, const Clock& clock, CoordinatorMetrics& metrics);

  // Once, before everything else. The store's errors.
  absl::Status Load();

  // -- users; statuses as in proto/job.proto, with reasons --
  absl::StatusOr<v1::SubmitJobResponse> Submit(const v1::SubmitJobRequest& request);
  absl::StatusOr<v1::Job> Get(const std::string& job_id);
  absl::StatusOr<v1::ListJobsResponse> List(const v1::ListJobsRequest& request);
  absl::StatusOr<v1::Job> Cancel(const std::string& job_id, bool save);
  absl::Status Delete(const std::string& job_id);
  v1::ListNodesResponse ListNodes();

  // -- checkpoints (coordinator_checkpoints.cc) --
  absl::StatusOr<v1::Job> Scale(const std::string& job_id, uint32_t workers);
  absl::StatusOr<v1::Job> Pause(const std::string& job_id);
  absl::StatusOr<v1::Job> Resume(const v1::ResumeJobRequest& request);
  absl::StatusOr<v1::Checkpoint> CreateCheckpoint(const std::string& job_id);
  absl::StatusOr<std::vector<v1::Checkpoint>> ListCheckpoints(const std::string& job_id);
  // kUnavailable NO_SERVER when nobody is there to read the files.
  absl::StatusOr<v1::Checkpoint> VerifyCheckpoint(const v1::VerifyCheckpointRequest& request);
  absl::StatusOr<v1::Checkpoint> DeleteCheckpoint(const v1::DeleteCheckpointRequest& request);

  // -- watchers --
  void StartWatch(const v1::WatchJobRequest& request, WatchSink* sink);
  // The sink's last message is written.
  void WatchReady(WatchSink* sink);
  // The client is gone: the sink is finished as soon as no write is under way.
  void CancelWatch(WatchSink* sink);

  // -- traces --
  // Has the job's nodes record their next steps, and finishes the sink when all have answered; with what there is when
  // `timeout` is nearly over, or the job ends. kInvalidArgument INVALID_STEPS; kNotFound JOB_NOT_FOUND;
  // kFailedPrecondition JOB_NOT_TRAINING, TRACE_RUNNING, JOB_ENDED (before a step was recorded); kDeadlineExceeded
  // TRACE_TIMEOUT when no node has answered.
  void StartTrace(const v1::TraceJobRequest& request, absl::Duration timeout, TraceSink* sink);
  // The client is gone: the sink is finished, unless it is already.
  void CancelTrace(TraceSink* sink);

  // -- daemons --
  void OpenSession(SessionLink* link);
  void OnDaemonMessage(SessionLink* link, const v1::DaemonMessage& message);
  // The stream is over; the link is not used afterwards. The lease goes on.
  void CloseSession(SessionLink* link);

  // Leases, deadlines, scheduling, progress to watchers and store, metrics. Every 100 ms.
  void Tick();
  // OK when the store works and Tick runs.
  absl::Status Ready();
  // Ends all sessions and watches with `why` (kUnavailable: their clients come back), and accepts no new ones.
  void Shutdown(const absl::Status& why);

 private:
  struct ActiveJob {
    coordinator::JobRecord record;
    std::vector<ProgressTracker> tracker;  // One, once the job is placed.
    uint64_t snapshot_version = 1;
    bool progress_news = false;   // For watchers.
    bool progress_dirty = false;  // For the store.
  };
  struct Watch {
    std::string job_id;
    WatchCursor cursor;
    bool writing = false;
    bool cancelled = false;
  };
  struct PendingTrace {
    TraceSink* sink = nullptr;
    uint64_t ordinal = 0;     // The job's.
    uint64_t generation = 0;  // The job's when the trace began: whose nodes are asked.
    TraceCollector collector;
    absl::Time deadline;
    absl::Time answer_by = absl::InfiniteFuture();  // Once the job has stopped training, or its nodes have changed.
  };
  struct Session {
    absl::Time opened;
    NodeRef node;  // Role unspecified before Register.
  };

  // coordinator.cc
  absl::Status ApplyToStore(const StoreBatch& batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Transition(ActiveJob& job, const std::function<void(JobMachine&)>& change)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Commit(ActiveJob& job, coordinator::JobRecord next) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  ActiveJob* FindActive(const std::string& job_id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CheckLeases(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CheckParticipants() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CheckParticipant(ActiveJob& job, const NodeRef& node) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SchedulePending() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  ClusterCapacity Capacity() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PublishProgress(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // What is new of progress, in batches.
  void StoreProgress() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void UpdateMetrics(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ForgetEnded(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // coordinator_members.cc
  void CheckMembership(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Free workers to jobs that train with fewer than they want.
  void OfferWorkers(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void DealBySpeed() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // coordinator_jobs.cc
  absl::StatusOr<coordinator::JobRecord> FindJob(const std::string& job_id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<v1::SubmitJobResponse> Repeated(const v1::SubmitJobRequest& request, const v1::JobSpec& spec,
                                                 const v1::Job& earlier);
  absl::StatusOr<std::string> ChooseJobId(const v1::SubmitJobRequest& request, const v1::JobSpec& spec)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void NotifyWatchers(const std::string& job_id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AdvanceWatch(WatchSink* sink) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FinishWatch(WatchSink* sink, const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // coordinator_checkpoints.cc
  // The job among the active ones, where one that is over stays until the next tick, or while a server is at work on
  // its checkpoints.
  absl::StatusOr<ActiveJob*> Revive(const std::string& job_id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // A server to read or remove the job's files: its lead, or any other.
  absl::StatusOr<NodeRef> ServerFor(const v1::Job& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // coordinator_traces.cc
  absl::StatusOr<ActiveJob*> FindTraceable(const std::string& job_id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  v1::CoordinatorMessage CollectCommand(const ActiveJob& job, const TraceCollector& collector);
  void OnTraceReport(const NodeRef& node, const v1::JobReport& report) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The node has a session again, and may have missed the command, or its answer was lost.
  void RepeatTraces(SessionLink* link, const NodeRef& node) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CheckTraces(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // With what has come; JOB_ENDED when that is nothing.
  void FinishTraceWithSpans(const std::string& job_id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FinishTrace(const std::string& job_id, absl::StatusOr<v1::TraceJobResponse> response)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FinishAllTraces(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // coordinator_nodes.cc
  void SendTo(const NodeRef& node, const v1::CoordinatorMessage& message) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EndSession(SessionLink* link, const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnRegister(SessionLink* link, const v1::Register& registration) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ResumeJobs(SessionLink* link, const NodeRef& node, const v1::Register& registration)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnHeartbeat(SessionLink* link, const NodeRef& node, const v1::Heartbeat& heartbeat)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnReport(SessionLink* link, const NodeRef& node, const v1::JobReport& report)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnProgress(ActiveJob& job, const NodeRef& node, const v1::JobReport& report)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AddJobs(v1::Node& node) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CloseSilentSessions(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const CoordinatorOptions options_;
  const Clock& clock_;
  CoordinatorMetrics& metrics_;

  absl::Mutex mutex_;
  Store& store_ ABSL_GUARDED_BY(mutex_);
  absl::Status store_status_ ABSL_GUARDED_BY(mutex_);  // Of the newest write.
  Membership membership_ ABSL_GUARDED_BY(mutex_);
  std::map<uint64_t, ActiveJob> active_ ABSL_GUARDED_BY(mutex_);  // By ordinal; ended ones until the next tick.
  std::map<v1::JobState, int64_t> job_counts_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, absl::Time> ended_series_ ABSL_GUARDED_BY(mutex_);  // When to remove a job's metrics.
  absl::flat_hash_map<WatchSink*, Watch> watches_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, PendingTrace> traces_ ABSL_GUARDED_BY(mutex_);  // By job_id.
  uint64_t last_trace_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::flat_hash_map<SessionLink*, Session> sessions_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, SessionLink*> links_ ABSL_GUARDED_BY(mutex_);  // By node_id.
  uint64_t last_ordinal_ ABSL_GUARDED_BY(mutex_) = 0;
  bool schedule_wanted_ ABSL_GUARDED_BY(mutex_) = true;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Time grace_until_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  absl::Time last_tick_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  absl::Time last_flush_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
};

}  // namespace paramd

#endif  // PARAMD_SERVER_COORDINATOR_COORDINATOR_H_
