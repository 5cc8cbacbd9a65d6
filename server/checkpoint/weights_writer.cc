#include "server/checkpoint/weights_writer.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "common/base/crc32c.h"
#include "common/base/error.h"
#include "common/base/failpoint.h"
#include "common/base/file.h"
#include "common/base/ids.h"
#include "common/base/random_read_file.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/rpc/call.h"
#include "common/rpc/channel.h"
#include "common/rpc/error_status.h"
#include "common/tensor/safetensors.h"
#include "google/protobuf/util/json_util.h"
#include "google/protobuf/util/message_differencer.h"
#include "proto/parameter.grpc.pb.h"

namespace paramd {

namespace {

constexpr char kWeightsFile[] = "model.safetensors";
constexpr char kSpecFile[] = "job.json";
constexpr int64_t kMaxSpecBytes = 16 << 20;
constexpr absl::Duration kMaxPause = absl::Seconds(1);  // Between attempts to fetch: how long one may outlast its need.

absl::Status CheckWanted(const JobPlan& plan, const SaveWanted& wanted) {
  if (!wanted || wanted()) return absl::OkStatus();
  return MakeError(absl::StatusCode::kAborted, "SAVE_SUPERSEDED",
                   absl::StrCat("job ", plan.job_id, " has been taken from this server"));
}

// The arena as it comes together from the servers' chunks.
class ArenaAssembly {
 public:
  explicit ArenaAssembly(const JobPlan& plan)
      : plan_(plan), arena_(plan.arena.arena_elements()), seen_(plan.arena.chunk_count(), false) {}

  absl::Status Add(const v1::FetchChunksResponse& message) {
    if (message.chunk() >= seen_.size()) {
      return MakeError(absl::StatusCode::kDataLoss, "CHUNK_MISSING", absl::StrCat("no chunk ", message.chunk()));
    }
    const ElementRange range = plan_.arena.ChunkRange(static_cast<int>(message.chunk()));
    const absl::string_view payload(message.payload().data(), message.payload().size());
    if (payload.size() != range.size() * sizeof(float) || Crc32c(payload) != message.crc32c()) {
      return MakeError(absl::StatusCode::kDataLoss, "CHECKSUM_MISMATCH",
                       absl::StrCat("chunk ", message.chunk(), " arrived damaged (", payload.size(), " bytes)"));
    }
    std::memcpy(arena_.data() + range.begin, payload.data(), payload.size());
    seen_[message.chunk()] = true;
    lowest_version_ = std::min(lowest_version_, message.version());
    highest_version_ = std::max(highest_version_, message.version());
    return absl::OkStatus();
  }

  absl::Status CheckComplete() const {
    const auto missing = std::find(seen_.begin(), seen_.end(), false);
    if (missing != seen_.end()) {
      return MakeError(absl::StatusCode::kDataLoss, "CHUNK_MISSING",
                       absl::StrCat("no server sent chunk ", missing - seen_.begin()));
    }
    if (plan_.synchronous() && lowest_version_ != highest_version_) {
      return MakeError(absl::StatusCode::kFailedPrecondition, "VERSIONS_DIFFER",
                       absl::StrCat("chunks are at steps ", lowest_version_, " to ", highest_version_));
    }
    return absl::OkStatus();
  }

  // Global steps in the weights: every worker's push of a step is a version in ssp and async.
  uint64_t step() const { return plan_.synchronous() ? lowest_version_ : lowest_version_ / plan_.worker_count(); }

  absl::string_view ParameterBytes(int parameter) const {
    const ElementRange range = plan_.arena.ParameterRange(parameter);
    return absl::string_view(reinterpret_cast<const char*>(arena_.data() + range.begin), range.size() * sizeof(float));
  }

 private:
  const JobPlan& plan_;
  std::vector<float> arena_;
  std::vector<bool> seen_;
  uint64_t lowest_version_ = UINT64_MAX;
  uint64_t highest_version_ = 0;
};

absl::Status WriteModel(const JobPlan& plan, const ArenaAssembly& assembly, const std::string& directory,
                        v1::WeightsSaved& saved) {
  std::vector<SafetensorsSpec> specs;
  for (const ParameterSpec& parameter : plan.arena.parameters()) {
    specs.push_back({.name = parameter.name, .dtype = DType::kF32, .shape = parameter.shape});
  }
  ASSIGN_OR_RETURN(SafetensorsWriter writer,
                   SafetensorsWriter::Create(absl::StrCat(directory, "/", kWeightsFile), specs,
                                             {{"job_id", plan.job_id}, {"step", absl::StrCat(assembly.step())}}));
  Sha256 hash;
  uint64_t bytes = 0;
  for (int parameter = 0; parameter < static_cast<int>(specs.size()); ++parameter) {
    const absl::string_view data = assembly.ParameterBytes(parameter);
    hash.Update(data);
    bytes += data.size();
    RETURN_IF_ERROR(writer.Append(data));
  }
  RETURN_IF_ERROR(writer.Finish());
  saved.set_sha256(hash.FinishHex());
  saved.set_bytes(bytes);
  saved.set_step(assembly.step());
  return absl::OkStatus();
}

absl::Status WriteSpec(const JobPlan& plan, const std::string& directory) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.preserve_proto_field_names = true;
  std::string json;
  if (const auto status = google::protobuf::util::MessageToJsonString(plan.spec, &json, options); !status.ok()) {
    return absl::InternalError(absl::StrCat("job spec as JSON: ", std::string(status.message())));
  }
  ASSIGN_OR_RETURN(OutputFile file, OutputFile::Create(absl::StrCat(directory, "/", kSpecFile)));
  RETURN_IF_ERROR(file.Append(json));
  return file.SyncAndClose();
}

// Whether the directory has the specification of this job and, if any, weights of this job.
absl::StatusOr<bool> IsOutputOf(const JobPlan& plan, const std::string& directory) {
  const absl::StatusOr<std::string> json = ReadFile(absl::StrCat(directory, "/", kSpecFile), kMaxSpecBytes);
  if (absl::IsNotFound(json.status())) return false;
  RETURN_IF_ERROR(json.status());
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  v1::JobSpec spec;
  if (!google::protobuf::util::JsonStringToMessage(*json, &spec, options).ok()) return false;
  if (!google::protobuf::util::MessageDifferencer::Equals(spec, plan.spec)) return false;
  const auto weights = SafetensorsReader::Open(absl::StrCat(directory, "/", kWeightsFile));
  if (absl::IsNotFound(weights.status())) return true;
  if (absl::IsInvalidArgument(weights.status())) return false;
  RETURN_IF_ERROR(weights.status());
  const auto job_id = weights->metadata().find("job_id");
  return job_id != weights->metadata().end() && job_id->second == plan.job_id;
}

// The job's directory may be there already, with its checkpoints; and with the weights that it was cancelled with when
// it went on from a checkpoint, or that an earlier life of it has saved. The weights come last: with them the directory
// is complete.
absl::Status PutInPlace(const JobPlan& plan, const std::string& temporary, const std::string& directory) {
  const absl::StatusOr<std::vector<std::string>> names = ListDirectory(directory);
  if (absl::IsNotFound(names.status())) return RenameDirectory(temporary, directory);
  RETURN_IF_ERROR(names.status());
  bool saved = false;
  for (const std::string& name : *names) {
    if (name == "checkpoints") continue;
    if (name != kSpecFile && name != kWeightsFile) return FileError(EEXIST, "save to", directory);
    saved = true;
  }
  if (saved && plan.restore_directory.empty()) {
    ASSIGN_OR_RETURN(const bool own, IsOutputOf(plan, directory));
    if (!own) return FileError(EEXIST, "save to", directory);
  }
  for (const char* name : {kSpecFile, kWeightsFile}) {
    RETURN_IF_ERROR(RenameFile(absl::StrCat(temporary, "/", name), absl::StrCat(directory, "/", name)));
    RETURN_IF_ERROR(SyncDirectory(directory));
  }
  return RemoveTree(temporary);
}

absl::Status WriteDirectory(const JobPlan& plan, const ArenaAssembly& assembly, const std::string& temporary,
                            const std::string& directory, const SaveWanted& wanted, v1::WeightsSaved& saved) {
  RETURN_IF_ERROR(EnsureDirectory(temporary));
  RETURN_IF_ERROR(WriteModel(plan, assembly, temporary, saved));
  RETURN_IF_ERROR(HitFailpoint(Failpoint::kWeightsModelWritten));
  RETURN_IF_ERROR(WriteSpec(plan, temporary));
  RETURN_IF_ERROR(SyncDirectory(temporary));
  RETURN_IF_ERROR(HitFailpoint(Failpoint::kWeightsWritten));
  RETURN_IF_ERROR(CheckWanted(plan, wanted));
  RETURN_IF_ERROR(PutInPlace(plan, temporary, directory));
  PassFailpoint(Failpoint::kWeightsSaved);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<v1::WeightsSaved> SaveWeights(const JobPlan& plan, const std::string& default_directory,
                                             const ChunkFetcher& fetch, const SaveWanted& wanted) {
  ArenaAssembly assembly(plan);
  const auto sink = [&](const v1::FetchChunksResponse& chunk) -> absl::Status {
    RETURN_IF_ERROR(CheckWanted(plan, wanted));
    return assembly.Add(chunk);
  };
  for (int server = 0; server < plan.placement.servers_size(); ++server) {
    absl::Status status = fetch(static_cast<uint32_t>(server), sink);
    if (!status.ok()) {
      return Annotate(status, absl::StrCat("weights of server ", plan.placement.servers(server).node_id()));
    }
  }
  RETURN_IF_ERROR(assembly.CheckComplete());
  RETURN_IF_ERROR(HitFailpoint(Failpoint::kWeightsFetched));
  const std::string& own = plan.spec.output().directory();
  const std::string parent = own.empty() ? default_directory : own;
  v1::WeightsSaved saved;
  saved.set_directory(absl::StrCat(parent, "/", plan.job_id));
  const std::string temporary = absl::StrCat(parent, "/.", plan.job_id, ".", RandomSuffix(8), ".tmp");
  absl::Status status = WriteDirectory(plan, assembly, temporary, saved.directory(), wanted, saved);
  if (!status.ok()) {
    (void)RemoveTree(temporary);  // The first error is the one to report.
    return Annotate(status, absl::StrCat("saving the weights of job ", plan.job_id));
  }
  return saved;
}

ChunkFetcher RemoteChunkFetcher(const JobPlan& plan, absl::Duration timeout,
                                std::shared_ptr<const Credentials> credentials, SaveWanted wanted) {
  return [&plan, timeout, credentials = std::move(credentials), wanted = std::move(wanted)](
             uint32_t server_index, const ChunkSink& sink) -> absl::Status {
    const auto stub = v1::ParameterService::NewStub(CreateChannel(
        plan.placement.servers(server_index).address(),
        {.kind = ChannelKind::kBulk,
         .max_message_bytes = plan.arena.chunk_elements() * static_cast<int64_t>(sizeof(float)) + kMessageOverheadBytes,
         .credentials = credentials}));
    return RetryUnavailable({.max_backoff = kMaxPause, .total = timeout}, [&]() -> absl::Status {
      RETURN_IF_ERROR(CheckWanted(plan, wanted));
      grpc::ClientContext context;
      PrepareCall({.timeout = timeout}, context);
      v1::FetchChunksRequest request;
      request.set_job_id(plan.job_id);
      request.set_generation(plan.generation);
      const auto reader = stub->FetchChunks(&context, request);
      v1::FetchChunksResponse chunk;
      absl::Status status;
      while (status.ok() && reader->Read(&chunk)) status = sink(chunk);
      if (!status.ok()) context.TryCancel();
      const absl::Status finished = FromGrpcStatus(reader->Finish());
      return status.ok() ? finished : status;
    });
  };
}

}  // namespace paramd
