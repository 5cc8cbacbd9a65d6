#include "worker/data/input_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/error.h"

namespace paramd {
namespace {

constexpr int64_t kReadBytes = 1 << 20;
constexpr unsigned kInflateBufferBytes = 128 * 1024;

absl::Status OpenError(const std::string& path, int error) {
  const std::string message = absl::StrCat("cannot open ", path, ": ", std::strerror(error));
  if (error == ENOENT || error == ENOTDIR) {
    return MakeError(absl::StatusCode::kNotFound, "DATA_NOT_FOUND", message, {{"path", path}});
  }
  return MakeError(absl::StatusCode::kPermissionDenied, "DATA_UNREADABLE", message, {{"path", path}});
}

}  // namespace

struct InputFile::Handle {
  gzFile file = nullptr;
  bool compressed = false;
  ~Handle() {
    if (file != nullptr) gzclose_r(file);
  }
};

InputFile::InputFile(std::string path, int64_t stored_bytes, std::unique_ptr<Handle> handle)
    : path_(std::move(path)), stored_bytes_(stored_bytes), handle_(std::move(handle)) {}
InputFile::InputFile(InputFile&&) noexcept = default;
InputFile& InputFile::operator=(InputFile&&) noexcept = default;
InputFile::~InputFile() = default;

absl::StatusOr<InputFile> InputFile::Open(const std::string& path) {
  // O_NONBLOCK: opening a FIFO must not wait for its writer. It has no effect on regular files.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return OpenError(path, errno);
  struct stat info;
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    close(fd);
    return MakeError(absl::StatusCode::kInvalidArgument, "DATA_INVALID", absl::StrCat(path, " is not a regular file"),
                     {{"path", path}});
  }
  auto handle = std::make_unique<Handle>();
  handle->file = gzdopen(fd, "rb");
  if (handle->file == nullptr) {
    close(fd);
    return OpenError(path, ENOMEM);
  }
  gzbuffer(handle->file, kInflateBufferBytes);
  handle->compressed = absl::EndsWith(path, ".gz");
  if (handle->compressed && info.st_size > 0 && gzdirect(handle->file) != 0) {
    return MakeError(absl::StatusCode::kInvalidArgument, "DATA_INVALID",
                     absl::StrCat(path, " is named .gz but does not hold gzip data"), {{"path", path}});
  }
  return InputFile(path, info.st_size, std::move(handle));
}

absl::Status InputFile::ReadError() const {
  int code = Z_OK;
  const char* text = gzerror(handle_->file, &code);
  if (code == Z_ERRNO) {
    return MakeError(absl::StatusCode::kPermissionDenied, "DATA_UNREADABLE",
                     absl::StrCat("cannot read ", path_, ": ", std::strerror(errno)), {{"path", path_}});
  }
  const bool cut = code == Z_BUF_ERROR;
  return MakeError(
      absl::StatusCode::kInvalidArgument, "DATA_INVALID",
      absl::StrCat(path_, cut ? " ends inside its gzip data" : " holds damaged gzip data: ", cut ? "" : text),
      {{"path", path_}});
}

absl::StatusOr<std::vector<uint8_t>> InputFile::Read(int64_t bytes) {
  std::vector<uint8_t> out;
  while (static_cast<int64_t>(out.size()) < bytes) {
    const int64_t old = static_cast<int64_t>(out.size());
    const int64_t want = std::min(bytes - old, kReadBytes);
    out.resize(old + want);
    const int got = gzread(handle_->file, out.data() + old, static_cast<unsigned>(want));
    out.resize(old + std::max(got, 0));
    int code = Z_OK;
    gzerror(handle_->file, &code);
    if (got < 0 || code != Z_OK) return ReadError();
    if (got < want) break;
  }
  return out;
}

}  // namespace paramd
