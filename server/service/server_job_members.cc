// A job's workers change: its chunks adopt the new generation, each on its thread, and say what they still miss.
#include <algorithm>
#include <atomic>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/service/server_job.h"

namespace paramd {
namespace {

// What all chunks of the server lack, put together as they answer.
class MissingSlots {
 public:
  MissingSlots(const JobPlan& plan, size_t chunks)
      : synchronous_(plan.synchronous()),
        step_(synchronous_ ? plan.steps() : 0),
        missing_(plan.slots(), false),
        remaining_(chunks) {}

  // True for the last chunk.
  bool Add(const OpenStep& open) {
    absl::MutexLock lock(&mutex_);
    if (!synchronous_) {
      step_ = std::max(step_, open.step);
    } else if (open.step <= step_) {
      if (open.step < step_) std::fill(missing_.begin(), missing_.end(), false);
      step_ = open.step;
      for (const SlotRange& range : open.missing) {
        std::fill_n(missing_.begin() + range.first, range.count, true);
      }
    }
    return --remaining_ == 0;
  }

  v1::GenerationAdopted ToProto() const {
    absl::MutexLock lock(&mutex_);
    v1::GenerationAdopted adopted;
    adopted.set_step(step_);
    for (uint32_t slot = 0; slot < missing_.size(); ++slot) {
      if (!missing_[slot]) continue;
      if (slot == 0 || !missing_[slot - 1]) adopted.add_missing()->set_first_slot(slot);
      v1::SlotSpan& span = *adopted.mutable_missing(adopted.missing_size() - 1);
      span.set_slot_count(span.slot_count() + 1);
    }
    return adopted;
  }

 private:
  const bool synchronous_;
  mutable absl::Mutex mutex_;
  uint64_t step_ ABSL_GUARDED_BY(mutex_);
  std::vector<bool> missing_ ABSL_GUARDED_BY(mutex_);
  size_t remaining_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

void ServerJob::Adopt(std::shared_ptr<const JobMembers> members, Adopted done) {
  if (members->generation < generation()) return;
  shard_.SetGeneration(members->generation);
  auto missing = std::make_shared<MissingSlots>(plan(), shard_.chunks().size());
  if (shard_.chunks().empty()) {  // More servers than chunks.
    environment_.threads.Post(0, [missing, done = std::move(done)] { done(missing->ToProto()); });
    return;
  }
  PostToChunks([members = std::move(members), missing, done = std::move(done)](Chunk& chunk, ChunkActions& actions) {
    chunk.Adopt(members, actions);
    if (missing->Add(chunk.open_step())) done(missing->ToProto());
  });
}

}  // namespace paramd
