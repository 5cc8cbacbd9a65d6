#include "worker/parameter_client/link_transport.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/host.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

// A unix socket that something listens at.
class Listener {
 public:
  Listener() : path_(absl::StrCat("/tmp/paramd-link-test-", getpid())), fd_(socket(AF_UNIX, SOCK_STREAM, 0)) {
    unlink(path_.c_str());
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path_.c_str(), sizeof(address.sun_path) - 1);
    EXPECT_EQ(bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(listen(fd_.get(), 64), 0);
  }
  ~Listener() { unlink(path_.c_str()); }

  std::string address() const { return "unix:" + path_; }

 private:
  const std::string path_;
  const FileDescriptor fd_;
};

v1::ServerPlacement Placement(const std::string& host_id, const std::string& local_address) {
  v1::ServerPlacement placement;
  placement.set_address("127.0.0.1:7071");
  placement.set_host_id(host_id);
  placement.set_local_address(local_address);
  return placement;
}

TEST(LinkTransportTest, TakesTheUnixSocketWhereThereIsOne) {
  const Listener listener;
  const std::string here = HostId();
  ASSERT_FALSE(here.empty());
  struct Case {
    const char* name;
    TransportPolicy policy;
    std::string host_id;
    std::string local_address;
    StreamTransport expected;
  };
  const Case cases[] = {
      {"same host", TransportPolicy::kAuto, here, listener.address(), StreamTransport::kUnix},
      {"another host", TransportPolicy::kAuto, "other", listener.address(), StreamTransport::kTcp},
      {"unknown host", TransportPolicy::kAuto, "", listener.address(), StreamTransport::kTcp},
      {"no socket told", TransportPolicy::kAuto, here, "", StreamTransport::kTcp},
      {"no socket there", TransportPolicy::kAuto, here, "unix:/nonexistent/socket", StreamTransport::kTcp},
      {"no file path", TransportPolicy::kAuto, here, "127.0.0.1:1", StreamTransport::kTcp},
      {"TCP wanted", TransportPolicy::kTcp, here, listener.address(), StreamTransport::kTcp},
      {"unix wanted", TransportPolicy::kUnix, "other", "unix:/nonexistent/socket", StreamTransport::kUnix},
  };
  for (const Case& c : cases) {
    LinkTransport transport(c.policy, Placement(c.host_id, c.local_address), {.kind = ChannelKind::kBulk});
    transport.Choose();
    EXPECT_EQ(transport.transport(), c.expected) << c.name;
    EXPECT_EQ(transport.address(), c.expected == StreamTransport::kUnix ? c.local_address : "127.0.0.1:7071") << c.name;
    EXPECT_NE(transport.channel(), nullptr) << c.name;
  }
}

TEST(LinkTransportTest, FallsBackForOneStreamAfterTwoWithoutAnswer) {
  const Listener listener;
  LinkTransport transport(TransportPolicy::kAuto, Placement(HostId(), listener.address()), {});
  // Whether the stream was answered, and the transport expected for the next.
  const std::pair<bool, StreamTransport> streams[] = {
      {false, StreamTransport::kUnix}, {true, StreamTransport::kUnix},  {false, StreamTransport::kUnix},
      {false, StreamTransport::kTcp},  {false, StreamTransport::kUnix}, {false, StreamTransport::kUnix},
      {false, StreamTransport::kTcp},  {true, StreamTransport::kUnix},
  };
  transport.Choose();
  EXPECT_EQ(transport.transport(), StreamTransport::kUnix);
  for (const auto& [answered, next] : streams) {
    transport.OnStreamEnded(answered);
    transport.Choose();
    EXPECT_EQ(transport.transport(), next);
  }
}

TEST(LinkTransportTest, ChannelsAreKept) {
  LinkTransport transport(TransportPolicy::kTcp, Placement("", ""), {});
  EXPECT_EQ(transport.channel(), nullptr);
  transport.Choose();
  const grpc::Channel* const first = transport.channel().get();
  transport.OnStreamEnded(true);
  transport.Choose();
  EXPECT_EQ(transport.channel().get(), first);
}

}  // namespace
}  // namespace paramd
