#include "common/rpc/credentials.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"
#include "common/rpc/pem.h"
#include "common/rpc/tls_policy.h"
#include "grpcpp/security/tls_certificate_provider.h"
#include "grpcpp/security/tls_credentials_options.h"

namespace paramd {
namespace {

namespace tls = grpc::experimental;

absl::Status Invalid(absl::string_view flag, absl::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_FLAG", absl::StrCat(flag, ": ", message));
}

absl::Status Named(absl::string_view flag, const absl::Status& status) {
  return status.ok() ? status : Invalid(flag, status.message());
}

// gRPC itself would only log what is wrong with the files, and then fail every handshake.
absl::Status CheckFiles(const TlsOptions& options) {
  if (options.cert.empty() != options.key.empty()) {
    return options.key.empty() ? Invalid("--tls-key", "missing: --tls-cert needs its private key")
                               : Invalid("--tls-cert", "missing: --tls-key needs its certificate");
  }
  if (!options.cert.empty()) {
    RETURN_IF_ERROR(Named("--tls-cert", CheckCertificates(options.cert)));
    RETURN_IF_ERROR(Named("--tls-key", CheckKey(options.key, options.cert)));
  }
  return options.ca.empty() ? absl::OkStatus() : Named("--tls-ca", CheckCertificates(options.ca));
}

void Watch(const TlsOptions& options, const std::shared_ptr<tls::CertificateProviderInterface>& provider,
           tls::TlsCredentialsOptions& credentials) {
  if (provider == nullptr) return;  // A client without a file: the system's authorities, no certificate of ours.
  credentials.set_certificate_provider(provider);
  if (!options.cert.empty()) credentials.watch_identity_key_cert_pairs();
  if (!options.ca.empty()) credentials.watch_root_certs();
}

}  // namespace

Credentials::Credentials(const TlsOptions& options) : server_name_(options.server_name) {
  std::shared_ptr<tls::CertificateProviderInterface> provider;
  if (!options.cert.empty() || !options.ca.empty()) {
    provider = std::make_shared<tls::FileWatcherCertificateProvider>(options.key, options.cert, options.ca,
                                                                     static_cast<unsigned>(options.refresh_seconds));
  }
  tls::TlsChannelCredentialsOptions channel;
  Watch(options, provider, channel);
  channel_ = tls::TlsCredentials(channel);
  if (options.cert.empty()) return;
  tls::TlsServerCredentialsOptions server(provider);
  Watch(options, provider, server);
  server.set_cert_request_type(options.ca.empty() ? GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE
                                                  : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  server_ = tls::TlsServerCredentials(server);
}

absl::StatusOr<std::shared_ptr<const Credentials>> Credentials::Load(const TlsOptions& options) {
  if (!options.any()) return std::shared_ptr<const Credentials>();
  RETURN_IF_ERROR(CheckFiles(options));
  RETURN_IF_ERROR(ApplyTlsPolicy());
  return std::shared_ptr<const Credentials>(new Credentials(options));
}

absl::StatusOr<std::shared_ptr<const Credentials>> Credentials::LoadForServer(const TlsOptions& options) {
  if (options.any() && options.cert.empty()) {
    return Invalid("--tls-cert", "missing: a daemon that uses TLS needs a certificate and its key");
  }
  return Load(options);
}

}  // namespace paramd
