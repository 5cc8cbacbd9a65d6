// One server's part of a checkpoint: a file of records, each of them a chunk with its optimizer state. Little-endian;
// docs/formats.md has the bytes.
//
//   file:   "PARAMDC1" | record | record | ...
//   record:  0  "PCHK"
//            4  u32  CRC-32C of the record from byte 8 to its end
//            8  u32  chunk            12  u32  state values per element
//           16  u64  elements         24  u64  version
//           32  u64  updates          40  u32  clocks
//           44  u32  0
//           48  u64[clocks], f32[elements] weights, f32[elements] per state value
//
//   ASSIGN_OR_RETURN(ShardWriter writer, ShardWriter::Create(path));
//   for (const ChunkCapture& chunk : captures) RETURN_IF_ERROR(writer.Append(chunk));
//   ASSIGN_OR_RETURN(v1::CheckpointFile file, writer.Finish());            // Synced to disk.
//
//   ASSIGN_OR_RETURN(std::vector<RecordPlace> places, ScanShard(file));    // Headers only.
//   ASSIGN_OR_RETURN(ChunkRecord record, ReadRecord(file, places[0]));     // The checksum is compared.
//
// What is wrong with a file is kDataLoss, reason CHECKPOINT_INVALID, and names the file and the chunk; the rest are
// common/base/file.h's. Nothing is allocated beyond the file's size. A writer belongs to one thread; the functions are
// thread safe.
#ifndef PARAMD_SERVER_CHECKPOINT_SHARD_FILE_H_
#define PARAMD_SERVER_CHECKPOINT_SHARD_FILE_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/base/file.h"
#include "common/base/random_read_file.h"
#include "proto/cluster.pb.h"
#include "server/store/chunk_capture.h"

namespace paramd {

inline constexpr absl::string_view kShardMagic = "PARAMDC1";
inline constexpr absl::string_view kRecordMagic = "PCHK";
inline constexpr uint64_t kRecordHeaderBytes = 48;
inline constexpr uint64_t kMaxRecordClocks = 4096;  // As many workers as slots, at most.

absl::Status CheckpointInvalid(absl::string_view path, absl::string_view message);

struct RecordPlace {
  uint64_t offset = 0;
  uint64_t bytes = 0;
  uint32_t crc32c = 0;
  uint32_t chunk = 0;
  uint32_t state_count = 0;
  uint64_t elements = 0;
  uint64_t version = 0;
  uint64_t updates = 0;
  uint32_t clocks = 0;
};

class ShardWriter {
 public:
  static absl::StatusOr<ShardWriter> Create(const std::string& path);

  absl::Status Append(const ChunkCapture& chunk);
  // Syncs and closes. The name is the last part of the path.
  absl::StatusOr<v1::CheckpointFile> Finish();

 private:
  explicit ShardWriter(OutputFile file) : file_(std::move(file)) {}
  absl::Status Write(absl::string_view bytes);

  OutputFile file_;
  uint64_t bytes_ = 0;
  uint32_t crc32c_ = 0;
};

// A record as read. Movable; `saved` shows parts of `bytes`.
struct ChunkRecord {
  std::vector<float> values;  // Weights, then state.
  std::vector<uint64_t> clocks;
  RecordPlace place;

  SavedChunk saved() const;
};

// The records of a file, in their order, by their headers. They fill it without a gap.
absl::StatusOr<std::vector<RecordPlace>> ScanShard(const RandomReadFile& file);
// The header at `offset`; its lengths lie within the file.
absl::StatusOr<RecordPlace> ReadRecordHeader(const RandomReadFile& file, uint64_t offset);
// Reads the record, and compares all its bytes with its checksum. `place` is what ReadRecordHeader returned.
absl::StatusOr<ChunkRecord> ReadRecord(const RandomReadFile& file, const RecordPlace& place);

}  // namespace paramd

#endif  // PARAMD_SERVER_CHECKPOINT_SHARD_FILE_H_
