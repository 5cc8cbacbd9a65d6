// A server's side of the two-phase gradient norm: sends its chunks' squared norms of a step to the job's lead server
// and brings back the total over all chunks.
//
//   NormExchange exchange({.lead = channels.Get(address), .job_id = id, .generation = 1, .server_index = 1});
//   exchange.Send(step, norms, [](absl::StatusOr<double> total) { ... });
//
// A call that finds the lead unavailable is made again, with backoff, until the deadline; the lead takes a repeated
// report for the same. The time in which the lead or this server has lost its lease does not count: both keep the job
// for a coordinator that comes back, and the call is made again as long as the exchange is there. `done` runs exactly
// once, on one of gRPC's threads. Thread safe. Destroying the exchange cancels what is under way (kCancelled) without
// waiting for it; the channel's owner (ChannelCache) outlives that.
#ifndef PARAMD_SERVER_SERVICE_NORM_EXCHANGE_H_
#define PARAMD_SERVER_SERVICE_NORM_EXCHANGE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "grpcpp/channel.h"
#include "proto/parameter.grpc.pb.h"
#include "server/service/lease.h"

namespace paramd {

struct NormExchangeOptions {
  std::shared_ptr<grpc::Channel> lead;
  std::string job_id;
  uint64_t generation = 0;
  uint32_t server_index = 0;
  absl::Duration timeout = absl::Seconds(30);
  std::function<Lease()> lease = nullptr;  // Of this server; not called once the exchange is gone. Null: needs none.
};

class NormExchange {
 public:
  using Done = std::function<void(absl::StatusOr<double> total)>;

  explicit NormExchange(NormExchangeOptions options);
  ~NormExchange();

  void Send(uint64_t step, const std::vector<v1::ChunkNorm>& norms, Done done);

 private:
  class Call;

  const NormExchangeOptions options_;
  const std::shared_ptr<v1::ParameterService::Stub> stub_;  // Shared with calls that outlive the exchange.
  absl::Mutex mutex_;
  std::vector<std::weak_ptr<Call>> calls_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace paramd

#endif  // PARAMD_SERVER_SERVICE_NORM_EXCHANGE_H_
