// One chunk of a job on its server: its weights (chunk_weights.h), the open step's ledger, the workers' clocks and the
// pulls that wait. Takes events, returns what is to be done; knows no gRPC, no threads, no clock.
//
//   Chunk chunk(plan, 7, pool);
//   chunk.Initialize();
//   ChunkActions actions;
//   chunk.Handle(request, actions);          // a push, a pull or both
//   if (actions.norm) chunk.OnTotalNorm(actions.norm->step, total, actions);   // when plan->needs_total_norm()
//   chunk.Tick(now, actions);                // deadlines
//
// sync: pushes of step == version go into the ledger; the one that completes the step is applied together with it in
// one pass, or stored, too, and applied after OnTotalNorm. ssp, async: a push is applied on arrival straight from its
// payload, each worker's pushes in the order of its clocks, each once. Every request must be of the chunk's present
// generation and from one of its workers; the caller has checked the rest of the header (JobShard::Check).
//
// Adopt brings the next generation. All that was taken stays: weights, ledger, the clocks of those who stay. Who waits
// is refused, and asks again in the new generation: so nobody who does not know of it gets beyond the open step. The
// clock of a worker that comes starts at that of the slowest and may jump once, at its first push; that of a worker
// that goes counts no longer.
//
// A pull with a shared_answer has the weights written there before it is answered: while they are made when it waits
// for just that version, by a plain copy otherwise.
//
// Invariants: version grows by one per applied or skipped step; a published snapshot never changes; at most
// kMaxWaitingPerWorker * workers pulls wait. Handling a message that is not refused allocates nothing once the chunk
// has seen a few steps. Not thread safe: one thread owns the chunk.
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
#include "server/store/chunk_capture.h"
#include "server/store/chunk_request.h"
#include "server/store/chunk_weights.h"
#include "server/store/job_members.h"
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
  // Instead: goes on from what was saved at the boundary before step plan->first_step. Clocks of other workers than the
  // plan's count for nothing: all workers begin at that step. kDataLoss (CHECKPOINT_INVALID) when it does not fit.
  absl::Status Restore(const SavedChunk& saved);
  // The chunk as it is between two events, to be saved. Copies the optimizer's state.
  ChunkCapture Capture() const;

  void Handle(const ChunkRequest& request, ChunkActions& actions);
  // The squared norm of the whole gradient of `step`; ignored unless that step is waiting for it.
  void OnTotalNorm(uint64_t step, double squared_norm, ChunkActions& actions);
  // From now on only requests of `members` and their generation are taken. Nothing happens when it is not a newer one.
  void Adopt(std::shared_ptr<const JobMembers> members, ChunkActions& actions);
  // sync: the first step that lacks slots, and which.
  OpenStep open_step() const;
  // Answers what has waited beyond its deadline.
  void Tick(absl::Time now, ChunkActions& actions);
  // Forgets the waiting requests of a stream that is gone.
  void DropStream(uint64_t stream);
  // Answers everything that waits with `status`, and all later requests too.
  void Fail(const absl::Status& status, ChunkActions& actions);

  int index() const { return index_; }
  int64_t elements() const { return weights_.elements(); }
  uint64_t version() const { return weights_.version(); }
  // sync: the version. ssp, async: the pushes of the slowest worker that are applied here.
  uint64_t slowest_clock() const;
  const SnapshotPointer& snapshot() const { return weights_.snapshot(); }
  size_t waiting() const { return waiting_.size(); }
  // When Tick has something to do; infinite future when nothing waits.
  absl::Time next_deadline() const;

 private:
  struct Waiting {
    RequestKey key;
    uint64_t min_version;
    uint64_t min_clock;
    bool duplicate;
    v1::Codec answer_codec;
    absl::Span<float> shared_answer;
    absl::Time received;
    absl::Time deadline;
  };

  // Each returns whether the payload was a duplicate.
  absl::StatusOr<bool> Push(const ChunkRequest& request, ChunkActions& actions);
  absl::StatusOr<bool> PushSync(const ChunkRequest& request, ChunkActions& actions);
  absl::StatusOr<bool> PushClocked(const ChunkRequest& request, ChunkActions& actions);
  absl::Status CheckPush(const ChunkRequest& request) const;
  // The payload itself, or decoded into `decoded` if its codec is none that is decoded on the way.
  absl::StatusOr<GradientPayload> Decode(const ChunkRequest& request, Buffer& decoded) const;

  // `payload` brings the open step's last slots.
  absl::Status CompleteStep(const Ledger::Place& place, const GradientPayload& payload, const ChunkRequest& request,
                            ChunkActions& actions);
  // Applies a step, or skips it, and answers who waited for that. `pulling` is null, or the request in work, whose own
  // pull comes next. False when the norm is not finite.
  bool Apply(GradientBlocks& gradient, ChunkWeights::Step step, const ChunkRequest* pulling, const AppliedStep& applied,
             ChunkActions& actions);
  void Skip(AppliedStep applied, ChunkActions& actions);
  // The optimizer state is spoilt: nothing may be pushed any more.
  absl::Status FailNonFinite(uint64_t step, ChunkActions& actions);

  void Pull(const ChunkRequest& request, bool duplicate, ChunkActions& actions);
  // The weights that a pull of an exact version asks for, if they are past: null when they are gone.
  absl::StatusOr<SnapshotPointer> PastWeights(const ChunkRequest& request) const;
  absl::Status CheckPull(const ChunkRequest& request) const;
  // The pull's min_clock, or what the staleness bound makes of it.
  uint64_t MinClock(const ChunkRequest& request) const;
  bool Ready(uint64_t min_version, uint64_t min_clock, uint64_t version) const;
  // Into targets_: where the weights of the next version are wanted as soon as they are there. Whether somebody is
  // going to be answered with them in BF16.
  bool CollectTargets(const ChunkRequest* pulling);
  void AnswerReady(ChunkActions& actions);

  // `request` is a ChunkRequest or a Waiting.
  template <typename Request>
  Answer MakeAnswer(const Request& request, bool duplicate, absl::Status status) const;
  // Of a pull that is ready; writes the weights to its shared_answer unless Apply just did.
  template <typename Request>
  Answer MakeWeightsAnswer(const Request& request, bool duplicate, const SnapshotPointer& weights) const;
  absl::Status NonFinite(uint64_t step) const;
  absl::Status DeadlineExceeded(const Waiting& waiting) const;
  // Whom a waiting request waits for, for people.
  std::string Awaited(const Waiting& waiting) const;

  const std::shared_ptr<const JobPlan> plan_;
  const int index_;
  const std::shared_ptr<BufferPool> pool_;

  ChunkWeights weights_;
  std::shared_ptr<const JobMembers> members_;
  SnapshotPointer previous_;  // sync: the weights before the last step, until the open step gets its first push.
  Ledger ledger_;
  bool awaiting_norm_ = false;          // The ledger is complete, the total norm is not known yet.
  std::vector<uint64_t> clocks_;        // By worker: pushes applied here (ssp, async).
  std::vector<bool> may_jump_;          // By worker: it came while the job trained, and has not pushed here yet.
  std::vector<Waiting> waiting_;        // In order of arrival.
  std::vector<WeightsTarget> targets_;  // Have the weights of this version. Empty between events.
  absl::Status failure_;
};

}  // namespace paramd

#endif  // PARAMD_SERVER_STORE_CHUNK_H_
