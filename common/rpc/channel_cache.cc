#include "common/rpc/channel_cache.h"

namespace paramd {

std::shared_ptr<grpc::Channel> ChannelCache::Get(const std::string& address) {
  absl::MutexLock lock(&mutex_);
  std::shared_ptr<grpc::Channel>& channel = channels_[address];
  if (channel == nullptr) channel = CreateChannel(address, options_);
  const std::shared_ptr<grpc::Channel> found = channel;
  DropUnused();
  return found;
}

size_t ChannelCache::size() const {
  absl::MutexLock lock(&mutex_);
  return channels_.size();
}

void ChannelCache::DropUnused() {
  size_t unused = 0;
  for (auto entry = channels_.begin(); entry != channels_.end();) {
    const auto current = entry++;
    if (current->second.use_count() == 1 && ++unused > kMaxUnused) channels_.erase(current);
  }
}

}  // namespace paramd
