#include "server/checkpoint/shard_file.h"

#include <bit>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/base/crc32c.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"

namespace paramd {

namespace {

absl::string_view BytesOf(absl::Span<const float> values) {
  return absl::string_view(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
}

static_assert(std::endian::native == std::endian::little, "values are written as they lie in memory");

template <typename T>
void Put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

template <typename T>
T Load(const char* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}

// The header from byte 8 on, and the clocks.
std::string HeaderBytes(const ChunkCapture& chunk) {
  const uint64_t elements = chunk.weights->weights().size();
  std::string out;
  Put<uint32_t>(out, chunk.chunk);
  Put<uint32_t>(out, elements == 0 ? 0 : static_cast<uint32_t>(chunk.state.size() / elements));
  Put<uint64_t>(out, elements);
  Put<uint64_t>(out, chunk.version);
  Put<uint64_t>(out, chunk.updates);
  Put<uint32_t>(out, static_cast<uint32_t>(chunk.clocks.size()));
  Put<uint32_t>(out, 0);
  for (uint64_t clock : chunk.clocks) Put<uint64_t>(out, clock);
  return out;
}

absl::Status RecordInvalid(const RandomReadFile& file, const RecordPlace& place, absl::string_view message) {
  return CheckpointInvalid(file.path(), absl::StrCat("chunk ", place.chunk, " at byte ", place.offset, ": ", message));
}

}  // namespace

absl::Status CheckpointInvalid(absl::string_view path, absl::string_view message) {
  return MakeError(absl::StatusCode::kDataLoss, "CHECKPOINT_INVALID", absl::StrCat(path, ": ", message),
                   {{"path", std::string(path)}});
}

absl::StatusOr<ShardWriter> ShardWriter::Create(const std::string& path) {
  ASSIGN_OR_RETURN(OutputFile file, OutputFile::Create(path));
  ShardWriter writer(std::move(file));
  RETURN_IF_ERROR(writer.Write(kShardMagic));
  return writer;
}

absl::Status ShardWriter::Write(absl::string_view bytes) {
  RETURN_IF_ERROR(file_.Append(bytes));
  bytes_ += bytes.size();
  crc32c_ = ExtendCrc32c(crc32c_, bytes);
  return absl::OkStatus();
}

absl::Status ShardWriter::Append(const ChunkCapture& chunk) {
  const std::string header = HeaderBytes(chunk);
  const absl::string_view weights = BytesOf(chunk.weights->weights()), state = BytesOf(chunk.state.span());
  const uint32_t crc32c = ExtendCrc32c(ExtendCrc32c(Crc32c(header), weights), state);
  std::string start(kRecordMagic);
  Put<uint32_t>(start, crc32c);
  RETURN_IF_ERROR(Write(start + header));
  RETURN_IF_ERROR(Write(weights));
  return Write(state);
}

absl::StatusOr<v1::CheckpointFile> ShardWriter::Finish() {
  RETURN_IF_ERROR(file_.SyncAndClose());
  v1::CheckpointFile file;
  const std::string& path = file_.path();
  file.set_name(path.substr(path.rfind('/') + 1));
  file.set_bytes(bytes_);
  file.set_crc32c(crc32c_);
  return file;
}

SavedChunk ChunkRecord::saved() const {
  const absl::Span<const float> all = values;
  return {.version = place.version,
          .updates = place.updates,
          .clocks = clocks,
          .weights = all.subspan(0, place.elements),
          .state = all.subspan(place.elements)};
}

absl::StatusOr<RecordPlace> ReadRecordHeader(const RandomReadFile& file, uint64_t offset) {
  RecordPlace place = {.offset = offset};
  if (offset > file.size() || file.size() - offset < kRecordHeaderBytes) {
    return CheckpointInvalid(file.path(), absl::StrCat("ends within the header of a chunk at byte ", offset));
  }
  char header[kRecordHeaderBytes];
  RETURN_IF_ERROR(file.ReadAt(offset, absl::MakeSpan(header)));
  if (absl::string_view(header, kRecordMagic.size()) != kRecordMagic) {
    return CheckpointInvalid(file.path(), absl::StrCat("no chunk begins at byte ", offset));
  }
  place.crc32c = Load<uint32_t>(header + 4);
  place.chunk = Load<uint32_t>(header + 8);
  place.state_count = Load<uint32_t>(header + 12);
  place.elements = Load<uint64_t>(header + 16);
  place.version = Load<uint64_t>(header + 24);
  place.updates = Load<uint64_t>(header + 32);
  place.clocks = Load<uint32_t>(header + 40);
  // Each is bounded before they are multiplied; the largest chunk has 2^20 elements, and no optimizer more than 2
  // values.
  const bool sane =
      place.elements <= (uint64_t{1} << 32) && place.state_count <= 16 && place.clocks <= kMaxRecordClocks;
  if (!sane || Load<uint32_t>(header + 44) != 0) {
    return RecordInvalid(file, place, "its header is damaged");
  }
  place.bytes = kRecordHeaderBytes + place.clocks * sizeof(uint64_t) +
                place.elements * sizeof(float) * (uint64_t{1} + place.state_count);
  if (place.bytes > file.size() - offset) {
    return RecordInvalid(file, place,
                         absl::StrCat("it has ", place.bytes, " bytes, the file ends after ", file.size() - offset));
  }
  return place;
}

absl::StatusOr<std::vector<RecordPlace>> ScanShard(const RandomReadFile& file) {
  char magic[kShardMagic.size()];
  if (file.size() < sizeof(magic)) return CheckpointInvalid(file.path(), "too short");
  RETURN_IF_ERROR(file.ReadAt(0, absl::MakeSpan(magic)));
  if (absl::string_view(magic, sizeof(magic)) != kShardMagic) {
    return CheckpointInvalid(file.path(), absl::StrCat("does not begin with ", kShardMagic));
  }
  std::vector<RecordPlace> places;
  for (uint64_t offset = sizeof(magic); offset < file.size(); offset += places.back().bytes) {
    ASSIGN_OR_RETURN(places.emplace_back(), ReadRecordHeader(file, offset));
  }
  return places;
}

absl::StatusOr<ChunkRecord> ReadRecord(const RandomReadFile& file, const RecordPlace& place) {
  ChunkRecord record = {.place = place};
  std::string start(kRecordHeaderBytes - 8 + place.clocks * sizeof(uint64_t), '\0');
  RETURN_IF_ERROR(file.ReadAt(place.offset + 8, absl::MakeSpan(start)));
  for (uint32_t i = 0; i < place.clocks; ++i) {
    record.clocks.push_back(Load<uint64_t>(start.data() + kRecordHeaderBytes - 8 + i * sizeof(uint64_t)));
  }
  record.values.resize(place.elements * (uint64_t{1} + place.state_count));
  char* const data = reinterpret_cast<char*>(record.values.data());
  RETURN_IF_ERROR(
      file.ReadAt(place.offset + 8 + start.size(), absl::MakeSpan(data, record.values.size() * sizeof(float))));
  if (ExtendCrc32c(Crc32c(start), BytesOf(record.values)) != place.crc32c) {
    return RecordInvalid(file, place, "its checksum is wrong");
  }
  return record;
}

}  // namespace paramd
