#include "common/rpc/pem.h"

#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "openssl/bio.h"
#include "openssl/evp.h"
#include "openssl/pem.h"
#include "openssl/x509.h"

namespace paramd {
namespace {

constexpr int64_t kMaxFileBytes = 4 << 20;

struct Free {
  void operator()(BIO* bio) const { BIO_free(bio); }
  void operator()(X509* certificate) const { X509_free(certificate); }
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};

// Instead of OpenSSL's, which asks the terminal.
int NoPassphrase(char*, int, int, void*) { return 0; }

std::unique_ptr<BIO, Free> Bio(const std::string& text) {
  return std::unique_ptr<BIO, Free>(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

absl::StatusOr<std::unique_ptr<X509, Free>> FirstCertificate(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxFileBytes));
  std::unique_ptr<X509, Free> certificate(PEM_read_bio_X509(Bio(text).get(), nullptr, NoPassphrase, nullptr));
  if (certificate == nullptr) return absl::InvalidArgumentError(absl::StrCat(path, " holds no PEM certificate"));
  return certificate;
}

}  // namespace

absl::Status CheckCertificates(const std::string& path) {
  ASSIGN_OR_RETURN(const auto certificate, FirstCertificate(path));
  if (X509_cmp_current_time(X509_get0_notAfter(certificate.get())) < 0) {
    return absl::InvalidArgumentError(absl::StrCat("the certificate in ", path, " has expired"));
  }
  if (X509_cmp_current_time(X509_get0_notBefore(certificate.get())) > 0) {
    return absl::InvalidArgumentError(absl::StrCat("the certificate in ", path, " is not valid yet"));
  }
  return absl::OkStatus();
}

absl::Status CheckKey(const std::string& path, const std::string& certificate_path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxFileBytes));
  const std::unique_ptr<EVP_PKEY, Free> key(PEM_read_bio_PrivateKey(Bio(text).get(), nullptr, NoPassphrase, nullptr));
  if (key == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(path, " holds no PEM private key, or one with a passphrase"));
  }
  ASSIGN_OR_RETURN(const auto certificate, FirstCertificate(certificate_path));
  if (X509_check_private_key(certificate.get(), key.get()) == 1) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(path, " is not the key of the certificate in ", certificate_path));
}

}  // namespace paramd
