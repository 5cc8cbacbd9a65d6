#include "common/rpc/address.h"

#include <string>

#include "absl/strings/match.h"
#include "common/base/error.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

TEST(AddressTest, ParsesAndFormats) {
  const struct {
    const char* text;
    const char* host;
    int port;
  } cases[] = {
      {"127.0.0.1:7070", "127.0.0.1", 7070},
      {"localhost:0", "localhost", 0},
      {"server-1.paramd_x:65535", "server-1.paramd_x", 65535},
      {"[::1]:80", "::1", 80},
      {"[fe80::1%eth0]:1", "fe80::1%eth0", 1},
      {"0.0.0.0:1", "0.0.0.0", 1},
  };
  for (const auto& c : cases) {
    const absl::StatusOr<HostPort> got = ParseHostPort(c.text);
    ASSERT_TRUE(got.ok()) << got.status();
    EXPECT_EQ(got->host, c.host);
    EXPECT_EQ(got->port, c.port);
    EXPECT_EQ(FormatHostPort(got->host, got->port), c.text);
  }
}

TEST(AddressTest, RefusesWithAReason) {
  const struct {
    std::string text;
    const char* want;
  } cases[] = {
      {"", "no port"},
      {"localhost", "no port"},
      {":80", "no host"},
      {"[]:80", "'['"},
      {"::1:80", "needs brackets"},
      {"a b:80", "may not contain ' '"},
      {"http://x:80", "needs brackets"},
      {"x:", "0..65535"},
      {"x:-1", "0..65535"},
      {"x:+1", "0..65535"},
      {"x:65536", "0..65535"},
      {"x:99999999999", "0..65535"},
      {"x:80/", "0..65535"},
      {std::string(300, 'a') + ":1", "too long"},
  };
  for (const auto& c : cases) {
    const absl::Status status = ParseHostPort(c.text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.text;
    EXPECT_EQ(ErrorReason(status), "INVALID_ADDRESS");
    EXPECT_TRUE(absl::StrContains(status.message(), c.want)) << status;
  }
}

TEST(AddressTest, Wildcards) {
  EXPECT_TRUE(IsWildcardHost("0.0.0.0"));
  EXPECT_TRUE(IsWildcardHost("::"));
  EXPECT_FALSE(IsWildcardHost("127.0.0.1"));
}

TEST(AddressTest, Loopback) {
  for (const char* address : {"127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1"}) {
    EXPECT_TRUE(IsLoopbackAddress(address)) << address;
  }
  for (const char* address : {"10.0.0.1:1", "[::2]:1", "localhost.example.com:1", "unix:/run/127.0.0.1:1", ""}) {
    EXPECT_FALSE(IsLoopbackAddress(address)) << address;
  }
  for (const char* peer : {"ipv4:127.0.0.1:1", "ipv6:[::1]:1", "ipv6:%5B::1%5D:1"}) {
    EXPECT_TRUE(IsLoopbackPeer(peer)) << peer;
  }
  for (const char* peer : {"ipv4:10.0.0.1:1", "ipv6:%5B::2%5D:1", "unix:/run/x", "127.0.0.1:1", ""}) {
    EXPECT_FALSE(IsLoopbackPeer(peer)) << peer;
  }
}

}  // namespace
}  // namespace paramd
