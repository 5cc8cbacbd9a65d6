#include "server/checkpoint/checkpoint_reader.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/crc32c.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"
#include "google/protobuf/util/message_differencer.h"
#include "server/checkpoint/manifest.h"

namespace paramd {

namespace {

constexpr size_t kVerifyBytes = size_t{1} << 20;  // At a time.

absl::StatusOr<uint32_t> ChecksumOf(const RandomReadFile& file) {
  std::vector<char> buffer(std::min<uint64_t>(file.size(), kVerifyBytes));
  uint32_t crc32c = 0;
  for (uint64_t offset = 0; offset < file.size(); offset += buffer.size()) {
    const absl::Span<char> part = absl::MakeSpan(buffer).subspan(0, file.size() - offset);
    RETURN_IF_ERROR(file.ReadAt(offset, part));
    crc32c = ExtendCrc32c(crc32c, absl::string_view(part.data(), part.size()));
  }
  return crc32c;
}

absl::Status Mismatch(absl::string_view directory, absl::string_view message) {
  return MakeError(absl::StatusCode::kFailedPrecondition, "CHECKPOINT_MISMATCH",
                   absl::StrCat(directory, ": ", message));
}

}  // namespace

absl::StatusOr<CheckpointReader> CheckpointReader::Open(std::string directory) {
  ASSIGN_OR_RETURN(checkpoint::Manifest manifest, ReadManifest(directory));
  // Both have been tried with this manifest.
  ASSIGN_OR_RETURN(std::vector<ParameterSpec> layout, ParameterLayout(manifest.spec().model()));
  ASSIGN_OR_RETURN(ArenaPlan arena, ArenaPlan::Create(std::move(layout), manifest.spec().resources().chunk_elements()));
  return CheckpointReader(std::move(directory), std::move(manifest), std::move(arena));
}

uint64_t CheckpointReader::bytes() const {
  uint64_t bytes = 0;
  for (const checkpoint::File& file : manifest_.files()) bytes += file.bytes();
  return bytes;
}

absl::Status CheckpointReader::CheckMatches(const JobPlan& plan) const {
  const v1::JobSpec& spec = manifest_.spec();
  if (!google::protobuf::util::MessageDifferencer::Equals(spec.model(), plan.spec.model())) {
    return Mismatch(directory_, "the model is another one than the job's");
  }
  if (spec.resources().chunk_elements() != plan.spec.resources().chunk_elements()) {
    return Mismatch(directory_, absl::StrCat("resources.chunk_elements is ", spec.resources().chunk_elements(),
                                             ", the job's is ", plan.spec.resources().chunk_elements()));
  }
  const std::vector<std::string> states = plan.optimizer->state_names();
  if (spec.optimizer().type() != plan.spec.optimizer().type() ||
      !std::equal(states.begin(), states.end(), manifest_.state_names().begin(), manifest_.state_names().end())) {
    return Mismatch(directory_, absl::StrCat("the optimizer is ", OptimizerName(spec.optimizer().type()),
                                             ", the job's is ", OptimizerName(plan.spec.optimizer().type())));
  }
  if (manifest_.step() != plan.first_step) {
    return Mismatch(directory_,
                    absl::StrCat("it is of step ", manifest_.step(), ", the job begins at ", plan.first_step));
  }
  return absl::OkStatus();
}

absl::StatusOr<RandomReadFile> CheckpointReader::OpenFile(const checkpoint::File& file) const {
  const std::string path = absl::StrCat(directory_, "/", file.name());
  absl::StatusOr<RandomReadFile> opened = RandomReadFile::Open(path);
  if (absl::IsNotFound(opened.status())) return CheckpointInvalid(path, "the file is missing");
  RETURN_IF_ERROR(opened.status());
  if (opened->size() == file.bytes()) return opened;
  return CheckpointInvalid(path, absl::StrCat("has ", opened->size(), " bytes, it was written with ", file.bytes()));
}

absl::StatusOr<ChunkRecord> CheckpointReader::ReadChunk(int chunk) const {
  const int file_index = static_cast<int>(manifest_.chunks(chunk).file());
  ASSIGN_OR_RETURN(const RandomReadFile file, OpenFile(manifest_.files(file_index)));
  return ReadChunk(file, chunk);
}

absl::StatusOr<ChunkRecord> CheckpointReader::ReadChunk(const RandomReadFile& file, int chunk) const {
  const checkpoint::Chunk& entry = manifest_.chunks(chunk);
  ASSIGN_OR_RETURN(const RecordPlace place, ReadRecordHeader(file, entry.offset()));
  const bool same = place.chunk == static_cast<uint32_t>(chunk) && place.bytes == entry.bytes() &&
                    place.crc32c == entry.crc32c() && place.version == entry.version() &&
                    place.elements == static_cast<uint64_t>(arena_.ChunkRange(chunk).size()) &&
                    place.state_count == static_cast<uint32_t>(manifest_.state_names_size());
  if (!same) {
    return CheckpointInvalid(file.path(), absl::StrCat("chunk ", chunk, " at byte ", entry.offset(),
                                                       ": its header is not what the manifest says"));
  }
  return ReadRecord(file, place);
}

absl::Status CheckpointReader::VerifyFile(int index) const {
  const checkpoint::File& expected = manifest_.files(index);
  ASSIGN_OR_RETURN(const RandomReadFile file, OpenFile(expected));
  ASSIGN_OR_RETURN(const uint32_t crc32c, ChecksumOf(file));
  for (int chunk = 0; chunk < manifest_.chunks_size(); ++chunk) {
    if (manifest_.chunks(chunk).file() != static_cast<uint32_t>(index)) continue;
    if (crc32c == expected.crc32c()) {
      // The bytes are what was written; what remains is that the manifest points at them.
      ASSIGN_OR_RETURN(const RecordPlace place, ReadRecordHeader(file, manifest_.chunks(chunk).offset()));
      if (place.chunk == static_cast<uint32_t>(chunk) && place.crc32c == manifest_.chunks(chunk).crc32c()) continue;
    }
    RETURN_IF_ERROR(ReadChunk(file, chunk).status());  // Names the damaged chunk.
  }
  if (crc32c == expected.crc32c()) return absl::OkStatus();
  return CheckpointInvalid(file.path(), "its checksum is wrong");
}

absl::Status CheckpointReader::Verify() const {
  for (int index = 0; index < manifest_.files_size(); ++index) RETURN_IF_ERROR(VerifyFile(index));
  return absl::OkStatus();
}

}  // namespace paramd
