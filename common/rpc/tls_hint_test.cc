// That gRPC still says what is looked for here is what //tests/integration:tls_test tells.
#include "common/rpc/tls_hint.h"

#include "absl/strings/match.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

TEST(TlsHintTest, Table) {
  constexpr char kHungUp[] =
      "failed to connect to all addresses; last error: UNAVAILABLE: ipv4:1.2.3.4:5: Socket closed";
  const struct {
    const char* message;
    bool tls;
    const char* word;
    bool refused;
  } kRows[] = {
      {kHungUp, false, "--tls-ca", false},
      {kHungUp, true, "--tls-cert", false},
      {"Socket closed", false, "", false},
      {"Connection refused", false, "", false},
      {"Connection refused", true, "", false},
      {"Tls handshake failed: SSL_ERROR_SSL: error:0A00010B:SSL routines::wrong version number", true, "TLS", true},
      {"Tls handshake failed: error:0A000086:SSL routines::certificate verify failed", true, "--tls-ca", true},
      {"UNAUTHENTICATED: Hostname Verification Check failed.", true, "--tls-server-name", true},
      {"Tls handshake failed: something new", true, "", true},
  };
  for (const auto& row : kRows) {
    const TlsHint hint = ExplainTls(row.message, row.tls);
    EXPECT_TRUE(absl::StrContains(hint.text, row.word)) << row.message << ": " << hint.text;
    EXPECT_EQ(hint.text.empty(), *row.word == '\0') << row.message << ": " << hint.text;
    EXPECT_EQ(hint.refused, row.refused) << row.message;
  }
}

}  // namespace
}  // namespace paramd
