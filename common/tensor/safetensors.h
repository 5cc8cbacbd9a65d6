// Files of named tensors in Hugging Face's safetensors format.
//
// A file is: u64 little-endian N | N bytes of JSON, which start with '{' and may end in spaces | the tensors' bytes,
// little endian, row major. The JSON maps each name to {"dtype":"F32","shape":[..],"data_offsets":[BEGIN,END]}, offsets
// counted from the end of the JSON, and "__metadata__" to a map of strings to strings. Tensors cover the bytes exactly.
//
//   ASSIGN_OR_RETURN(SafetensorsReader reader, SafetensorsReader::Open(path));
//   ASSIGN_OR_RETURN(const SafetensorsTensor* tensor, reader.Find("wte.weight"));
//   RETURN_IF_ERROR(reader.ReadFloats(*tensor, absl::MakeSpan(weights)));
//
//   ASSIGN_OR_RETURN(SafetensorsWriter writer, SafetensorsWriter::Create(path, specs, {{"step", "100"}}));
//   for (...) RETURN_IF_ERROR(writer.Append(bytes));   // In the order of `specs`, in any pieces.
//   RETURN_IF_ERROR(writer.Finish());
//
// A malformed file is kInvalidArgument, reason INVALID_SAFETENSORS, with what is wrong and where; file errors are those
// of common/base/file.h. Memory is bounded by a small multiple of the header. A reader is thread safe; a writer is not.
#ifndef PARAMD_COMMON_TENSOR_SAFETENSORS_H_
#define PARAMD_COMMON_TENSOR_SAFETENSORS_H_

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/base/file.h"
#include "common/tensor/dtype.h"

namespace paramd {

inline constexpr uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;

struct SafetensorsSpec {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;  // Empty for a scalar; extents may be 0.
};

struct SafetensorsTensor : SafetensorsSpec {
  int64_t begin = 0;  // Byte range within the data.
  int64_t end = 0;
  int64_t elements() const { return (end - begin) / DTypeSize(dtype); }
};

using SafetensorsMetadata = std::map<std::string, std::string>;

struct SafetensorsHeader {
  std::vector<SafetensorsTensor> tensors;  // By position in the data.
  SafetensorsMetadata metadata;
};

// Reads and checks the JSON of a file with `data_bytes` bytes after it: structure, duplicate keys, overflow, and that
// the tensors cover the data without overlap or hole.
absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(absl::string_view json, uint64_t data_bytes);

// The start of a file, length field included, padded with spaces to a multiple of 8; the data lies in the order of
// `specs`. kInvalidArgument: a duplicate or reserved name, a negative extent, overflow, text that is not UTF-8, a
// header over the limit.
absl::StatusOr<std::string> SerializeSafetensorsHeader(absl::Span<const SafetensorsSpec> specs,
                                                       const SafetensorsMetadata& metadata);

class SafetensorsReader {
 public:
  static absl::StatusOr<SafetensorsReader> Open(const std::string& path);

  const std::vector<SafetensorsTensor>& tensors() const { return header_.tensors; }
  const SafetensorsMetadata& metadata() const { return header_.metadata; }
  // kNotFound, reason TENSOR_NOT_FOUND. The pointer lives as long as the reader.
  absl::StatusOr<const SafetensorsTensor*> Find(absl::string_view name) const;

  // Reads bytes [offset, offset + out.size()) of the tensor. kOutOfRange beyond its end; kDataLoss when the file has
  // shrunk since it was opened.
  absl::Status ReadBytes(const SafetensorsTensor& tensor, int64_t offset, absl::Span<char> out) const;
  // Reads the whole tensor as floats. kInvalidArgument, reason PARAM_SHAPE_MISMATCH, unless it has out.size() elements
  // of type F32, F16 or BF16.
  absl::Status ReadFloats(const SafetensorsTensor& tensor, absl::Span<float> out) const;

 private:
  SafetensorsReader(FileDescriptor fd, std::string path, int64_t data_start, SafetensorsHeader header)
      : fd_(std::move(fd)), path_(std::move(path)), data_start_(data_start), header_(std::move(header)) {}

  FileDescriptor fd_;
  std::string path_;
  int64_t data_start_;
  SafetensorsHeader header_;
};

class SafetensorsWriter {
 public:
  // Writes the header; the metadata gets "format": "pt" unless it says otherwise.
  static absl::StatusOr<SafetensorsWriter> Create(const std::string& path, absl::Span<const SafetensorsSpec> specs,
                                                  SafetensorsMetadata metadata = {});

  // The next bytes of the data. kFailedPrecondition beyond its end.
  absl::Status Append(absl::string_view bytes);
  // Syncs and closes. kFailedPrecondition when bytes are missing.
  absl::Status Finish();

 private:
  SafetensorsWriter(OutputFile file, uint64_t remaining) : file_(std::move(file)), remaining_(remaining) {}

  OutputFile file_;
  uint64_t remaining_;
};

}  // namespace paramd

#endif  // PARAMD_COMMON_TENSOR_SAFETENSORS_H_
