// Files: whole reads with a limit, durable writes and renames. Every error names the operation, the path and the
// system's reason.
//
//   ASSIGN_OR_RETURN(std::string text, ReadFile("/etc/job.yaml", 1 << 20));
//   RETURN_IF_ERROR(AtomicWriteFile(path, text));
//
// Codes, with the reason attached: kNotFound FILE_NOT_FOUND; kPermissionDenied PERMISSION_DENIED (also for a read-only
// file system); kResourceExhausted NO_SPACE; kAlreadyExists FILE_EXISTS; kFailedPrecondition NOT_A_FILE,
// NOT_A_DIRECTORY; kInvalidArgument FILE_TOO_LARGE; kUnavailable FILE_ERROR for the rest. The functions are thread
// safe; an OutputFile belongs to one thread at a time. Tests make each system call fail: common/base/failpoint.h.
#ifndef PARAMD_COMMON_BASE_FILE_H_
#define PARAMD_COMMON_BASE_FILE_H_

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace paramd {

// The status for `error` (an errno value) of `operation` ("open", "rename", ...) on `path`.
absl::Status FileError(int error, absl::string_view operation, absl::string_view path);

// An open file descriptor. Movable; closes itself.
class FileDescriptor {
 public:
  explicit FileDescriptor(int fd = -1) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  ~FileDescriptor() { Close(); }

  int get() const { return fd_; }
  // 0 or the errno of close(2). Idempotent.
  int Close();

 private:
  int fd_;
};

// Opens an existing regular file for reading.
absl::StatusOr<FileDescriptor> OpenForReading(const std::string& path);

// The whole of a regular file of at most `max_bytes`.
absl::StatusOr<std::string> ReadFile(const std::string& path, int64_t max_bytes);

// A file written piece by piece.
class OutputFile {
 public:
  // Creates `path` or empties it.
  static absl::StatusOr<OutputFile> Create(const std::string& path);

  absl::Status Append(absl::string_view data);
  // Makes the contents durable and closes. Without it the contents are not to be relied upon.
  absl::Status SyncAndClose();
  const std::string& path() const { return path_; }

 private:
  OutputFile(FileDescriptor fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}

  FileDescriptor fd_;
  std::string path_;
};

// Replaces `path` so that a reader, or a crash at any time, sees the old or the new contents in full. Writes a
// temporary file beside it, which is removed on errors.
absl::Status AtomicWriteFile(const std::string& path, absl::string_view contents);

// Makes the entries of a directory durable.
absl::Status SyncDirectory(const std::string& path);

// Makes `path` and the missing directories above it.
absl::Status EnsureDirectory(const std::string& path);

// OK when `path` is a directory in which files can be made; tried by making one.
absl::Status IsWritableDirectory(const std::string& path);

// Renames a directory durably. kAlreadyExists when something other than an empty directory is at `to`. The files inside
// must have been synced by their writers.
absl::Status RenameDirectory(const std::string& from, const std::string& to);

// Removes `path` and all below it; nothing there is fine.
absl::Status RemoveTree(const std::string& path);

}  // namespace paramd

#endif  // PARAMD_COMMON_BASE_FILE_H_
