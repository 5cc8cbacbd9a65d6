// A TCP proxy that damages what goes through it, as networks do. It listens on a port of its own and connects to the
// target for each connection it gets; the rule of each direction (FaultRule) may be changed at any time, for
// connections there are and those to come.
//
//   ASSIGN_OR_RETURN(auto proxy, FaultProxy::Start({.target = server_address}));
//   proxy->SetRule(FaultProxy::Direction::kToClient, {.kind = FaultRule::Kind::kBlackhole});   // Answers are lost.
//   ...
//   proxy->Drop();                                                    // All connections are reset.
//   EXPECT_GT(proxy->counters().to_client.lost_bytes, 0);             // It did happen.
//
// It knows bytes, not requests: to have a request arrive twice use the failpoint client.send.twice, since the bytes of
// an HTTP/2 connection cannot be repeated. Flips and truncations happen once for each time the rule is set, on the
// first connection that gets so far; then the direction passes everything.
//
// One thread for everything. Thread safe. The destructor closes all connections.
#ifndef PARAMD_TESTS_FRAMEWORK_FAULT_PROXY_H_
#define PARAMD_TESTS_FRAMEWORK_FAULT_PROXY_H_

#include <poll.h>

#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "common/base/file.h"
#include "tests/framework/fault_pipe.h"

namespace paramd {

struct FaultProxyOptions {
  std::string target;  // 127.0.0.1:PORT; may be set later. Connections without one are refused.
  uint64_t seed = 1;   // Of jitter.
};

struct FaultProxyCounters {
  int64_t connections = 0;  // Accepted and passed on.
  int64_t refused = 0;
  int64_t dropped = 0;
  int64_t half_opened = 0;
  int64_t open = 0;
  FaultPipeCounters to_server;
  FaultPipeCounters to_client;
};

class FaultProxy {
 public:
  enum class Direction { kToServer, kToClient, kBoth };
  enum class Side { kServer, kClient };

  // kUnavailable when it cannot listen.
  static absl::StatusOr<std::unique_ptr<FaultProxy>> Start(const FaultProxyOptions& options);
  ~FaultProxy();

  int port() const { return port_; }
  // kInvalidArgument unless it is 127.0.0.1:PORT.
  absl::Status SetTarget(absl::string_view address);
  void SetRule(Direction direction, const FaultRule& rule);
  // Resets all connections; how many.
  int Drop();
  // Closes all connections on one side without telling the other, which finds nobody there any more; how many.
  int HalfOpen(Side gone);
  // New connections are closed at once, or not.
  void Refuse(bool refuse);
  FaultProxyCounters counters() const;

 private:
  // Half of a connection: a socket, and the pipe of the bytes that go to it.
  struct End {
    FileDescriptor fd;
    FaultPipe out;
    bool connecting = false;
    bool read_all = false;  // The peer sends no more.
    bool shut = false;      // We send no more.
  };
  struct Connection {
    End client, server;
    End& other(const End& end) { return &end == &client ? server : client; }
  };

  FaultProxy() = default;
  absl::Status Listen();
  void Wake();
  void Run();
  // The sockets to wait for; `ends` says whose each is. The time to wait until.
  absl::Time Prepare(absl::Time now, std::vector<pollfd>& polls, std::vector<std::pair<Connection*, End*>>& ends)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Accept() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // False: the connection is over.
  bool Read(Connection& connection, End& end, absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Write(End& end, absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Reads and writes what `happened` at one end.
  void Handle(Connection& connection, End& end, short happened, absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Forget(const Connection* connection) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // A rule that happens once has happened on this connection: not on others, too.
  void EndFiredRules(const Connection& connection) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SetRuleLocked(Direction direction, const FaultRule& rule) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Knows(const Connection* connection) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Constant after Start.
  FileDescriptor listener_;
  FileDescriptor wake_;
  int port_ = 0;
  std::thread thread_;

  mutable absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  int target_port_ ABSL_GUARDED_BY(mutex_) = 0;
  bool refuse_ ABSL_GUARDED_BY(mutex_) = false;
  uint64_t next_seed_ ABSL_GUARDED_BY(mutex_) = 1;
  FaultRule to_server_rule_ ABSL_GUARDED_BY(mutex_);
  FaultRule to_client_rule_ ABSL_GUARDED_BY(mutex_);
  std::list<Connection> connections_ ABSL_GUARDED_BY(mutex_);
  FaultProxyCounters past_ ABSL_GUARDED_BY(mutex_);  // Pipes of connections that are gone.
};

}  // namespace paramd

#endif  // PARAMD_TESTS_FRAMEWORK_FAULT_PROXY_H_
