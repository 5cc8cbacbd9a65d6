#include "tests/bench/data_plane_raw.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"

namespace paramd {
namespace {

absl::Status SocketError(absl::string_view operation) { return FileError(errno, operation, "a loopback socket"); }

sockaddr_in Loopback(int port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  return address;
}

absl::Status WriteAll(int socket, const char* data, size_t size) {
  while (size > 0) {
    const ssize_t n = send(socket, data, size, MSG_NOSIGNAL);
    if (n < 0) return SocketError("send");
    data += n;
    size -= n;
  }
  return absl::OkStatus();
}

// False at the end of the stream.
bool ReadAll(int socket, char* data, size_t size) {
  while (size > 0) {
    const ssize_t n = recv(socket, data, size, 0);
    if (n <= 0) return false;
    data += n;
    size -= n;
  }
  return true;
}

// A transfer: its size, its bytes, and the size back when the receiver has them all.
class RawServerNode final : public DataPlaneNode {
 public:
  ~RawServerNode() override {
    if (listener_.get() >= 0) shutdown(listener_.get(), SHUT_RDWR);
    if (receiver_.joinable()) receiver_.join();
  }

  absl::StatusOr<std::string> Setup(const NodeConfig& config) override {
    buffer_.resize(config.measured.chunk_bytes);
    listener_ = FileDescriptor(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address = Loopback(0);
    socklen_t size = sizeof(address);
    if (bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size) != 0) return SocketError("bind");
    if (listen(listener_.get(), 1) != 0) return SocketError("listen");
    if (getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) return SocketError("name");
    receiver_ = std::thread([this] { Receive(); });
    return absl::StrCat(ntohs(address.sin_port));
  }

  absl::Status Connect(const std::vector<std::string>&) override { return absl::OkStatus(); }

 private:
  void Receive() {
    const FileDescriptor connection(accept(listener_.get(), nullptr, nullptr));
    uint64_t size = 0;
    while (ReadAll(connection.get(), reinterpret_cast<char*>(&size), sizeof(size))) {
      for (uint64_t left = size; left > 0;) {
        const ssize_t n = recv(connection.get(), buffer_.data(), std::min<uint64_t>(left, buffer_.size()), 0);
        if (n <= 0) return;
        left -= n;
      }
      if (!WriteAll(connection.get(), reinterpret_cast<const char*>(&size), sizeof(size)).ok()) return;
    }
  }

  std::vector<char> buffer_;
  FileDescriptor listener_;
  std::thread receiver_;
};

class RawWorkerNode final : public DataPlaneNode {
 public:
  absl::StatusOr<std::string> Setup(const NodeConfig& config) override {
    gradient_.resize(config.settings.model_bytes / sizeof(float));
    FillGradient(config.index, absl::MakeSpan(gradient_));
    chunk_bytes_ = config.measured.chunk_bytes;
    return std::string();
  }

  absl::Status Connect(const std::vector<std::string>& servers) override {
    int port = 0;
    if (!absl::SimpleAtoi(servers[0], &port)) return absl::InvalidArgumentError(servers[0]);
    socket_ = FileDescriptor(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_in address = Loopback(port);
    if (connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
      return SocketError("connect");
    }
    return absl::OkStatus();
  }

  absl::Status Run(int steps) override {
    const char* bytes = reinterpret_cast<const char*>(gradient_.data());
    const size_t model_bytes = gradient_.size() * sizeof(float);
    const uint64_t total = model_bytes * steps;
    RETURN_IF_ERROR(WriteAll(socket_.get(), reinterpret_cast<const char*>(&total), sizeof(total)));
    for (int step = 0; step < steps; ++step) {
      for (size_t offset = 0; offset < model_bytes; offset += chunk_bytes_) {
        RETURN_IF_ERROR(WriteAll(socket_.get(), bytes + offset, std::min(chunk_bytes_, model_bytes - offset)));
      }
    }
    uint64_t received = 0;
    if (!ReadAll(socket_.get(), reinterpret_cast<char*>(&received), sizeof(received))) return SocketError("recv");
    return received == total ? absl::OkStatus() : absl::DataLossError("the receiver got another number of bytes");
  }

  absl::Status Verify() override { return absl::OkStatus(); }  // Run has.

 private:
  std::vector<float> gradient_;
  size_t chunk_bytes_ = 0;
  FileDescriptor socket_;
};

}  // namespace

std::unique_ptr<DataPlaneNode> RawServer() { return std::make_unique<RawServerNode>(); }
std::unique_ptr<DataPlaneNode> RawWorker() { return std::make_unique<RawWorkerNode>(); }

}  // namespace paramd
