// One chunk of a job on its server: weights, optimizer state, version, the open step's ledger, the workers' clocks and
// the pulls that wait. Takes events, returns what is to be done; knows no gRPC, no threads, no clock.
//
//   Chunk chunk(plan, 7, pool);
//   chunk.Initialize();
//   ChunkActions actions;
//   chunk.Handle(request, actions);          // a push, a pull or both
//   if (actions.norm) chunk.OnTotalNorm(actions.norm->step, total, actions);   // when plan->needs_total_norm()
//   chunk.Tick(now, actions);                // deadlines
//
// sync: pushes of step == version go into the ledger; when all slots are there the step is applied at once, or after
// OnTotalNorm. ssp, async: a push is applied on arrival, each worker's pushes in the order of its clocks, each once.
// The caller has checked the request's header (JobShard::Check).
//
// Invariants: version grows by one per applied or skipped step; a published snapshot never changes; at most
// kMaxWaitingPerWorker * workers pulls wait. Not thread safe: one thread owns the chunk.
#ifndef PARAMD_SERVER_STORE_CHUNK_H_
#define PARAMD_SERVER_STORE_CHUNK_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "server/store/buffer_pool.h"
#include "server/store/chunk_request.h"
#include "server/store/job_plan.h"
#include "server/store/ledger.h"
#include "server/store/snapshot.h"

namespace paramd {

class Chunk {
 public:
  static constexpr size_t kMaxWaitingPerWorker = 8;

  // Allocates nothing yet.
  Chunk(std::shared_ptr<const JobPlan> plan, int index, std::shared_ptr<BufferPool> pool);

  // Allocates, and fills the weights with the model's initial values. Once, before anything else.
  void Initialize();

  void Handle(const ChunkRequest& request, ChunkActions& actions);
  // The squared norm of the whole gradient of `step`; ignored unless that step is waiting for it.
  void OnTotalNorm(uint64_t step, double squared_norm, ChunkActions& actions);
  // Answers what has waited beyond its deadline.
  void Tick(absl::Time now, ChunkActions& actions);
  // Forgets the waiting requests of a stream that is gone.
  void DropStream(uint64_t stream);
  // Answers everything that waits with `status`, and all later requests too.
  void Fail(const absl::Status& status, ChunkActions& actions);

  int index() const { return index_; }
  int64_t elements() const { return elements_; }
  uint64_t version() const { return version_; }
  // sync: the version. ssp, async: the pushes of the slowest worker that are applied here.
  uint64_t slowest_clock() const;
  const SnapshotPointer& snapshot() const { return snapshot_; }
  size_t waiting() const { return waiting_.size(); }
  // When Tick has something to do; infinite future when nothing waits.
  absl::Time next_deadline() const;

 private:
  struct Waiting {
    RequestKey key;
    uint32_t worker;
    uint64_t min_version;
    uint64_t min_clock;
    bool duplicate;
    absl::Time received;
    absl::Time deadline;
  };

  // Each returns whether the payload was a duplicate.
  absl::StatusOr<bool> Push(const ChunkRequest& request, ChunkActions& actions);
  absl::StatusOr<bool> PushSync(const ChunkRequest& request, ChunkActions& actions);
  absl::StatusOr<bool> PushClocked(const ChunkRequest& request, ChunkActions& actions);
  void Pull(const ChunkRequest& request, bool duplicate, ChunkActions& actions);
  absl::Status CheckPull(const ChunkRequest& request) const;

  // The open step's sum is complete.
  absl::Status OnLedgerComplete(ChunkActions& actions);
  void FinishSyncStep(double total_squared_norm, ChunkActions& actions);
  // Runs the optimizer over `gradient` and publishes the result as the next version.
  void Apply(absl::Span<const float> gradient, float average, float clip, double learning_rate);
  void Publish(Buffer weights);
  // The same weights under the next version.
  void PublishUnchanged();

  bool Ready(uint64_t min_version, uint64_t min_clock) const;
  void AnswerReady(ChunkActions& actions);
  // `request` is a ChunkRequest or a Waiting.
  template <typename Request>
  Answer MakeAnswer(const Request& request, bool duplicate, absl::Status status) const;
  absl::Status NonFinite(uint64_t step) const;
  absl::Status DeadlineExceeded(const Waiting& waiting) const;
  // Whom a waiting request waits for, for people.
  std::string Awaited(const Waiting& waiting) const;

  const std::shared_ptr<const JobPlan> plan_;
  const int index_;
  const int64_t elements_;
  const std::vector<ChunkSegment> segments_;
  const std::shared_ptr<BufferPool> pool_;

  uint64_t version_ = 0;
  uint64_t updates_ = 0;  // Optimizer steps really applied: what bias correction counts.
  SnapshotPointer snapshot_;
  std::vector<float> state_;  // state_count runs of elements_.
  Ledger ledger_;
  bool awaiting_norm_ = false;    // The ledger is complete, the total norm is not known yet.
  std::vector<uint64_t> clocks_;  // By worker: pushes applied here (ssp, async).
  std::vector<Waiting> waiting_;  // In order of arrival.
  absl::Status failure_;
};

}  // namespace paramd

#endif  // PARAMD_SERVER_STORE_CHUNK_H_
