#include "common/rpc/socket_options.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/rpc/socket_mutator.h"
#include "grpc/grpc.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

// What gRPC finds in the arguments and calls for every socket.
grpc_socket_mutator* MutatorIn(const grpc::ChannelArguments& arguments) {
  const grpc_channel_args raw = arguments.c_channel_args();
  for (size_t i = 0; i < raw.num_args; ++i) {
    if (std::string(raw.args[i].key) == GRPC_ARG_SOCKET_MUTATOR) {
      return static_cast<grpc_socket_mutator*>(raw.args[i].value.pointer.p);
    }
  }
  return nullptr;
}

// A connected pair of TCP sockets over loopback.
struct Pair {
  Pair() {
    const FileDescriptor listener(socket(AF_INET, SOCK_STREAM, 0));
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    EXPECT_EQ(bind(listener.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(listener.get(), 1), 0);
    EXPECT_EQ(getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    client = FileDescriptor(socket(AF_INET, SOCK_STREAM, 0));
    EXPECT_EQ(connect(client.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    server = FileDescriptor(accept(listener.get(), nullptr, nullptr));
  }
  FileDescriptor client, server;
};

std::string CongestionControl(int descriptor) {
  char name[64] = {};
  socklen_t size = sizeof(name);
  EXPECT_EQ(getsockopt(descriptor, IPPROTO_TCP, TCP_CONGESTION, name, &size), 0);
  return name;
}

// The system's default may be the one that is set: the other of the two that every kernel has tells them apart.
std::string OtherThanDefault() {
  const Pair pair;
  return CongestionControl(pair.client.get()) == "reno" ? "cubic" : "reno";
}

TEST(SocketOptionsTest, CongestionControlWithinTheHost) {
  const std::string wanted = OtherThanDefault();
  struct {
    const char* name;
    bool loopback;
    grpc_fd_usage usage;
    bool expected;
  } constexpr kCases[] = {
      {"a client told that it is", true, GRPC_FD_CLIENT_CONNECTION_USAGE, true},
      {"a client told that it is not", false, GRPC_FD_CLIENT_CONNECTION_USAGE, false},
      {"a server that looks", false, GRPC_FD_SERVER_CONNECTION_USAGE, true},
      {"a listener", true, GRPC_FD_SERVER_LISTENER_USAGE, false},
  };
  for (const auto& c : kCases) {
    SCOPED_TRACE(c.name);
    const Pair pair;
    const int descriptor = c.usage == GRPC_FD_SERVER_CONNECTION_USAGE ? pair.server.get() : pair.client.get();
    const std::string before = CongestionControl(descriptor);
    grpc::ChannelArguments arguments;
    SetSocketOptions({.loopback_congestion_control = wanted.c_str()}, c.loopback, arguments);
    grpc_socket_mutator* const mutator = MutatorIn(arguments);
    ASSERT_NE(mutator, nullptr);
    const grpc_mutate_socket_info info = {.fd = descriptor, .usage = c.usage};
    EXPECT_TRUE(mutator->vtable->mutate_fd_2(&info, mutator));
    EXPECT_EQ(CongestionControl(descriptor), c.expected ? wanted : before);
  }
}

TEST(SocketOptionsTest, BuffersOfUnixSockets) {
  int pair[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  const FileDescriptor first(pair[0]), second(pair[1]);
  grpc::ChannelArguments arguments;
  SetSocketOptions({.unix_buffer_bytes = 65536}, false, arguments);
  const grpc_mutate_socket_info info = {.fd = first.get(), .usage = GRPC_FD_SERVER_CONNECTION_USAGE};
  EXPECT_TRUE(MutatorIn(arguments)->vtable->mutate_fd_2(&info, MutatorIn(arguments)));
  int bytes = 0;
  socklen_t size = sizeof(bytes);
  ASSERT_EQ(getsockopt(first.get(), SOL_SOCKET, SO_SNDBUF, &bytes, &size), 0);
  EXPECT_EQ(bytes, 2 * 65536) << "the kernel doubles it for its own use";
}

TEST(SocketOptionsTest, WhatTheKernelDoesNotKnowChangesNothing) {
  const Pair pair;
  const std::string before = CongestionControl(pair.client.get());
  grpc::ChannelArguments arguments;
  SetSocketOptions({.loopback_congestion_control = "no-such-control"}, true, arguments);
  const grpc_mutate_socket_info info = {.fd = pair.client.get(), .usage = GRPC_FD_CLIENT_CONNECTION_USAGE};
  EXPECT_TRUE(MutatorIn(arguments)->vtable->mutate_fd_2(&info, MutatorIn(arguments)));
  EXPECT_EQ(CongestionControl(pair.client.get()), before);
}

TEST(SocketOptionsTest, EqualOptionsAreEqualArguments) {
  const auto compare = [](const SocketOptions& a, bool a_loopback, const SocketOptions& b, bool b_loopback) {
    grpc::ChannelArguments first, second;
    SetSocketOptions(a, a_loopback, first);
    SetSocketOptions(b, b_loopback, second);
    return MutatorIn(first)->vtable->compare(MutatorIn(first), MutatorIn(second));
  };
  EXPECT_EQ(compare({1, "reno"}, true, {1, "reno"}, true), 0);
  EXPECT_NE(compare({1, "reno"}, true, {2, "reno"}, true), 0);
  EXPECT_NE(compare({1, "reno"}, true, {1, "cubic"}, true), 0);
  EXPECT_NE(compare({1, "reno"}, true, {1, "reno"}, false), 0);
}

}  // namespace
}  // namespace paramd
