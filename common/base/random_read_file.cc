#include "common/base/random_read_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/failpoint.h"
#include "common/base/status_macros.h"

namespace paramd {

absl::StatusOr<RandomReadFile> RandomReadFile::Open(const std::string& path) {
  ASSIGN_OR_RETURN(FileDescriptor fd, OpenForReading(path));
  struct stat info;
  if (fstat(fd.get(), &info) != 0) return FileError(errno, "stat", path);
  return RandomReadFile(std::move(fd), path, static_cast<uint64_t>(info.st_size));
}

absl::Status RandomReadFile::ReadAt(uint64_t offset, absl::Span<char> out) const {
  if (const int error = IoFailpoint(Failpoint::kFileRead).error; error != 0) return FileError(error, "read", path_);
  while (!out.empty()) {
    const size_t size = std::min<size_t>(out.size(), size_t{1} << 30);
    const ssize_t got = pread(fd_.get(), out.data(), size, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FileError(errno, "read", path_);
    if (got == 0) {
      return MakeError(
          absl::StatusCode::kDataLoss, "FILE_TRUNCATED",
          absl::StrCat("cannot read ", path_, ": it ends at byte ", offset, ", ", out.size(), " bytes too early"),
          {{"path", path_}});
    }
    out.remove_prefix(static_cast<size_t>(got));
    offset += static_cast<uint64_t>(got);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> ListDirectory(const std::string& path) {
  std::error_code error;
  std::vector<std::string> names;
  for (std::filesystem::directory_iterator entry(path, error), end; !error && entry != end; entry.increment(error)) {
    names.push_back(entry->path().filename().string());
  }
  if (error) return FileError(error.value(), "list", path);
  std::sort(names.begin(), names.end());
  return names;
}

absl::Status RemoveFile(const std::string& path) {
  if (const int error = IoFailpoint(Failpoint::kDirectoryRemove).error; error != 0) {
    return FileError(error, "remove", path);
  }
  return unlink(path.c_str()) == 0 || errno == ENOENT ? absl::OkStatus() : FileError(errno, "remove", path);
}

absl::Status RenameFile(const std::string& from, const std::string& to) {
  if (const int error = IoFailpoint(Failpoint::kFileRename).error; error != 0) return FileError(error, "rename to", to);
  return rename(from.c_str(), to.c_str()) == 0 ? absl::OkStatus()
                                               : FileError(errno, absl::StrCat("rename ", from, " to"), to);
}

absl::Status LinkFile(const std::string& from, const std::string& to) {
  if (const int error = IoFailpoint(Failpoint::kFileCreate).error; error != 0) return FileError(error, "link", to);
  if (link(from.c_str(), to.c_str()) == 0) return absl::OkStatus();
  if (errno != EEXIST) return FileError(errno, absl::StrCat("link ", from, " to"), to);
  RETURN_IF_ERROR(RemoveFile(to));
  return link(from.c_str(), to.c_str()) == 0 ? absl::OkStatus()
                                             : FileError(errno, absl::StrCat("link ", from, " to"), to);
}

}  // namespace paramd
