// What every unary or streaming call of paramd's own clients carries: a deadline, an id and the client's version.
//
//   grpc::ClientContext context;
//   PrepareCall({.timeout = absl::Seconds(10)}, context);
//   stub->GetJob(&context, request, &response);
//
// Thread safe.
#ifndef PARAMD_COMMON_RPC_CALL_H_
#define PARAMD_COMMON_RPC_CALL_H_

#include <string>

#include "absl/time/time.h"
#include "grpcpp/client_context.h"

namespace paramd {

inline constexpr char kClientVersionKey[] = "x-paramd-client-version";
inline constexpr char kRequestIdKey[] = "x-request-id";

struct CallOptions {
  absl::Duration timeout = absl::Seconds(30);  // InfiniteDuration for streams that live as long as the process.
  std::string request_id;                      // Printable ASCII, for logs. Default: NewRequestId().
  bool wait_for_ready = false;                 // Wait for a connection until the deadline instead of failing at once.
};

// 32 random lower-case hexadecimal digits.
std::string NewRequestId();

// Before the call starts, once per context.
void PrepareCall(const CallOptions& options, grpc::ClientContext& context);

}  // namespace paramd

#endif  // PARAMD_COMMON_RPC_CALL_H_
