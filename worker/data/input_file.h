// Bounded reading of data files, plain or gzip-compressed.
//
//   ASSIGN_OR_RETURN(InputFile file, InputFile::Open("/data/train-images-idx3-ubyte.gz"));
//   ASSIGN_OR_RETURN(std::vector<uint8_t> header, file.Read(16));
//
// Only regular files (or links to them) are opened, so that a directory, FIFO or device can neither hang nor surprise.
// Errors name the path and carry the reasons of open_dataset.h. Not thread safe.
#ifndef PARAMD_WORKER_DATA_INPUT_FILE_H_
#define PARAMD_WORKER_DATA_INPUT_FILE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace paramd {

class InputFile {
 public:
  // Opens `path`; a name that ends in ".gz" must hold gzip data, which Read inflates.
  static absl::StatusOr<InputFile> Open(const std::string& path);
  InputFile(InputFile&&) noexcept;
  InputFile& operator=(InputFile&&) noexcept;
  ~InputFile();

  // The next min(`bytes`, what is left) bytes after inflation; memory grows with the bytes that really come.
  absl::StatusOr<std::vector<uint8_t>> Read(int64_t bytes);

  const std::string& path() const { return path_; }
  // Of the file on disk, before inflation.
  int64_t stored_bytes() const { return stored_bytes_; }

 private:
  struct Handle;
  InputFile(std::string path, int64_t stored_bytes, std::unique_ptr<Handle> handle);
  absl::Status ReadError() const;

  std::string path_;
  int64_t stored_bytes_ = 0;
  std::unique_ptr<Handle> handle_;
};

}  // namespace paramd

#endif  // PARAMD_WORKER_DATA_INPUT_FILE_H_
