// A unix socket beside a server's TCP port, for clients of the same host and user: where it lies, and what happens to
// what lies there already.
//
//   ASSIGN_OR_RETURN(auto socket, LocalSocket::Prepare({.place = "auto"}));
//   builder.AddListeningPort(socket->binding_address(), ...);   // gRPC makes it out of everybody's sight ...
//   RETURN_IF_ERROR(socket->Publish(port));                     // ... mode 0600, then renamed into its place.
//   registration.set_local_address(socket->address());          // unix:/tmp/paramd-1000/paramd-7071-x3k9qz.sock
//   socket.reset();                                             // Removed.
//
// A socket that another process listens on is never removed or replaced; one whose process is gone is. Two servers that
// start at once wait for each other, by a lock on the directory that is held from Prepare to Publish. Not thread safe.
#ifndef PARAMD_COMMON_RPC_LOCAL_SOCKET_H_
#define PARAMD_COMMON_RPC_LOCAL_SOCKET_H_

#include <sys/types.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/base/file.h"

namespace paramd {

// The longest path a unix socket can have.
inline constexpr size_t kMaxSocketPathBytes = 107;

struct LocalSocketOptions {
  // "off", an absolute path, or "auto": a name of its own in the first of these that is a directory of this user which
  // nobody else may write to: <runtime_dir>/paramd (made if missing), /run/paramd, /tmp/paramd-<uid> (made if missing).
  std::string place = "off";
  std::string runtime_dir;  // $XDG_RUNTIME_DIR. Empty: none.
  // For other servers that start in the directory. Limited, because anyone who can read it can lock it.
  absl::Duration lock_timeout = absl::Seconds(5);
};

class LocalSocket {
 public:
  // `place` is not "off". kUnavailable: ADDRESS_IN_USE when a process listens at the path, LOCAL_SOCKET_FAILED for
  // everything else that is in the way; kInvalidArgument INVALID_ADDRESS for a relative or too long path.
  static absl::StatusOr<std::unique_ptr<LocalSocket>> Prepare(const LocalSocketOptions& options);
  ~LocalSocket();

  // unix:PATH for gRPC to listen at.
  std::string binding_address() const { return "unix:" + BindingPath(); }
  // Once it listens; `port` becomes part of an automatic name.
  absl::Status Publish(int port);
  // unix:PATH for clients, once published.
  const std::string& address() const { return address_; }

 private:
  LocalSocket() = default;
  std::string BindingPath() const { return private_directory_ + "/s"; }

  std::string directory_;
  std::string path_;               // Empty until published when the name is automatic.
  std::string private_directory_;  // Where the socket is bound; gone once it is published.
  FileDescriptor lock_;
  std::string address_;
  dev_t device_ = 0;  // Of the published socket, with its inode: what is removed in the end is ours.
  ino_t inode_ = 0;
};

// OK for "auto", "off" or an absolute path that is not too long; else kInvalidArgument INVALID_ADDRESS.
absl::Status CheckLocalSocketPlace(absl::string_view place);

// Whether `address` is unix:PATH of a socket of this user at which a process listens. It connects and hangs up, without
// waiting for anything.
bool CanConnectLocally(absl::string_view address);

}  // namespace paramd

#endif  // PARAMD_COMMON_RPC_LOCAL_SOCKET_H_
