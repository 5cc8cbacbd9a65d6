#include "tests/framework/fault_proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"

namespace paramd {
namespace {

constexpr char kHost[] = "127.0.0.1";
constexpr size_t kReadBytes = 64 * 1024;

sockaddr_in Loopback(int port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

FileDescriptor NewSocket() { return FileDescriptor(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)); }

void SetNoDelay(int fd) {
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

// The close that follows resets the connection.
void ResetOnClose(int fd) {
  const linger abort = {.l_onoff = 1, .l_linger = 0};
  setsockopt(fd, SOL_SOCKET, SO_LINGER, &abort, sizeof(abort));
}

bool WouldBlock(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }

void Add(const FaultPipeCounters& more, FaultPipeCounters& sum) {
  sum.forwarded_bytes += more.forwarded_bytes;
  sum.lost_bytes += more.lost_bytes;
  sum.delayed_bytes += more.delayed_bytes;
  sum.flipped_bits += more.flipped_bits;
  sum.truncations += more.truncations;
}

absl::Status SocketError(absl::string_view operation) {
  return FileError(errno, operation, "the fault proxy's socket");
}

}  // namespace

absl::StatusOr<std::unique_ptr<FaultProxy>> FaultProxy::Start(const FaultProxyOptions& options) {
  std::unique_ptr<FaultProxy> proxy(new FaultProxy());
  {
    absl::MutexLock lock(&proxy->mutex_);
    proxy->next_seed_ = options.seed;
  }
  if (!options.target.empty()) RETURN_IF_ERROR(proxy->SetTarget(options.target));
  RETURN_IF_ERROR(proxy->Listen());
  proxy->thread_ = std::thread([raw = proxy.get()] { raw->Run(); });
  return proxy;
}

absl::Status FaultProxy::Listen() {
  wake_ = FileDescriptor(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  listener_ = NewSocket();
  sockaddr_in address = Loopback(0);
  socklen_t length = sizeof(address);
  if (wake_.get() < 0 || listener_.get() < 0) return SocketError("make");
  if (bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), length) != 0) return SocketError("bind");
  if (listen(listener_.get(), 64) != 0) return SocketError("listen on");
  if (getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0) return SocketError("look at");
  port_ = ntohs(address.sin_port);
  return absl::OkStatus();
}

FaultProxy::~FaultProxy() {
  if (!thread_.joinable()) return;
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  Wake();
  thread_.join();
}

void FaultProxy::Wake() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(wake_.get(), &one, sizeof(one));
}

absl::Status FaultProxy::SetTarget(absl::string_view address) {
  int port = 0;
  absl::string_view number = address;
  if (!absl::ConsumePrefix(&number, absl::StrCat(kHost, ":")) || !absl::SimpleAtoi(number, &port) || port < 1 ||
      port > 65535) {
    return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_TARGET",
                     absl::StrCat("target must be ", kHost, ":PORT, got \"", address, "\""));
  }
  absl::MutexLock lock(&mutex_);
  target_port_ = port;
  return absl::OkStatus();
}

void FaultProxy::SetRule(Direction direction, const FaultRule& rule) {
  {
    absl::MutexLock lock(&mutex_);
    SetRuleLocked(direction, rule);
  }
  Wake();
}

void FaultProxy::SetRuleLocked(Direction direction, const FaultRule& rule) {
  if (direction != Direction::kToClient) {
    to_server_rule_ = rule;
    for (Connection& connection : connections_) connection.server.out.SetRule(rule);
  }
  if (direction != Direction::kToServer) {
    to_client_rule_ = rule;
    for (Connection& connection : connections_) connection.client.out.SetRule(rule);
  }
}

int FaultProxy::Drop() {
  absl::MutexLock lock(&mutex_);
  const int dropped = static_cast<int>(connections_.size());
  while (!connections_.empty()) {
    ResetOnClose(connections_.front().client.fd.get());
    ResetOnClose(connections_.front().server.fd.get());
    Forget(&connections_.front());
  }
  past_.dropped += dropped;
  Wake();
  return dropped;
}

int FaultProxy::HalfOpen(Side gone) {
  absl::MutexLock lock(&mutex_);
  int count = 0;
  for (Connection& connection : connections_) {
    End& end = gone == Side::kServer ? connection.server : connection.client;
    if (end.fd.get() < 0) continue;
    end.fd.Close();
    ++count;
  }
  past_.half_opened += count;
  Wake();
  return count;
}

void FaultProxy::Refuse(bool refuse) {
  absl::MutexLock lock(&mutex_);
  refuse_ = refuse;
}

FaultProxyCounters FaultProxy::counters() const {
  absl::MutexLock lock(&mutex_);
  FaultProxyCounters sum = past_;
  sum.open = static_cast<int64_t>(connections_.size());
  for (const Connection& connection : connections_) {
    Add(connection.server.out.counters(), sum.to_server);
    Add(connection.client.out.counters(), sum.to_client);
  }
  return sum;
}

void FaultProxy::Run() {
  std::vector<pollfd> polls;
  std::vector<std::pair<Connection*, End*>> ends;
  while (true) {
    absl::Time until;
    {
      absl::MutexLock lock(&mutex_);
      if (stopping_) return connections_.clear();
      until = Prepare(absl::Now(), polls, ends);
    }
    // Rounded up, so that what is due then is due.
    const int64_t pause_ms = until == absl::InfiniteFuture() ? -1 : absl::ToInt64Milliseconds(until - absl::Now()) + 1;
    poll(polls.data(), polls.size(), static_cast<int>(std::clamp<int64_t>(pause_ms, -1, 1000)));
    uint64_t count = 0;
    [[maybe_unused]] const ssize_t got = read(wake_.get(), &count, sizeof(count));
    absl::MutexLock lock(&mutex_);
    if (polls[1].revents != 0) Accept();
    for (size_t i = 0; i < ends.size(); ++i) {
      auto [connection, end] = ends[i];
      // It may be gone: dropped while nobody held the mutex, or ended by its other half just now.
      if (!Knows(connection) || end->fd.get() != polls[i + 2].fd) continue;
      Handle(*connection, *end, polls[i + 2].revents, absl::Now());
    }
  }
}

bool FaultProxy::Knows(const Connection* connection) const {
  return std::any_of(connections_.begin(), connections_.end(),
                     [connection](const Connection& other) { return &other == connection; });
}

void FaultProxy::Handle(Connection& connection, End& end, short happened, absl::Time now) {
  End& other = connection.other(end);
  bool going = true;
  if ((happened & (POLLIN | POLLHUP | POLLERR)) != 0) going = Read(connection, end, now);
  if (going) going = Write(end, now);
  EndFiredRules(connection);
  if (!going && other.fd.get() >= 0 && other.out.Silent()) {
    end.fd.Close();  // The other side does not get to know.
    return;
  }
  const bool cut = connection.client.out.Cut() || connection.server.out.Cut();
  if (!going || cut || (end.shut && other.shut)) Forget(&connection);
}

absl::Time FaultProxy::Prepare(absl::Time now, std::vector<pollfd>& polls,
                               std::vector<std::pair<Connection*, End*>>& ends) {
  polls = {{.fd = wake_.get(), .events = POLLIN}, {.fd = listener_.get(), .events = POLLIN}};
  ends.clear();
  absl::Time until = absl::InfiniteFuture();
  for (Connection& connection : connections_) {
    for (End* end : {&connection.client, &connection.server}) {
      if (end->fd.get() < 0) continue;
      short events = 0;
      if (!end->read_all && !end->connecting && connection.other(*end).out.CanTake()) events |= POLLIN;
      const bool end_due = end->out.Ended() && !end->shut;
      if (end->connecting || end_due || !end->out.Ready(now).empty()) events |= POLLOUT;
      if ((events & POLLOUT) == 0) until = std::min(until, end->out.Next(now));
      // Without events, a hang-up would be reported again and again: a negative descriptor is passed over.
      polls.push_back({.fd = events == 0 ? -1 - end->fd.get() : end->fd.get(), .events = events});
      ends.emplace_back(&connection, end);
    }
  }
  return until;
}

void FaultProxy::Accept() {
  FileDescriptor client(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (client.get() < 0) return;
  FileDescriptor server = NewSocket();
  const sockaddr_in target = Loopback(target_port_);
  const bool refused =
      refuse_ || target_port_ == 0 || server.get() < 0 ||
      (connect(server.get(), reinterpret_cast<const sockaddr*>(&target), sizeof(target)) != 0 && errno != EINPROGRESS);
  if (refused) {
    ++past_.refused;
    return;
  }
  SetNoDelay(client.get());
  SetNoDelay(server.get());
  ++past_.connections;
  const uint64_t seed = next_seed_;
  next_seed_ += 2;
  connections_.push_back({.client = {.fd = std::move(client), .out = FaultPipe(seed)},
                          .server = {.fd = std::move(server), .out = FaultPipe(seed + 1), .connecting = true}});
  connections_.back().client.out.SetRule(to_client_rule_);
  connections_.back().server.out.SetRule(to_server_rule_);
}

bool FaultProxy::Read(Connection& connection, End& end, absl::Time now) {
  if (end.connecting) return true;  // Write finds out.
  if (end.read_all) return false;   // Only an error or a full hang-up is reported now.
  End& other = connection.other(end);
  std::array<char, kReadBytes> buffer;
  const ssize_t got = recv(end.fd.get(), buffer.data(), buffer.size(), 0);
  if (got < 0) return WouldBlock(errno);
  if (got > 0) {
    if (other.fd.get() >= 0) other.out.Push(absl::string_view(buffer.data(), static_cast<size_t>(got)), now);
    return true;  // To a side that is gone: nobody says so.
  }
  end.read_all = true;
  other.out.PushEnd();
  return other.fd.get() >= 0;
}

bool FaultProxy::Write(End& end, absl::Time now) {
  if (end.connecting) {
    int error = 0;
    socklen_t length = sizeof(error);
    pollfd writable = {.fd = end.fd.get(), .events = POLLOUT};
    if (poll(&writable, 1, 0) == 0) return true;
    if (getsockopt(end.fd.get(), SOL_SOCKET, SO_ERROR, &error, &length) != 0 || error != 0) return false;
    end.connecting = false;
  }
  while (true) {
    const absl::string_view bytes = end.out.Ready(now);
    if (bytes.empty()) break;
    const ssize_t sent = send(end.fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0) return WouldBlock(errno);
    end.out.Pop(static_cast<size_t>(sent), now);
  }
  if (end.out.Ended() && !std::exchange(end.shut, true)) shutdown(end.fd.get(), SHUT_WR);
  return true;
}

void FaultProxy::Forget(const Connection* connection) {
  const auto found = std::find_if(connections_.begin(), connections_.end(),
                                  [connection](const Connection& other) { return &other == connection; });
  Add(found->server.out.counters(), past_.to_server);
  Add(found->client.out.counters(), past_.to_client);
  connections_.erase(found);
}

void FaultProxy::EndFiredRules(const Connection& connection) {
  if (connection.server.out.fired()) SetRuleLocked(Direction::kToServer, {});
  if (connection.client.out.fired()) SetRuleLocked(Direction::kToClient, {});
}

}  // namespace paramd
