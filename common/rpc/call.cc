#include "common/rpc/call.h"

#include <cstdint>

#include "absl/random/random.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "common/config/version.h"

namespace paramd {

std::string NewRequestId() {
  absl::BitGen random;
  return absl::StrFormat("%016x%016x", absl::Uniform<uint64_t>(random), absl::Uniform<uint64_t>(random));
}

void PrepareCall(const CallOptions& options, grpc::ClientContext& context) {
  if (options.timeout != absl::InfiniteDuration()) {
    context.set_deadline(absl::ToChronoTime(absl::Now() + options.timeout));
  }
  context.set_wait_for_ready(options.wait_for_ready);
  context.AddMetadata(kClientVersionKey, kVersion);
  context.AddMetadata(kRequestIdKey, options.request_id.empty() ? NewRequestId() : options.request_id);
}

}  // namespace paramd
