// The proxy between plain sockets: every rule, and what the other side gets to see of it.
#include "tests/framework/fault_proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/framework/fault_command.h"

namespace paramd {
namespace {

using absl::StatusCode;
using ::testing::HasSubstr;
using Kind = FaultRule::Kind;
using Direction = FaultProxy::Direction;

sockaddr_in Loopback(int port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

void SetReceiveTimeout(int fd, absl::Duration timeout) {
  const timeval value = absl::ToTimeval(timeout);
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &value, sizeof(value));
}

class FaultProxyTest : public testing::Test {
 protected:
  void SetUp() override {
    listener_ = FileDescriptor(socket(AF_INET, SOCK_STREAM, 0));
    sockaddr_in address = Loopback(0);
    socklen_t length = sizeof(address);
    ASSERT_EQ(bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
    ASSERT_EQ(listen(listener_.get(), 8), 0);
    ASSERT_EQ(getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
    target_ = absl::StrCat("127.0.0.1:", ntohs(address.sin_port));
    auto proxy = FaultProxy::Start({.target = target_, .seed = 3});
    ASSERT_OK(proxy);
    proxy_ = std::move(*proxy);
    Connect();
  }

  // Another connection through the proxy.
  void Connect() {
    client_ = ConnectOnly();
    server_ = FileDescriptor(accept(listener_.get(), nullptr, nullptr));
    ASSERT_GE(server_.get(), 0);
    SetReceiveTimeout(server_.get(), absl::Seconds(20));
  }
  FileDescriptor ConnectOnly() {
    FileDescriptor client(socket(AF_INET, SOCK_STREAM, 0));
    const sockaddr_in address = Loopback(proxy_->port());
    EXPECT_EQ(connect(client.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    SetReceiveTimeout(client.get(), absl::Seconds(20));
    return client;
  }

  static void Send(const FileDescriptor& fd, const std::string& bytes) {
    ASSERT_EQ(send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL), static_cast<ssize_t>(bytes.size()));
  }
  // `size` bytes; fewer and "|closed", "|reset" or "|silent" (for 20 s) when they do not come.
  static std::string Receive(const FileDescriptor& fd, size_t size) {
    std::string bytes(size, '\0');
    size_t got = 0;
    while (got < size) {
      const ssize_t count = recv(fd.get(), bytes.data() + got, size - got, 0);
      if (count > 0) {
        got += static_cast<size_t>(count);
        continue;
      }
      return bytes.substr(0, got) + (count == 0 ? "|closed" : errno == ECONNRESET ? "|reset" : "|silent");
    }
    return bytes;
  }
  // Nothing is there to be read, and nothing comes for a moment.
  static bool Quiet(const FileDescriptor& fd) {
    absl::SleepFor(absl::Milliseconds(50));
    char byte = 0;
    return recv(fd.get(), &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN;
  }
  // Waits for counters, which tell that a rule has done its work.
  template <typename Condition>
  void Await(Condition condition) const {
    const absl::Time end = absl::Now() + absl::Seconds(20);
    while (!condition(proxy_->counters()) && absl::Now() < end) absl::SleepFor(absl::Milliseconds(1));
    EXPECT_TRUE(condition(proxy_->counters()));
  }
  void ExpectEcho() {
    Send(client_, "ping");
    EXPECT_EQ(Receive(server_, 4), "ping");
    Send(server_, "pong");
    EXPECT_EQ(Receive(client_, 4), "pong");
  }

  FileDescriptor listener_;
  std::string target_;
  std::unique_ptr<FaultProxy> proxy_;
  FileDescriptor client_, server_;
};

TEST_F(FaultProxyTest, PassesBothWaysAndEndsEachWayApart) {
  ExpectEcho();
  shutdown(client_.get(), SHUT_WR);
  EXPECT_EQ(Receive(server_, 1), "|closed");
  Send(server_, "last words");
  EXPECT_EQ(Receive(client_, 10), "last words");
  server_.Close();
  EXPECT_EQ(Receive(client_, 1), "|closed");
  Await([](const FaultProxyCounters& c) { return c.open == 0; });
  const FaultProxyCounters counters = proxy_->counters();
  EXPECT_EQ(counters.connections, 1);
  EXPECT_EQ(counters.to_server.forwarded_bytes, 4);
  EXPECT_EQ(counters.to_client.forwarded_bytes, 14);
}

TEST_F(FaultProxyTest, CarriesMegabytes) {
  const std::string big(8 << 20, 'm');
  std::thread sender([&] { Send(client_, big); });
  EXPECT_TRUE(Receive(server_, big.size()) == big);
  sender.join();
}

TEST_F(FaultProxyTest, LosesOnlyTheAnswers) {
  ExpectEcho();
  proxy_->SetRule(Direction::kToClient, {.kind = Kind::kBlackhole});
  Send(client_, "request");
  EXPECT_EQ(Receive(server_, 7), "request");
  Send(server_, "answer");
  Await([](const FaultProxyCounters& c) { return c.to_client.lost_bytes == 6; });
  EXPECT_TRUE(Quiet(client_));
  proxy_->SetRule(Direction::kToClient, {});
  Send(server_, "more");
  EXPECT_TRUE(Quiet(client_)) << "a hole in a stream";
  Connect();
  ExpectEcho();
}

TEST_F(FaultProxyTest, BlackholeBothWaysHidesTheEndToo) {
  proxy_->SetRule(Direction::kBoth, {.kind = Kind::kBlackhole});
  Send(client_, "x");
  Await([](const FaultProxyCounters& c) { return c.to_server.lost_bytes == 1; });
  client_.Close();
  EXPECT_TRUE(Quiet(server_));
}

TEST_F(FaultProxyTest, StallHoldsBytesBack) {
  proxy_->SetRule(Direction::kToServer, {.kind = Kind::kStall});
  Send(client_, "held");
  Await([](const FaultProxyCounters& c) { return c.to_server.delayed_bytes == 4; });
  EXPECT_TRUE(Quiet(server_));
  proxy_->SetRule(Direction::kToServer, {});
  EXPECT_EQ(Receive(server_, 4), "held");
}

TEST_F(FaultProxyTest, Delays) {
  proxy_->SetRule(Direction::kToServer, {.kind = Kind::kDelay, .delay = absl::Milliseconds(60)});
  const absl::Time start = absl::Now();
  Send(client_, "slow");
  EXPECT_EQ(Receive(server_, 4), "slow");
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(60));
  EXPECT_EQ(proxy_->counters().to_server.delayed_bytes, 4);
}

TEST_F(FaultProxyTest, Throttles) {
  proxy_->SetRule(Direction::kToServer, {.kind = Kind::kThrottle, .bytes_per_second = 20'000});
  const absl::Time start = absl::Now();
  Send(client_, std::string(4'000, 't'));
  EXPECT_EQ(Receive(server_, 4'000), std::string(4'000, 't'));
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(150));
}

TEST_F(FaultProxyTest, TruncatesOnceThenCloses) {
  proxy_->SetRule(Direction::kToServer, {.kind = Kind::kTruncate, .at_byte = 3});
  Send(client_, "abcdef");
  EXPECT_THAT(Receive(server_, 6), testing::AnyOf("abc|closed", "abc|reset"));
  EXPECT_THAT(Receive(client_, 1), testing::AnyOf("|closed", "|reset"));
  EXPECT_EQ(proxy_->counters().to_server.truncations, 1);
  Connect();
  ExpectEcho();
}

TEST_F(FaultProxyTest, FlipsOneBitOnce) {
  proxy_->SetRule(Direction::kToClient, {.kind = Kind::kFlip, .at_byte = 1, .bit = 0});
  Send(server_, "aaa");
  EXPECT_EQ(Receive(client_, 3), "a`a");
  EXPECT_EQ(proxy_->counters().to_client.flipped_bits, 1);
  Connect();
  Send(server_, "aaa");
  EXPECT_EQ(Receive(client_, 3), "aaa");
}

TEST_F(FaultProxyTest, DropResetsBothSides) {
  ExpectEcho();
  EXPECT_EQ(proxy_->Drop(), 1);
  EXPECT_EQ(Receive(client_, 1), "|reset");
  EXPECT_EQ(Receive(server_, 1), "|reset");
  EXPECT_EQ(proxy_->counters().dropped, 1);
  Connect();
  ExpectEcho();
}

TEST_F(FaultProxyTest, HalfOpenClosesOneSideAndKeepsTheOtherInTheDark) {
  ExpectEcho();
  EXPECT_EQ(proxy_->HalfOpen(FaultProxy::Side::kServer), 1);
  EXPECT_THAT(Receive(server_, 1), testing::AnyOf("|closed", "|reset"));
  Send(client_, "is anybody there?");
  EXPECT_TRUE(Quiet(client_));
  EXPECT_EQ(proxy_->counters().open, 1);
  client_.Close();
  Await([](const FaultProxyCounters& c) { return c.open == 0; });
}

TEST_F(FaultProxyTest, RefusesAndHasNoTarget) {
  proxy_->Refuse(true);
  EXPECT_THAT(Receive(ConnectOnly(), 1), testing::AnyOf("|closed", "|reset"));
  EXPECT_EQ(proxy_->counters().refused, 1);
  proxy_->Refuse(false);
  Connect();
  ExpectEcho();
}

TEST_F(FaultProxyTest, TargetThatIsGoneClosesTheClient) {
  listener_.Close();
  EXPECT_THAT(Receive(ConnectOnly(), 1), testing::AnyOf("|closed", "|reset"));
}

TEST_F(FaultProxyTest, Commands) {
  const auto run = [this](const char* line) { return RunFaultCommand(line, *proxy_); };
  for (const char* line :
       {"rule up blackhole", "rule down delay 75 50", "rule both throttle 1000", "rule up truncate 0",
        "rule up flip 10 7", "rule both stall", "rule both pass", "refuse on", "refuse off"}) {
    ASSERT_OK_AND_ASSIGN(const std::string answer, run(line));
    EXPECT_EQ(answer, "ok") << line;
  }
  ASSERT_OK_AND_ASSIGN(const std::string retarget, run(absl::StrCat("target ", target_).c_str()));
  EXPECT_EQ(retarget, "ok");
  ExpectEcho();
  ASSERT_OK_AND_ASSIGN(const std::string counters, run("counters"));
  EXPECT_THAT(counters, HasSubstr("\"connections\":1,\"refused\":0,\"dropped\":0,\"half_opened\":0,\"open\":1,"
                                  "\"up\":{\"forwarded_bytes\":4,"));
  ASSERT_OK_AND_ASSIGN(const std::string half, run("half_open client"));
  EXPECT_EQ(half, "1");
  ASSERT_OK_AND_ASSIGN(const std::string dropped, run("drop"));
  EXPECT_EQ(dropped, "1");
}

TEST_F(FaultProxyTest, WrongCommands) {
  const struct {
    const char* line;
    const char* says;
  } cases[] = {
      {"", "empty"},
      {"explode", "there are target, rule"},
      {"rule up", "there are target, rule"},
      {"rule sideways pass", "up, down or both"},
      {"rule up explode", "the rule is pass"},
      {"rule up delay", "takes 1 to 2 numbers"},
      {"rule up delay x", "\"x\" is not a number"},
      {"rule up throttle 0", "\"0\" is not a number"},
      {"rule up flip 3", "takes 2 to 2 numbers"},
      {"rule up flip 3 8", "bits 0 to 7"},
      {"target nowhere", "127.0.0.1:PORT"},
      {"target 127.0.0.1:0", "127.0.0.1:PORT"},
      {"half_open both", "there are target"},
  };
  for (const auto& test : cases) {
    const absl::StatusOr<std::string> answer = RunFaultCommand(test.line, *proxy_);
    EXPECT_THAT(answer, StatusIs(StatusCode::kInvalidArgument, "FAULT_COMMAND")) << test.line;
    EXPECT_THAT(std::string(answer.status().message()), HasSubstr(test.says));
  }
  ExpectEcho();
}

}  // namespace
}  // namespace paramd
