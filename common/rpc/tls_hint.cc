#include "common/rpc/tls_hint.h"

#include "absl/strings/match.h"

namespace paramd {

TlsHint ExplainTls(absl::string_view message, bool tls) {
  // The other side accepted the connection and hung up before a word of HTTP/2.
  const bool hung_up = absl::StrContains(message, "failed to connect") && absl::StrContains(message, "Socket closed");
  if (!tls) return {.text = hung_up ? "; it hung up, as it does when it wants TLS (--tls-ca)" : ""};
  // With TLS 1.3 a server looks at the client's certificate when the client is through with the handshake.
  if (hung_up) return {.text = "; it hung up, as it does when it wants another certificate (--tls-cert, --tls-key)"};
  if (absl::StrContains(message, "wrong version number")) {
    return {.text = "; it does not speak TLS", .refused = true};
  }
  if (absl::StrContains(message, "certificate verify failed")) {
    return {.text = "; its certificate is of none of our authorities (--tls-ca)", .refused = true};
  }
  if (absl::StrContains(message, "Hostname Verification")) {
    return {.text = "; its certificate is for another name (--tls-server-name)", .refused = true};
  }
  return {.refused = absl::StrContains(message, "handshake failed")};
}

}  // namespace paramd
