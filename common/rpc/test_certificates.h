// Certificates made on the spot, for tests.
//
//   TestAuthority authority(testing::TempDir() + "/ca");      // ca.pem
//   TestCertificate node = authority.Issue("node", {"DNS:localhost", "IP:127.0.0.1"});
//   Credentials::Load({.cert = node.cert, .key = node.key, .ca = authority.ca()});
//
// P-256 keys, signed with SHA-256. Fails the test's process when OpenSSL or the disk does. Not thread safe.
#ifndef PARAMD_COMMON_RPC_TEST_CERTIFICATES_H_
#define PARAMD_COMMON_RPC_TEST_CERTIFICATES_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "openssl/evp.h"
#include "openssl/x509.h"

namespace paramd {

struct TestCertificate {
  std::string cert;  // Paths of PEM files.
  std::string key;
};

class TestAuthority {
 public:
  // Makes `directory`, and ca.pem in it.
  explicit TestAuthority(const std::string& directory);
  ~TestAuthority();

  std::string ca() const { return directory_ + "/ca.pem"; }
  // <name>.pem and <name>.key in the directory, replaced if there. `names`: subject alternative names as OpenSSL's
  // configuration writes them. Valid from an hour ago until `lifetime` from now.
  TestCertificate Issue(const std::string& name, const std::vector<std::string>& names,
                        absl::Duration lifetime = absl::Hours(1));

 private:
  const std::string directory_;
  EVP_PKEY* key_;
  X509* certificate_;
};

}  // namespace paramd

#endif  // PARAMD_COMMON_RPC_TEST_CERTIFICATES_H_
