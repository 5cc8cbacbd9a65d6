#include "server/checkpoint/manifest.h"

#include <cstdint>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "common/base/crc32c.h"
#include "common/base/error.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/partition/arena_plan.h"
#include "google/protobuf/util/json_util.h"
#include "server/checkpoint/shard_file.h"

namespace paramd {

namespace {

using checkpoint::Manifest;

constexpr int64_t kMaxManifestBytes = int64_t{256} << 20;
constexpr absl::string_view kBegin = "{\"crc32c\":\"";
constexpr absl::string_view kMiddle = "\",\"manifest\":";
constexpr absl::string_view kEnd = "}\n";
constexpr size_t kDigits = 8;

std::string Digits(absl::string_view body) { return absl::StrFormat("%08x", Crc32c(body)); }

bool Within(const checkpoint::Chunk& place, const Manifest& manifest) {
  if (place.file() >= static_cast<uint32_t>(manifest.files_size())) return false;
  const uint64_t bytes = manifest.files(static_cast<int>(place.file())).bytes();
  return place.offset() <= bytes && place.bytes() >= kRecordHeaderBytes && place.bytes() <= bytes - place.offset();
}

absl::Status Check(absl::string_view path, const Manifest& manifest) {
  if (manifest.format() != kCheckpointFormat) {
    return CheckpointInvalid(path,
                             absl::StrCat("format ", manifest.format(), "; this program reads ", kCheckpointFormat));
  }
  for (const checkpoint::File& file : manifest.files()) {
    if (!IsPlainName(file.name())) return CheckpointInvalid(path, "a file has no plain name");
  }
  const auto layout = ParameterLayout(manifest.spec().model());
  if (!layout.ok()) return CheckpointInvalid(path, layout.status().message());
  const auto arena = ArenaPlan::Create(*layout, manifest.spec().resources().chunk_elements());
  if (!arena.ok()) return CheckpointInvalid(path, arena.status().message());
  if (manifest.chunks_size() != arena->chunk_count() ||
      manifest.arena_elements() != static_cast<uint64_t>(arena->arena_elements())) {
    return CheckpointInvalid(
        path, absl::StrCat("has ", manifest.chunks_size(), " chunks of ", manifest.arena_elements(),
                           " elements, its model has ", arena->chunk_count(), " of ", arena->arena_elements()));
  }
  for (int chunk = 0; chunk < manifest.chunks_size(); ++chunk) {
    if (Within(manifest.chunks(chunk), manifest)) continue;
    return CheckpointInvalid(path, absl::StrCat("chunk ", chunk, " does not lie in a file"));
  }
  return absl::OkStatus();
}

}  // namespace

bool IsPlainName(absl::string_view name) { return !name.empty() && name[0] != '.' && !absl::StrContains(name, '/'); }

absl::StatusOr<std::string> SerializeManifest(const Manifest& manifest) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string body;
  if (const auto status = google::protobuf::util::MessageToJsonString(manifest, &body, options); !status.ok()) {
    return absl::InternalError(absl::StrCat("manifest as JSON: ", std::string(status.message())));
  }
  return absl::StrCat(kBegin, Digits(body), kMiddle, body, kEnd);
}

absl::StatusOr<Manifest> ParseManifest(absl::string_view path, absl::string_view text) {
  absl::string_view body = text;
  const bool begins = absl::ConsumePrefix(&body, kBegin) && body.size() > kDigits;
  const absl::string_view digits = begins ? body.substr(0, kDigits) : absl::string_view();
  if (begins) body.remove_prefix(kDigits);
  if (!begins || !absl::ConsumePrefix(&body, kMiddle) || !absl::ConsumeSuffix(&body, kEnd)) {
    return CheckpointInvalid(path, "is no manifest, or not all of one");
  }
  if (Digits(body) != digits) return CheckpointInvalid(path, "its checksum is wrong");
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;  // Of a newer program, which has not changed the format's number.
  Manifest manifest;
  const auto status = google::protobuf::util::JsonStringToMessage({body.data(), body.size()}, &manifest, options);
  if (!status.ok()) return CheckpointInvalid(path, std::string(status.message()));
  RETURN_IF_ERROR(Check(path, manifest));
  return manifest;
}

absl::Status WriteManifest(const std::string& directory, const Manifest& manifest) {
  ASSIGN_OR_RETURN(const std::string text, SerializeManifest(manifest));
  return AtomicWriteFile(absl::StrCat(directory, "/", kManifestFile), text);
}

absl::StatusOr<Manifest> ReadManifest(const std::string& directory) {
  const std::string path = absl::StrCat(directory, "/", kManifestFile);
  const absl::StatusOr<std::string> text = ReadFile(path, kMaxManifestBytes);
  if (absl::IsNotFound(text.status())) {
    return CheckpointInvalid(directory, "incomplete: it has no manifest.json");
  }
  RETURN_IF_ERROR(text.status());
  return ParseManifest(path, *text);
}

}  // namespace paramd
