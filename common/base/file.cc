#include "common/base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/failpoint.h"
#include "common/base/status_macros.h"

namespace paramd {
namespace {

std::string ParentDirectory(const std::string& path) {
  size_t end = path.size();
  while (end > 1 && path[end - 1] == '/') --end;
  const size_t slash = path.rfind('/', end - 1);
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

// The errno of a failure that a test asks for here, or 0.
int Injected(Failpoint point) { return IoFailpoint(point).error; }

// Makes a file of a name not used before beside `path`; `temporary` takes its path.
absl::StatusOr<FileDescriptor> CreateTemporary(const std::string& path, std::string& temporary) {
  const std::string pattern = path + ".tmp-XXXXXX";
  std::vector<char> name(pattern.begin(), pattern.end());
  name.push_back('\0');
  if (const int error = Injected(Failpoint::kFileCreate); error != 0) return FileError(error, "create", pattern);
  const int fd = mkostemp(name.data(), O_CLOEXEC);
  if (fd < 0) return FileError(errno, "create", pattern);
  temporary = name.data();
  return FileDescriptor(fd);
}

absl::Status WriteBytes(int fd, absl::string_view data, absl::string_view path) {
  while (!data.empty()) {
    const ssize_t written = write(fd, data.data(), std::min<size_t>(data.size(), size_t{1} << 30));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return FileError(errno, "write", path);
    data.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status WriteAll(int fd, absl::string_view data, absl::string_view path) {
  const IoFault fault = IoFailpoint(Failpoint::kFileWrite);
  if (fault.error == 0) [[likely]]
    return WriteBytes(fd, data, path);
  RETURN_IF_ERROR(WriteBytes(fd, data.substr(0, fault.bytes), path));
  if (fault.abort) AbortAtFailpoint(Failpoint::kFileWrite);
  return FileError(fault.error, "write", path);
}

// `sync` is the failpoint on the way.
absl::Status SyncAndCloseDescriptor(FileDescriptor& fd, absl::string_view path, Failpoint sync) {
  if (const int error = Injected(sync); error != 0) return FileError(error, "fsync", path);
  if (fsync(fd.get()) != 0) return FileError(errno, "fsync", path);
  if (const int error = Injected(Failpoint::kFileClose); error != 0) return FileError(error, "close", path);
  if (const int error = fd.Close(); error != 0) return FileError(error, "close", path);
  return absl::OkStatus();
}

// Of a file.
absl::Status SyncAndCloseDescriptor(FileDescriptor& fd, absl::string_view path) {
  return SyncAndCloseDescriptor(fd, path, Failpoint::kFileSync);
}

}  // namespace

absl::Status FileError(int error, absl::string_view operation, absl::string_view path) {
  absl::StatusCode code = absl::StatusCode::kUnavailable;
  absl::string_view reason = "FILE_ERROR";
  switch (error) {
    case ENOENT:
      code = absl::StatusCode::kNotFound, reason = "FILE_NOT_FOUND";
      break;
    case EACCES:
    case EPERM:
    case EROFS:
      code = absl::StatusCode::kPermissionDenied, reason = "PERMISSION_DENIED";
      break;
    case ENOSPC:
    case EDQUOT:
      code = absl::StatusCode::kResourceExhausted, reason = "NO_SPACE";
      break;
    case EEXIST:
    case ENOTEMPTY:
      code = absl::StatusCode::kAlreadyExists, reason = "FILE_EXISTS";
      break;
    case EISDIR:
      code = absl::StatusCode::kFailedPrecondition, reason = "NOT_A_FILE";
      break;
    case ENOTDIR:
      code = absl::StatusCode::kFailedPrecondition, reason = "NOT_A_DIRECTORY";
      break;
    default:
      break;
  }
  const std::string text = std::generic_category().message(error);
  return MakeError(code, reason, absl::StrCat("cannot ", operation, " ", path, ": ", text),
                   {{"path", std::string(path)}, {"error", text}});
}

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  if (this != &other) {
    Close();
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

int FileDescriptor::Close() {
  const int fd = std::exchange(fd_, -1);
  return fd < 0 || close(fd) == 0 ? 0 : errno;
}

absl::StatusOr<FileDescriptor> OpenForReading(const std::string& path) {
  if (const int error = Injected(Failpoint::kFileOpen); error != 0) return FileError(error, "open", path);
  // Non-blocking, so that opening a FIFO does not wait for a writer; regular files do not care.
  FileDescriptor fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (fd.get() < 0) return FileError(errno, "open", path);
  struct stat info;
  if (fstat(fd.get(), &info) != 0) return FileError(errno, "stat", path);
  if (!S_ISREG(info.st_mode)) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "NOT_A_FILE",
                     absl::StrCat("cannot read ", path, ": not a regular file"), {{"path", path}});
  }
  return fd;
}

absl::StatusOr<std::string> ReadFile(const std::string& path, int64_t max_bytes) {
  ASSIGN_OR_RETURN(const FileDescriptor fd, OpenForReading(path));
  const auto too_large = [&] {
    return MakeError(absl::StatusCode::kInvalidArgument, "FILE_TOO_LARGE",
                     absl::StrCat("cannot read ", path, ": larger than ", max_bytes, " bytes"),
                     {{"path", path}, {"limitBytes", absl::StrCat(max_bytes)}});
  };
  if (const int error = Injected(Failpoint::kFileRead); error != 0) return FileError(error, "read", path);
  struct stat info;
  if (fstat(fd.get(), &info) != 0) return FileError(errno, "stat", path);
  if (info.st_size > max_bytes) return too_large();
  // The size is a hint only: files of /proc say 0, and a file may grow meanwhile.
  std::string contents(static_cast<size_t>(info.st_size) + 1, '\0');
  size_t size = 0;
  while (true) {
    if (size == contents.size()) contents.resize(2 * size + 4096);
    const ssize_t got = read(fd.get(), contents.data() + size, contents.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FileError(errno, "read", path);
    if (got == 0) break;
    size += static_cast<size_t>(got);
    if (size > static_cast<size_t>(std::max<int64_t>(max_bytes, 0))) return too_large();
  }
  contents.resize(size);
  return contents;
}

absl::StatusOr<OutputFile> OutputFile::Create(const std::string& path) {
  if (const int error = Injected(Failpoint::kFileCreate); error != 0) return FileError(error, "create", path);
  FileDescriptor fd(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (fd.get() < 0) return FileError(errno, "create", path);
  return OutputFile(std::move(fd), path);
}

absl::Status OutputFile::Append(absl::string_view data) { return WriteAll(fd_.get(), data, path_); }

absl::Status OutputFile::SyncAndClose() { return SyncAndCloseDescriptor(fd_, path_); }

absl::Status AtomicWriteFile(const std::string& path, absl::string_view contents) {
  std::string temporary;
  ASSIGN_OR_RETURN(FileDescriptor fd, CreateTemporary(path, temporary));
  const absl::Status status = [&]() -> absl::Status {
    if (fchmod(fd.get(), 0644) != 0) return FileError(errno, "chmod", temporary);
    RETURN_IF_ERROR(WriteAll(fd.get(), contents, temporary));
    RETURN_IF_ERROR(SyncAndCloseDescriptor(fd, temporary));
    if (const int error = Injected(Failpoint::kFileRename); error != 0) return FileError(error, "rename to", path);
    if (rename(temporary.c_str(), path.c_str()) != 0) return FileError(errno, "rename to", path);
    return absl::OkStatus();
  }();
  if (!status.ok()) {
    unlink(temporary.c_str());
    return status;
  }
  return SyncDirectory(ParentDirectory(path));
}

absl::Status SyncDirectory(const std::string& path) {
  FileDescriptor fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.get() < 0) return FileError(errno, "open directory", path);
  return SyncAndCloseDescriptor(fd, path, Failpoint::kDirectorySync);
}

absl::Status EnsureDirectory(const std::string& path) {
  if (const int fault = Injected(Failpoint::kDirectoryMake); fault != 0)
    return FileError(fault, "make directory", path);
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return FileError(error.value(), "make directory", path);
  // A file in the place of the directory is no error to create_directories everywhere.
  if (!std::filesystem::is_directory(path, error)) return FileError(ENOTDIR, "make directory", path);
  return absl::OkStatus();
}

absl::Status IsWritableDirectory(const std::string& path) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (status.type() == std::filesystem::file_type::not_found) return FileError(ENOENT, "write to", path);
  if (error) return FileError(error.value(), "write to", path);
  if (status.type() != std::filesystem::file_type::directory) return FileError(ENOTDIR, "write to", path);
  std::string probe;
  const absl::StatusOr<FileDescriptor> fd = CreateTemporary(path + "/.probe", probe);
  if (!fd.ok()) return Annotate(fd.status(), absl::StrCat("directory ", path, " is not writable"));
  unlink(probe.c_str());
  return absl::OkStatus();
}

absl::Status RenameDirectory(const std::string& from, const std::string& to) {
  RETURN_IF_ERROR(SyncDirectory(from));
  if (const int error = Injected(Failpoint::kDirectoryRename); error != 0) {
    return FileError(error, absl::StrCat("rename ", from, " to"), to);
  }
  if (rename(from.c_str(), to.c_str()) != 0) return FileError(errno, absl::StrCat("rename ", from, " to"), to);
  RETURN_IF_ERROR(SyncDirectory(ParentDirectory(to)));
  if (ParentDirectory(from) == ParentDirectory(to)) return absl::OkStatus();
  return SyncDirectory(ParentDirectory(from));
}

absl::Status RemoveTree(const std::string& path) {
  if (const int fault = Injected(Failpoint::kDirectoryRemove); fault != 0) return FileError(fault, "remove", path);
  std::error_code error;
  std::filesystem::remove_all(path, error);
  return error ? FileError(error.value(), "remove", path) : absl::OkStatus();
}

}  // namespace paramd
