#include "common/rpc/local_socket.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/error.h"
#include "common/base/ids.h"
#include "common/base/status_macros.h"

namespace paramd {
namespace {

constexpr char kScheme[] = "unix:";
constexpr absl::string_view kPrefix = "paramd-";
constexpr absl::string_view kSuffix = ".sock";
constexpr char kLongestName[] = "paramd-65535-xxxxxx.sock";

absl::Status Failed(absl::string_view what, int error) {
  return MakeError(absl::StatusCode::kUnavailable, "LOCAL_SOCKET_FAILED",
                   error == 0 ? std::string(what) : absl::StrCat(what, ": ", std::generic_category().message(error)));
}

absl::Status CheckPath(absl::string_view path) {
  if (path.size() <= kMaxSocketPathBytes) return absl::OkStatus();
  return MakeError(
      absl::StatusCode::kInvalidArgument, "INVALID_ADDRESS",
      absl::StrCat("the path of a unix socket may have ", kMaxSocketPathBytes, " bytes; ", path, " has ", path.size()));
}

enum class Listener { kNone, kSomebody, kUnknown };

Listener FindListener(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) return Listener::kUnknown;
  memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const FileDescriptor fd(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (fd.get() < 0) return Listener::kUnknown;
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) return Listener::kSomebody;
  if (errno == EAGAIN) return Listener::kSomebody;  // So busy that its queue is full.
  return errno == ECONNREFUSED ? Listener::kNone : Listener::kUnknown;
}

bool IsSocketOfOurs(const std::string& path, struct stat& info) {
  return lstat(path.c_str(), &info) == 0 && S_ISSOCK(info.st_mode) && info.st_uid == geteuid();
}

// Under the directory's lock: no paramd can be between making a socket and listening at it.
void RemoveIfDead(const std::string& path) {
  struct stat info;
  if (IsSocketOfOurs(path, info) && FindListener(path) == Listener::kNone) unlink(path.c_str());
}

void RemoveDeadSockets(const std::string& directory) {
  DIR* const listing = opendir(directory.c_str());
  if (listing == nullptr) return;
  std::vector<std::string> names;
  while (const dirent* entry = readdir(listing)) {
    const absl::string_view name = entry->d_name;
    if (absl::StartsWith(name, kPrefix) && absl::EndsWith(name, kSuffix)) names.emplace_back(name);
  }
  closedir(listing);
  for (const std::string& name : names) RemoveIfDead(absl::StrCat(directory, "/", name));
}

// OK when the path is free, or was a dead process's socket and is free now.
absl::Status FreePath(const std::string& path) {
  RemoveIfDead(path);
  struct stat info;
  if (lstat(path.c_str(), &info) != 0) return absl::OkStatus();
  if (S_ISSOCK(info.st_mode) && FindListener(path) == Listener::kSomebody) {
    return MakeError(absl::StatusCode::kUnavailable, "ADDRESS_IN_USE",
                     absl::StrCat("cannot listen on ", path, ": another process does"), {{"address", path}});
  }
  return Failed(absl::StrCat("cannot listen on ", path, ": something is there that is not an old socket of ours"), 0);
}

// A directory that is ours and that nobody else can write to; made first when it is missing and `make` is set.
absl::Status CheckPrivateDirectory(const std::string& path, bool make) {
  if (make && mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    return Failed(absl::StrCat("cannot make ", path), errno);
  }
  struct stat info;
  if (lstat(path.c_str(), &info) != 0) return Failed(absl::StrCat("no directory ", path), errno);
  if (!S_ISDIR(info.st_mode) || info.st_uid != geteuid() || (info.st_mode & 022) != 0) {
    return Failed(absl::StrCat(path, " is not a directory of this user that nobody else may write to"), 0);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> AutomaticDirectory(const std::string& runtime_dir) {
  std::vector<std::pair<std::string, bool>> candidates = {{"/run/paramd", false},
                                                          {absl::StrCat("/tmp/paramd-", geteuid()), true}};
  if (!runtime_dir.empty()) candidates.insert(candidates.begin(), {absl::StrCat(runtime_dir, "/paramd"), true});
  absl::Status status;
  for (const auto& [path, make] : candidates) {
    status = CheckPath(absl::StrCat(path, "/", kLongestName));
    if (status.ok()) status = CheckPrivateDirectory(path, make);
    if (status.ok()) return path;
  }
  return status;
}

absl::StatusOr<FileDescriptor> LockDirectory(const std::string& path, absl::Duration timeout) {
  FileDescriptor fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.get() < 0) return Failed(absl::StrCat("cannot open ", path), errno);
  const absl::Time deadline = absl::Now() + timeout;
  while (flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) return Failed(absl::StrCat("cannot lock ", path), errno);
    if (absl::Now() > deadline) return Failed(absl::StrCat(path, " is locked by another process"), 0);
    absl::SleepFor(absl::Milliseconds(5));
  }
  return fd;
}

// Some file systems have no sockets, which gRPC would only say by not starting.
absl::Status TryBinding(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  memcpy(address.sun_path, path.c_str(), path.size() + 1);
  const FileDescriptor fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (fd.get() < 0 || bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return Failed(absl::StrCat("cannot make a socket at ", path), errno);
  }
  unlink(path.c_str());
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<LocalSocket>> LocalSocket::Prepare(const LocalSocketOptions& options) {
  RETURN_IF_ERROR(CheckLocalSocketPlace(options.place));
  std::unique_ptr<LocalSocket> made(new LocalSocket);
  LocalSocket& self = *made;
  if (options.place == "auto") {
    ASSIGN_OR_RETURN(self.directory_, AutomaticDirectory(options.runtime_dir));
  } else {
    self.path_ = options.place;
    self.directory_ = options.place.substr(0, std::max<size_t>(options.place.rfind('/'), 1));
  }
  ASSIGN_OR_RETURN(self.lock_, LockDirectory(self.directory_, options.lock_timeout));
  if (self.path_.empty()) {
    RemoveDeadSockets(self.directory_);
  } else {
    RETURN_IF_ERROR(FreePath(self.path_));
  }
  // gRPC makes sockets with the mode that the umask leaves: until that is 0600 nobody may get at it.
  std::string pattern = absl::StrCat(self.directory_, "/.paramd-XXXXXX");
  RETURN_IF_ERROR(CheckPath(absl::StrCat(pattern, "/s")));
  if (mkdtemp(pattern.data()) == nullptr) return Failed(absl::StrCat("cannot make ", pattern), errno);
  self.private_directory_ = pattern;
  RETURN_IF_ERROR(TryBinding(self.BindingPath()));
  return made;
}

absl::Status LocalSocket::Publish(int port) {
  if (path_.empty()) path_ = absl::StrCat(directory_, "/", kPrefix, port, "-", RandomSuffix(6), kSuffix);
  RETURN_IF_ERROR(CheckPath(path_));
  const std::string bound = BindingPath();
  struct stat info;
  if (chmod(bound.c_str(), 0600) != 0 || lstat(bound.c_str(), &info) != 0 ||
      rename(bound.c_str(), path_.c_str()) != 0) {
    return Failed(absl::StrCat("cannot make ", path_), errno);
  }
  device_ = info.st_dev;
  inode_ = info.st_ino;
  address_ = absl::StrCat(kScheme, path_);
  rmdir(private_directory_.c_str());
  private_directory_.clear();
  lock_.Close();
  return absl::OkStatus();
}

LocalSocket::~LocalSocket() {
  if (!private_directory_.empty()) {
    unlink(BindingPath().c_str());
    rmdir(private_directory_.c_str());
  }
  struct stat info;
  if (address_.empty() || lstat(path_.c_str(), &info) != 0) return;
  if (info.st_dev == device_ && info.st_ino == inode_) unlink(path_.c_str());
}

absl::Status CheckLocalSocketPlace(absl::string_view place) {
  if (place == "auto" || place == "off") return absl::OkStatus();
  if (!absl::StartsWith(place, "/") || absl::EndsWith(place, "/")) {
    return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_ADDRESS",
                     absl::StrCat("must be auto, off or the absolute path of a socket, got \"", place, "\""));
  }
  return CheckPath(place);
}

bool CanConnectLocally(absl::string_view address) {
  if (!absl::StartsWith(address, absl::StrCat(kScheme, "/"))) return false;
  const std::string path(address.substr(strlen(kScheme)));
  struct stat info;
  return path.find('\0') == std::string::npos && IsSocketOfOurs(path, info) &&
         FindListener(path) == Listener::kSomebody;
}

}  // namespace paramd
