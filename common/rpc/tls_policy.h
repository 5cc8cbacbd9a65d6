// What gRPC's interface leaves open about TLS: the version, and the order of ciphers.
//
//   RETURN_IF_ERROR(ApplyTlsPolicy());   // Before the first TLS channel or server.
//
// Thread safe and idempotent. It sets OpenSSL's configuration, which belongs to the process.
#ifndef PARAMD_COMMON_RPC_TLS_POLICY_H_
#define PARAMD_COMMON_RPC_TLS_POLICY_H_

#include "absl/status/status.h"

namespace paramd {

// TLS 1.3 only; AES-128-GCM first, the fastest with the processor's instructions. kInternal when OpenSSL refuses.
absl::Status ApplyTlsPolicy();

}  // namespace paramd

#endif  // PARAMD_COMMON_RPC_TLS_POLICY_H_
