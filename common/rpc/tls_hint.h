// What gRPC's words about a connection that failed mean when one side speaks TLS and the other does not, or does not
// like what it is shown. gRPC has no codes for that.
//
//   const TlsHint hint = ExplainTls(status.error_message(), credentials != nullptr);
//   if (hint.refused) ...                       // Trying again is no use.
//   message = absl::StrCat(message, hint.text);
//
// Pure and thread safe.
#ifndef PARAMD_COMMON_RPC_TLS_HINT_H_
#define PARAMD_COMMON_RPC_TLS_HINT_H_

#include "absl/strings/string_view.h"

namespace paramd {

struct TlsHint {
  absl::string_view text = "";  // "; ..." to append to the message.
  bool refused = false;         // This side ended the handshake: the other's certificate, or no TLS at all.
};

// `tls`: whether this side of the connection speaks it.
TlsHint ExplainTls(absl::string_view message, bool tls);

}  // namespace paramd

#endif  // PARAMD_COMMON_RPC_TLS_HINT_H_
