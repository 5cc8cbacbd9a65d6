#include "common/rpc/test_certificates.h"

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "absl/strings/str_join.h"
#include "openssl/ec.h"
#include "openssl/pem.h"
#include "openssl/rand.h"
#include "openssl/x509v3.h"

namespace paramd {
namespace {

void Require(bool good, const char* what) {
  if (good) return;
  std::fprintf(stderr, "test certificates: %s failed\n", what);
  std::abort();
}

FILE* Create(const std::string& path) {
  FILE* const file = std::fopen(path.c_str(), "w");
  Require(file != nullptr, path.c_str());
  return file;
}

void WriteKey(const std::string& path, EVP_PKEY* key) {
  FILE* const file = Create(path);
  Require(PEM_write_PrivateKey(file, key, nullptr, nullptr, 0, nullptr, nullptr) == 1, "PEM_write_PrivateKey");
  Require(std::fclose(file) == 0, "fclose");
}

void WriteCertificate(const std::string& path, X509* certificate) {
  FILE* const file = Create(path);
  Require(PEM_write_X509(file, certificate) == 1, "PEM_write_X509");
  Require(std::fclose(file) == 0, "fclose");
}

void AddExtension(X509* certificate, X509* issuer, int id, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, &context, id, value.c_str());
  Require(extension != nullptr && X509_add_ext(certificate, extension, -1) == 1, value.c_str());
  X509_EXTENSION_free(extension);
}

// Not signed yet. Its own issuer when `issuer` is null.
X509* MakeCertificate(const std::string& name, EVP_PKEY* key, X509* issuer, absl::Duration lifetime) {
  X509* const made = X509_new();
  X509_set_version(made, X509_VERSION_3);
  uint32_t serial = 0;
  RAND_bytes(reinterpret_cast<unsigned char*>(&serial), sizeof(serial));
  ASN1_INTEGER_set_uint64(X509_get_serialNumber(made), serial);
  X509_gmtime_adj(X509_getm_notBefore(made), -3600);
  X509_gmtime_adj(X509_getm_notAfter(made), absl::ToInt64Seconds(lifetime));
  X509_NAME_add_entry_by_txt(X509_get_subject_name(made), "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
  X509_set_issuer_name(made, X509_get_subject_name(issuer == nullptr ? made : issuer));
  Require(X509_set_pubkey(made, key) == 1, "X509_set_pubkey");
  return made;
}

}  // namespace

TestAuthority::TestAuthority(const std::string& directory) : directory_(directory), key_(EVP_EC_gen("P-256")) {
  std::filesystem::create_directories(directory);
  Require(key_ != nullptr, "EVP_EC_gen");
  certificate_ = MakeCertificate(directory, key_, nullptr, absl::Hours(2));
  AddExtension(certificate_, certificate_, NID_basic_constraints, "critical,CA:TRUE");
  Require(X509_sign(certificate_, key_, EVP_sha256()) > 0, "X509_sign");
  WriteCertificate(ca(), certificate_);
}

TestAuthority::~TestAuthority() {
  X509_free(certificate_);
  EVP_PKEY_free(key_);
}

TestCertificate TestAuthority::Issue(const std::string& name, const std::vector<std::string>& names,
                                     absl::Duration lifetime) {
  EVP_PKEY* const key = EVP_EC_gen("P-256");
  Require(key != nullptr, "EVP_EC_gen");
  X509* const certificate = MakeCertificate(name, key, certificate_, lifetime);
  if (!names.empty()) AddExtension(certificate, certificate_, NID_subject_alt_name, absl::StrJoin(names, ","));
  Require(X509_sign(certificate, key_, EVP_sha256()) > 0, "X509_sign");
  const TestCertificate files = {directory_ + "/" + name + ".pem", directory_ + "/" + name + ".key"};
  WriteCertificate(files.cert, certificate);
  WriteKey(files.key, key);
  X509_free(certificate);
  EVP_PKEY_free(key);
  return files;
}

}  // namespace paramd
