#include "server/checkpoint/checkpoint_directory.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/error.h"
#include "common/base/file.h"
#include "common/base/random_read_file.h"
#include "common/base/status_macros.h"
#include "google/protobuf/util/time_util.h"
#include "server/checkpoint/checkpoint_reader.h"
#include "server/checkpoint/manifest.h"
#include "server/checkpoint/shard_file.h"

namespace paramd {

namespace {

constexpr absl::string_view kShardSuffix = ".shard";

std::string Parent(const std::string& path) { return path.substr(0, std::max<size_t>(1, path.rfind('/'))); }

// The steps that a directory has checkpoints of, complete or not, ascending.
absl::StatusOr<std::vector<uint64_t>> StepsIn(const std::string& directory) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(directory));
  std::vector<uint64_t> steps;
  for (const std::string& name : names) {
    uint64_t step = 0;
    if (absl::SimpleAtoi(name, &step) && absl::StrCat(step) == name) steps.push_back(step);
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

absl::Status NotShared(const std::string& path, absl::string_view what) {
  return MakeError(absl::StatusCode::kFailedPrecondition, "OUTPUT_NOT_SHARED",
                   absl::StrCat(path, " ", what,
                                ": the output directory must be the same file system, under the same path, on all "
                                "servers and workers"),
                   {{"path", path}});
}

// Opens a file that another node says it has written.
absl::StatusOr<RandomReadFile> OpenReported(const std::string& path, const v1::CheckpointFile& reported) {
  absl::StatusOr<RandomReadFile> file = RandomReadFile::Open(path);
  if (absl::IsNotFound(file.status())) return NotShared(path, "was written by another node and is not here");
  RETURN_IF_ERROR(file.status());
  if (file->size() == reported.bytes()) return file;
  return NotShared(path, absl::StrCat("was written by another node with ", reported.bytes(), " bytes and has ",
                                      file->size(), " here"));
}

absl::Status AddChunks(const RandomReadFile& file, checkpoint::Manifest& manifest, std::vector<bool>& seen) {
  ASSIGN_OR_RETURN(const std::vector<RecordPlace> places, ScanShard(file));
  for (const RecordPlace& place : places) {
    if (place.chunk >= seen.size() || seen[place.chunk]) {
      return CheckpointInvalid(file.path(),
                               absl::StrCat("chunk ", place.chunk, " of ", seen.size(), " is one too many"));
    }
    seen[place.chunk] = true;
    checkpoint::Chunk& entry = *manifest.mutable_chunks(static_cast<int>(place.chunk));
    entry.set_file(manifest.files_size() - 1);
    entry.set_offset(place.offset);
    entry.set_bytes(place.bytes);
    entry.set_crc32c(place.crc32c);
    entry.set_version(place.version);
  }
  return absl::OkStatus();
}

absl::StatusOr<checkpoint::Manifest> MakeManifest(const JobPlan& plan, const std::string& path, uint64_t step,
                                                  const v1::CommitCheckpoint& request, absl::Time now) {
  checkpoint::Manifest manifest;
  manifest.set_format(kCheckpointFormat);
  manifest.set_job_id(plan.job_id);
  manifest.set_generation(plan.generation);
  manifest.set_step(step);
  *manifest.mutable_create_time() = google::protobuf::util::TimeUtil::MicrosecondsToTimestamp(absl::ToUnixMicros(now));
  *manifest.mutable_spec() = plan.spec;
  manifest.set_arena_elements(plan.arena.arena_elements());
  for (const std::string& name : plan.optimizer->state_names()) manifest.add_state_names(name);
  std::vector<bool> seen(plan.arena.chunk_count(), false);
  for (size_t i = 0; i < seen.size(); ++i) manifest.add_chunks();
  for (const v1::CheckpointShard& shard : request.shards()) {
    for (const v1::CheckpointFile& reported : shard.files()) {
      if (!IsPlainName(reported.name())) return CheckpointInvalid(path, "a server reports a file without a plain name");
      ASSIGN_OR_RETURN(const RandomReadFile file, OpenReported(absl::StrCat(path, "/", reported.name()), reported));
      checkpoint::File& entry = *manifest.add_files();
      entry.set_name(reported.name());
      entry.set_bytes(reported.bytes());
      entry.set_crc32c(reported.crc32c());
      RETURN_IF_ERROR(AddChunks(file, manifest, seen));
    }
  }
  if (request.shards_size() != static_cast<int>(request.servers()) ||
      request.shards_size() != plan.placement.servers_size()) {
    return CheckpointInvalid(
        path, absl::StrCat("parts of ", request.shards_size(), " servers of ", plan.placement.servers_size()));
  }
  const auto missing = std::find(seen.begin(), seen.end(), false);
  if (missing == seen.end()) return manifest;
  return CheckpointInvalid(path, absl::StrCat("no server wrote chunk ", missing - seen.begin()));
}

// Older ones beyond `keep`, and later ones. Best effort: a checkpoint too many does no harm.
std::vector<uint64_t> RemoveSuperfluous(const std::string& directory, uint64_t step, uint32_t keep) {
  std::vector<uint64_t> removed;
  std::vector<uint64_t> steps = StepsIn(directory).value_or(std::vector<uint64_t>());
  std::reverse(steps.begin(), steps.end());
  uint32_t kept = 0;
  for (uint64_t found : steps) {
    const bool complete = found == step || MayBeComplete(directory, found);
    if (found <= step && complete && kept < keep) {
      ++kept;
    } else if (found != step && RemoveCheckpoint(directory, found).ok()) {
      removed.push_back(found);
    }
  }
  return removed;
}

// Shard files that the manifest does not name. Best effort.
void RemoveStrayShards(const std::string& path, const checkpoint::Manifest& manifest) {
  for (const std::string& name : ListDirectory(path).value_or(std::vector<std::string>())) {
    const bool named = std::any_of(manifest.files().begin(), manifest.files().end(),
                                   [&](const checkpoint::File& file) { return file.name() == name; });
    if (!named && absl::EndsWith(name, kShardSuffix)) (void)RemoveFile(absl::StrCat(path, "/", name));
  }
}

// The checkpoints in `from`, newest first; only itself when it is one.
absl::StatusOr<std::vector<std::string>> FindCandidates(const std::string& from, uint64_t step) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDirectory(from));
  if (std::binary_search(names.begin(), names.end(), kManifestFile)) return std::vector<std::string>{from};
  std::vector<std::string> paths;
  const bool above = std::binary_search(names.begin(), names.end(), "checkpoints");
  const std::string directory = above ? absl::StrCat(from, "/checkpoints") : from;
  ASSIGN_OR_RETURN(std::vector<uint64_t> steps, StepsIn(directory));
  for (auto it = steps.rbegin(); it != steps.rend(); ++it) {
    if (step == 0 || *it == step) paths.push_back(CheckpointPath(directory, *it));
  }
  return paths;
}

absl::StatusOr<SelectedCheckpoint> Examine(const std::string& path, uint64_t step) {
  ASSIGN_OR_RETURN(const CheckpointReader reader, CheckpointReader::Open(path));
  if (step != 0 && reader.manifest().step() != step) {
    return CheckpointInvalid(path, absl::StrCat("is of step ", reader.manifest().step(), ", not ", step));
  }
  RETURN_IF_ERROR(reader.Verify());
  return SelectedCheckpoint{
      .directory = path, .step = reader.manifest().step(), .bytes = reader.bytes(), .skipped = {}};
}

}  // namespace

std::string CheckpointPath(const std::string& directory, uint64_t step) { return absl::StrCat(directory, "/", step); }

std::string ShardPath(const std::string& path, uint32_t server_index, uint64_t generation) {
  return absl::StrCat(path, "/server-", server_index, ".", generation, kShardSuffix);
}

absl::Status PrepareCheckpoint(const std::string& directory, uint64_t step) {
  const std::string path = CheckpointPath(directory, step);
  RETURN_IF_ERROR(EnsureDirectory(path));
  RETURN_IF_ERROR(RemoveFile(absl::StrCat(path, "/", kManifestFile)));
  return SyncDirectory(path);
}

absl::StatusOr<CommittedCheckpoint> CommitCheckpoint(const JobPlan& plan, const std::string& directory, uint64_t step,
                                                     const v1::CommitCheckpoint& request, absl::Time now,
                                                     const std::function<bool()>& wanted) {
  const std::string path = CheckpointPath(directory, step);
  ASSIGN_OR_RETURN(const checkpoint::Manifest manifest, MakeManifest(plan, path, step, request, now));
  // Everything the manifest's name depends on, from the inside out: checkpoint, checkpoints, job, output directory.
  std::string at = path;
  for (int level = 0; level < 4; ++level, at = Parent(at)) RETURN_IF_ERROR(SyncDirectory(at));
  if (!wanted()) {
    return MakeError(absl::StatusCode::kAborted, "CHECKPOINT_SUPERSEDED",
                     absl::StrCat(path, ": the job has been taken from this server"));
  }
  RETURN_IF_ERROR(WriteManifest(path, manifest));
  CommittedCheckpoint committed;
  for (const checkpoint::File& file : manifest.files()) committed.bytes += file.bytes();
  if (!wanted()) return committed;
  RemoveStrayShards(path, manifest);
  committed.removed = RemoveSuperfluous(directory, step, request.keep());
  return committed;
}

absl::StatusOr<SelectedCheckpoint> SelectCheckpoint(const std::string& from, uint64_t step) {
  const absl::StatusOr<std::vector<std::string>> candidates = FindCandidates(from, step);
  if (!candidates.ok() && !absl::IsNotFound(candidates.status())) return candidates.status();
  if (!candidates.ok() || candidates->empty()) {
    return MakeError(absl::StatusCode::kNotFound, "CHECKPOINT_NOT_FOUND",
                     step == 0 ? absl::StrCat("there is no checkpoint in ", from)
                               : absl::StrCat("there is no checkpoint of step ", step, " in ", from));
  }
  std::vector<std::string> skipped;
  absl::Status first;
  for (const std::string& path : *candidates) {
    absl::StatusOr<SelectedCheckpoint> selected = Examine(path, step);
    if (selected.ok()) {
      selected->skipped = std::move(skipped);
      return selected;
    }
    if (first.ok()) first = selected.status();
    skipped.push_back(std::string(selected.status().message()));
  }
  return MakeError(first.code(), ErrorReason(first),
                   absl::StrCat("no checkpoint in ", from, " is good: ", absl::StrJoin(skipped, "; ")));
}

bool MayBeComplete(const std::string& directory, uint64_t step) {
  const absl::Status manifest = ReadManifest(CheckpointPath(directory, step)).status();
  return manifest.ok() || ErrorReason(manifest) != "CHECKPOINT_INVALID";
}

absl::Status RemoveCheckpoint(const std::string& directory, uint64_t step) {
  const std::string path = CheckpointPath(directory, step);
  RETURN_IF_ERROR(RemoveFile(absl::StrCat(path, "/", kManifestFile)));
  return RemoveTree(path);
}

}  // namespace paramd
