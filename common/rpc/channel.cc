#include "common/rpc/channel.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/random/random.h"
#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "common/rpc/address.h"
#include "common/rpc/socket_options.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"

namespace paramd {
namespace {

// SplitMix64 (Steele, Lea, Flood 2014): the next of a sequence of well-mixed 64-bit numbers.
uint64_t NextRandom(uint64_t& state) {
  uint64_t z = (state += 0x9E3779B97F4A7C15ull);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

}  // namespace

std::shared_ptr<grpc::Channel> CreateChannel(const std::string& address, const ChannelOptions& options) {
  grpc::ChannelArguments arguments;
  const int limit = static_cast<int>(std::min<int64_t>(options.max_message_bytes, std::numeric_limits<int>::max()));
  arguments.SetMaxReceiveMessageSize(limit);
  arguments.SetMaxSendMessageSize(limit);
  for (const IntArgument& a : ClientArguments(options.kind, options.bulk)) arguments.SetInt(a.name, a.value);
  if (options.kind == ChannelKind::kBulk) {
    SetSocketOptions(SocketOptionsOf(options.bulk), IsLoopbackAddress(address), arguments);
  }
  if (options.credentials == nullptr || absl::StartsWith(address, "unix:")) {
    return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
  }
  const std::string& name = options.credentials->server_name();
  if (!name.empty()) arguments.SetSslTargetNameOverride(name);
  return grpc::CreateCustomChannel(address, options.credentials->channel(), arguments);
}

Backoff::Backoff(RetryOptions options, uint64_t seed) : options_(std::move(options)), seed_(seed) {}

absl::Duration Backoff::Next() {
  const double growth = std::pow(options_.multiplier, attempt_);
  // Past the maximum the exponent need not grow: pow would overflow to infinity after some hours.
  const absl::Duration uncapped = options_.initial_backoff * growth;
  if (uncapped < options_.max_backoff) ++attempt_;
  const double unit = static_cast<double>(NextRandom(seed_) >> 11) * 0x1.0p-53;  // [0, 1).
  return std::min(uncapped, options_.max_backoff) * (0.5 + 0.5 * unit);
}

void Backoff::Reset() { attempt_ = 0; }

absl::Status RetryUnavailable(const RetryOptions& options, const std::function<absl::Status()>& attempt) {
  const absl::Time deadline = absl::Now() + options.total;
  absl::BitGen random;
  Backoff backoff(options, absl::Uniform<uint64_t>(random));
  while (true) {
    absl::Status status = attempt();
    if (!absl::IsUnavailable(status)) return status;
    const absl::Duration pause = backoff.Next();
    if (absl::Now() + pause >= deadline) return status;
    absl::SleepFor(pause);
  }
}

}  // namespace paramd
