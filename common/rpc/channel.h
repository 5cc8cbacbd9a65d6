// Channels with paramd's arguments, and retries.
#ifndef PARAMD_COMMON_RPC_CHANNEL_H_
#define PARAMD_COMMON_RPC_CHANNEL_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/rpc/channel_arguments.h"
#include "common/rpc/credentials.h"
#include "grpcpp/channel.h"

namespace paramd {

// Room for headers around a chunk in one message.
inline constexpr int64_t kMessageOverheadBytes = 64 * 1024;

struct ChannelOptions {
  ChannelKind kind = ChannelKind::kControl;
  int64_t max_message_bytes = 4 * 1024 * 1024;
  std::shared_ptr<const Credentials> credentials;  // TLS. Null: plain text.
  BulkTransportOptions bulk;                       // Of kBulk.
};

// `address` is host:port or unix:PATH, which is always plain text. Never blocks; failures show up in the calls.
std::shared_ptr<grpc::Channel> CreateChannel(const std::string& address, const ChannelOptions& options);

struct RetryOptions {
  absl::Duration initial_backoff = absl::Milliseconds(100);
  absl::Duration max_backoff = absl::Seconds(5);
  double multiplier = 2;
  absl::Duration total = absl::Seconds(30);  // From the first attempt; no attempt starts after it.
};

// Backoffs: the n-th is min(initial * multiplier^n, max) times a random factor in [0.5, 1). Not thread safe.
class Backoff {
 public:
  Backoff(RetryOptions options, uint64_t seed);
  absl::Duration Next();
  void Reset();

 private:
  RetryOptions options_;
  uint64_t seed_;
  int attempt_ = 0;
};

// Calls `attempt` until it succeeds, fails with another code than kUnavailable, or `options.total` is over; returns the
// last status.
absl::Status RetryUnavailable(const RetryOptions& options, const std::function<absl::Status()>& attempt);

}  // namespace paramd

#endif  // PARAMD_COMMON_RPC_CHANNEL_H_
