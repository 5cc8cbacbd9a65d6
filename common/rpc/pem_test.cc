#include "common/rpc/pem.h"

#include <fstream>

#include "common/base/status_matchers.h"
#include "common/rpc/test_certificates.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

using testing::HasSubstr;

std::string Message(const absl::Status& status) { return std::string(status.message()); }

TEST(PemTest, AcceptsAMatchingPair) {
  TestAuthority authority(testing::TempDir() + "/pem-good");
  const TestCertificate node = authority.Issue("node", {"DNS:localhost"});
  EXPECT_OK(CheckCertificates(authority.ca()));
  EXPECT_OK(CheckCertificates(node.cert));
  EXPECT_OK(CheckKey(node.key, node.cert));
}

TEST(PemTest, SaysWhatIsWrong) {
  TestAuthority authority(testing::TempDir() + "/pem-bad");
  const TestCertificate node = authority.Issue("node", {});
  const TestCertificate other = authority.Issue("other", {});
  const TestCertificate old = authority.Issue("old", {}, -absl::Minutes(1));
  const std::string text = testing::TempDir() + "/pem-bad/text";
  std::ofstream(text) << "hello\n";
  EXPECT_THAT(CheckCertificates(text + "-missing"), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(Message(CheckCertificates(text)), HasSubstr("holds no PEM certificate"));
  EXPECT_THAT(Message(CheckCertificates(node.key)), HasSubstr("holds no PEM certificate"));
  EXPECT_THAT(Message(CheckCertificates(old.cert)), HasSubstr("has expired"));
  EXPECT_THAT(CheckKey(text + "-missing", node.cert), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(Message(CheckKey(node.cert, node.cert)), HasSubstr("holds no PEM private key"));
  EXPECT_THAT(Message(CheckKey(other.key, node.cert)), HasSubstr("is not the key of the certificate"));
}

}  // namespace
}  // namespace paramd
