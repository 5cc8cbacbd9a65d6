// TLS for gRPC: the three files of an operator as credentials for servers and channels, watched for renewal.
//
//   ASSIGN_OR_RETURN(std::shared_ptr<const Credentials> credentials,
//                    Credentials::Load({.cert = "node.pem", .key = "node.key", .ca = "ca.pem"}));
//   ServerRunner runner({.listen_address = listen, .credentials = credentials});
//   auto channel = CreateChannel("10.0.0.7:7070", {.credentials = credentials});
//
// Both ends speak TLS 1.3 or nothing. A server shows `cert`; with a `ca` it takes only clients that show a certificate
// of it (mutual TLS). A channel takes only servers whose certificate is of `ca` (else: of the system's authorities) and
// names the host of the address, as a DNS name or IP address among its subject alternative names, or `server_name`
// when that is set. Files are read again every ten minutes: replaced certificates take effect without a restart, for
// new connections. Unix sockets are not encrypted, whatever the credentials: nothing leaves the host.
//
// Immutable and thread safe. TLS 1.3 and the order of ciphers are set through OpenSSL's configuration, which is the
// process's: all of its OpenSSL connections have them once credentials were loaded.
#ifndef PARAMD_COMMON_RPC_CREDENTIALS_H_
#define PARAMD_COMMON_RPC_CREDENTIALS_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/security/server_credentials.h"

namespace paramd {

struct TlsOptions {
  std::string cert;         // PEM file: our certificate, then those up to the authority's.
  std::string key;          // PEM file: its private key, without a passphrase.
  std::string ca;           // PEM file: the authorities that peers' certificates must be of.
  std::string server_name;  // Expected in servers' certificates instead of the host of their address.
  int refresh_seconds = 600;

  bool any() const { return !cert.empty() || !key.empty() || !ca.empty() || !server_name.empty(); }
};

class Credentials {
 public:
  // Null when no option is set: plain text. kInvalidArgument, INVALID_FLAG with the flag's name: a certificate without
  // a key or the reverse, a file that cannot be read or is not PEM, a key of another certificate, one that has expired.
  static absl::StatusOr<std::shared_ptr<const Credentials>> Load(const TlsOptions& options);
  // The same for a process that listens, too: also refused without a certificate.
  static absl::StatusOr<std::shared_ptr<const Credentials>> LoadForServer(const TlsOptions& options);

  const std::shared_ptr<grpc::ChannelCredentials>& channel() const { return channel_; }
  // Null without a certificate: good for clients only.
  const std::shared_ptr<grpc::ServerCredentials>& server() const { return server_; }
  const std::string& server_name() const { return server_name_; }

 private:
  explicit Credentials(const TlsOptions& options);

  std::shared_ptr<grpc::ChannelCredentials> channel_;
  std::shared_ptr<grpc::ServerCredentials> server_;
  std::string server_name_;
};

}  // namespace paramd

#endif  // PARAMD_COMMON_RPC_CREDENTIALS_H_
