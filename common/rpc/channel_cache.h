// Channels to peers that come and go with jobs, kept apart from the calls that use them: gRPC must not drop the last
// reference to a channel on one of its own callback threads, so somebody else always holds one.
//
//   ChannelCache channels({.kind = ChannelKind::kControl});
//   auto stub = v1::ParameterService::NewStub(channels.Get("10.0.0.7:7071"));
//
// Thread safe. Unused channels beyond kMaxUnused are dropped by Get, on its caller's thread. Destroy it after the last
// call is over, on a thread that is not gRPC's.
#ifndef PARAMD_COMMON_RPC_CHANNEL_CACHE_H_
#define PARAMD_COMMON_RPC_CHANNEL_CACHE_H_

#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "common/rpc/channel.h"

namespace paramd {

class ChannelCache {
 public:
  static constexpr size_t kMaxUnused = 16;

  explicit ChannelCache(ChannelOptions options) : options_(options) {}

  // The channel to `address`, the same one for the same address while it is kept.
  std::shared_ptr<grpc::Channel> Get(const std::string& address);
  size_t size() const;

 private:
  void DropUnused() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const ChannelOptions options_;
  mutable absl::Mutex mutex_;
  absl::flat_hash_map<std::string, std::shared_ptr<grpc::Channel>> channels_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace paramd

#endif  // PARAMD_COMMON_RPC_CHANNEL_CACHE_H_
