#include "worker/parameter_client/payload_holds.h"

#include <utility>

namespace paramd {

struct PayloadHolds::Held {
  std::shared_ptr<PayloadHolds> holds;
  int chunk = 0;
  std::shared_ptr<const void> owner;
};

grpc::Slice PayloadHolds::Hold(int chunk, absl::string_view bytes, std::shared_ptr<const void> owner) {
  {
    absl::MutexLock lock(&mutex_);
    ++counts_[chunk];
    ++total_;
  }
  // gRPC does not write to slices; its interface just has no const.
  return grpc::Slice(const_cast<char*>(bytes.data()), bytes.size(), &PayloadHolds::Drop,
                     new Held{shared_from_this(), chunk, std::move(owner)});
}

void PayloadHolds::Drop(void* held) {
  const std::unique_ptr<Held> dropped(static_cast<Held*>(held));
  PayloadHolds& holds = *dropped->holds;
  absl::MutexLock lock(&holds.mutex_);
  --holds.counts_[dropped->chunk];
  --holds.total_;
}

bool PayloadHolds::WaitForChunk(int chunk) {
  absl::MutexLock lock(&mutex_);
  const int& count = counts_[chunk];
  if (count == 0) return true;
  const auto settled = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return count == 0 || cancelled_; };
  mutex_.Await(absl::Condition(&settled));
  return count == 0;
}

void PayloadHolds::WaitForAll() {
  absl::MutexLock lock(&mutex_);
  const auto none = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return total_ == 0; };
  mutex_.Await(absl::Condition(&none));
}

void PayloadHolds::Cancel() {
  absl::MutexLock lock(&mutex_);
  cancelled_ = true;
}

}  // namespace paramd
