// A file read at any place, and what is in a directory.
//
//   ASSIGN_OR_RETURN(const RandomReadFile file, RandomReadFile::Open(path));
//   RETURN_IF_ERROR(file.ReadAt(offset, absl::MakeSpan(buffer)));
//
// Errors are those of common/base/file.h, and kDataLoss FILE_TRUNCATED for reads beyond the end. Thread safe.
#ifndef PARAMD_COMMON_BASE_RANDOM_READ_FILE_H_
#define PARAMD_COMMON_BASE_RANDOM_READ_FILE_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/base/file.h"

namespace paramd {

class RandomReadFile {
 public:
  static absl::StatusOr<RandomReadFile> Open(const std::string& path);

  const std::string& path() const { return path_; }
  // When it was opened.
  uint64_t size() const { return size_; }
  // Fills `out`.
  absl::Status ReadAt(uint64_t offset, absl::Span<char> out) const;

 private:
  RandomReadFile(FileDescriptor fd, std::string path, uint64_t size)
      : fd_(std::move(fd)), path_(std::move(path)), size_(size) {}

  FileDescriptor fd_;
  std::string path_;
  uint64_t size_;
};

// The names in a directory, without "." and "..", sorted.
absl::StatusOr<std::vector<std::string>> ListDirectory(const std::string& path);

// Removes a file; nothing there is fine.
absl::Status RemoveFile(const std::string& path);

// Gives a file another name, in place of what may be there. SyncDirectory makes it durable.
absl::Status RenameFile(const std::string& from, const std::string& to);

// Makes `to` another name of the file `from`, in place of what may be there.
absl::Status LinkFile(const std::string& from, const std::string& to);

}  // namespace paramd

#endif  // PARAMD_COMMON_BASE_RANDOM_READ_FILE_H_
