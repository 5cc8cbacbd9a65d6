#include "common/tensor/safetensors.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"
#include "common/tensor/codec_half.h"

namespace paramd {
namespace {

absl::Status ReadAt(int fd, const std::string& path, int64_t offset, absl::Span<char> out) {
  while (!out.empty()) {
    const ssize_t got = pread(fd, out.data(), std::min<size_t>(out.size(), size_t{1} << 30), offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FileError(errno, "read", path);
    if (got == 0) {
      return MakeError(
          absl::StatusCode::kDataLoss, "FILE_TRUNCATED",
          absl::StrCat("cannot read ", path, ": it ends at byte ", offset, ", ", out.size(), " bytes too early"),
          {{"path", path}});
    }
    out.remove_prefix(static_cast<size_t>(got));
    offset += got;
  }
  return absl::OkStatus();
}

absl::Status Malformed(const std::string& path, absl::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_SAFETENSORS", absl::StrCat(path, ": ", message));
}

}  // namespace

absl::StatusOr<SafetensorsReader> SafetensorsReader::Open(const std::string& path) {
  ASSIGN_OR_RETURN(FileDescriptor fd, OpenForReading(path));
  struct stat info;
  if (fstat(fd.get(), &info) != 0) return FileError(errno, "stat", path);
  const uint64_t file_bytes = static_cast<uint64_t>(info.st_size);
  if (file_bytes < 8) return Malformed(path, absl::StrCat("too short for safetensors: ", file_bytes, " bytes"));
  char length[8];
  RETURN_IF_ERROR(ReadAt(fd.get(), path, 0, absl::MakeSpan(length)));
  uint64_t header_bytes = 0;
  for (int i = 0; i < 8; ++i) header_bytes |= uint64_t{static_cast<uint8_t>(length[i])} << (8 * i);
  if (header_bytes > kMaxSafetensorsHeaderBytes) {
    return Malformed(
        path, absl::StrCat("header length ", header_bytes, " is above the limit of ", kMaxSafetensorsHeaderBytes));
  }
  if (header_bytes > file_bytes - 8) {
    return Malformed(path,
                     absl::StrCat("header length ", header_bytes, " reaches beyond the file's ", file_bytes, " bytes"));
  }
  std::string json(header_bytes, '\0');
  RETURN_IF_ERROR(ReadAt(fd.get(), path, 8, absl::MakeSpan(json)));
  absl::StatusOr<SafetensorsHeader> header = ParseSafetensorsHeader(json, file_bytes - 8 - header_bytes);
  if (!header.ok()) return Annotate(header.status(), path);
  return SafetensorsReader(std::move(fd), path, static_cast<int64_t>(8 + header_bytes), *std::move(header));
}

absl::StatusOr<const SafetensorsTensor*> SafetensorsReader::Find(absl::string_view name) const {
  for (const SafetensorsTensor& tensor : header_.tensors) {
    if (tensor.name == name) return &tensor;
  }
  return MakeError(absl::StatusCode::kNotFound, "TENSOR_NOT_FOUND",
                   absl::StrCat(path_, " has no tensor \"", name, "\""), {{"tensor", std::string(name)}});
}

absl::Status SafetensorsReader::ReadBytes(const SafetensorsTensor& tensor, int64_t offset, absl::Span<char> out) const {
  const int64_t size = tensor.end - tensor.begin;
  if (offset < 0 || offset > size || static_cast<int64_t>(out.size()) > size - offset) {
    return absl::OutOfRangeError(absl::StrCat(path_, ": read of ", out.size(), " bytes at ", offset, " of tensor \"",
                                              tensor.name, "\", which has ", size));
  }
  return ReadAt(fd_.get(), path_, data_start_ + tensor.begin + offset, out);
}

absl::Status SafetensorsReader::ReadFloats(const SafetensorsTensor& tensor, absl::Span<float> out) const {
  const bool readable = tensor.dtype == DType::kF32 || tensor.dtype == DType::kF16 || tensor.dtype == DType::kBF16;
  if (!readable || tensor.elements() != static_cast<int64_t>(out.size())) {
    return MakeError(absl::StatusCode::kInvalidArgument, "PARAM_SHAPE_MISMATCH",
                     absl::StrCat(path_, ": tensor \"", tensor.name, "\" has ", tensor.elements(), " elements of type ",
                                  DTypeName(tensor.dtype), ", wanted ", out.size(), " of F32, F16 or BF16"),
                     {{"tensor", tensor.name}});
  }
  if (tensor.dtype == DType::kF32) {
    return ReadBytes(tensor, 0, absl::MakeSpan(reinterpret_cast<char*>(out.data()), out.size() * sizeof(float)));
  }
  constexpr size_t kPieceElements = size_t{1} << 16;
  std::vector<char> piece(2 * std::min(out.size(), kPieceElements));
  for (size_t at = 0; at < out.size(); at += kPieceElements) {
    const absl::Span<float> to = out.subspan(at, kPieceElements);
    RETURN_IF_ERROR(ReadBytes(tensor, static_cast<int64_t>(2 * at), absl::MakeSpan(piece.data(), 2 * to.size())));
    tensor.dtype == DType::kF16 ? DecodeFp16(piece.data(), to) : DecodeBf16(piece.data(), to);
  }
  return absl::OkStatus();
}

absl::StatusOr<SafetensorsWriter> SafetensorsWriter::Create(const std::string& path,
                                                            absl::Span<const SafetensorsSpec> specs,
                                                            SafetensorsMetadata metadata) {
  metadata.emplace("format", "pt");  // Readers of the Hugging Face libraries ask for it.
  ASSIGN_OR_RETURN(const std::string header, SerializeSafetensorsHeader(specs, metadata));
  uint64_t data_bytes = 0;
  for (const SafetensorsSpec& spec : specs) {
    uint64_t size = static_cast<uint64_t>(DTypeSize(spec.dtype));  // Did not overflow above.
    for (const int64_t extent : spec.shape) size *= static_cast<uint64_t>(extent);
    data_bytes += size;
  }
  ASSIGN_OR_RETURN(OutputFile file, OutputFile::Create(path));
  RETURN_IF_ERROR(file.Append(header));
  return SafetensorsWriter(std::move(file), data_bytes);
}

absl::Status SafetensorsWriter::Append(absl::string_view bytes) {
  if (bytes.size() > remaining_) {
    return absl::FailedPreconditionError(
        absl::StrCat(file_.path(), ": ", bytes.size(), " bytes appended where ", remaining_, " are missing"));
  }
  RETURN_IF_ERROR(file_.Append(bytes));
  remaining_ -= bytes.size();
  return absl::OkStatus();
}

absl::Status SafetensorsWriter::Finish() {
  if (remaining_ != 0) {
    return absl::FailedPreconditionError(absl::StrCat(file_.path(), ": finished with ", remaining_, " bytes missing"));
  }
  return file_.SyncAndClose();
}

}  // namespace paramd
