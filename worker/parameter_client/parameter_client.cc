#include "worker/parameter_client/parameter_client.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"
#include "worker/parameter_client/client_core.h"

namespace paramd {
namespace {

absl::Status CheckPlacement(const v1::Placement& placement, const CallerIdentity& caller, const ArenaPlan& plan) {
  const auto refuse = [](absl::string_view message) {
    return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_PLACEMENT", message);
  };
  if (placement.servers().empty()) return refuse("placement without servers");
  if (placement.chunk_server_size() != plan.chunk_count() ||
      placement.arena_elements() != static_cast<uint64_t>(plan.arena_elements())) {
    return refuse(absl::StrCat("placement of ", placement.chunk_server_size(), " chunks and ",
                               placement.arena_elements(), " elements for an arena of ", plan.chunk_count(), " and ",
                               plan.arena_elements()));
  }
  for (uint32_t server : placement.chunk_server()) {
    if (server >= static_cast<uint32_t>(placement.servers_size())) {
      return refuse(absl::StrCat("placement puts a chunk on server ", server, " of ", placement.servers_size()));
    }
  }
  if (caller.worker_index >= static_cast<uint32_t>(placement.workers_size())) {
    return refuse(absl::StrCat("placement has no worker ", caller.worker_index));
  }
  return absl::OkStatus();
}

absl::Status CheckTransport(const ParameterClientOptions& options) {
  if (options.streams_per_server < 1 || options.streams_per_server > kMaxStreamsPerServer ||
      options.max_bytes_in_flight < 0) {
    return absl::InvalidArgumentError(absl::StrCat(options.streams_per_server, " streams per server and ",
                                                   options.max_bytes_in_flight, " bytes in flight"));
  }
  if (options.transport != TransportPolicy::kUnix) return absl::OkStatus();
  for (const v1::ServerPlacement& server : options.placement.servers()) {
    if (!server.local_address().empty()) continue;
    return MakeError(absl::StatusCode::kFailedPrecondition, "NO_LOCAL_ADDRESS",
                     absl::StrCat("server ", server.node_id(), " at ", server.address(),
                                  " has no unix socket, and nothing else is allowed"));
  }
  return absl::OkStatus();
}

}  // namespace

bool IsInterrupted(const absl::Status& status) {
  return absl::IsAborted(status) && ErrorReason(status) == "WAIT_INTERRUPTED";
}

absl::StatusOr<std::unique_ptr<ParameterClient>> ParameterClient::Create(ParameterClientOptions options,
                                                                         const ArenaPlan& plan) {
  RETURN_IF_ERROR(CheckPlacement(options.placement, options.caller, plan));
  RETURN_IF_ERROR(CheckTransport(options));
  auto core = std::make_unique<ParameterClientCore>(std::move(options), plan);
  core->Start();
  return std::unique_ptr<ParameterClient>(new ParameterClient(std::move(core)));
}

ParameterClient::ParameterClient(std::unique_ptr<ParameterClientCore> core) : core_(std::move(core)) {}
ParameterClient::~ParameterClient() { core_->Stop(); }

absl::Status ParameterClient::WaitForConnections(absl::Duration timeout) { return core_->WaitForConnections(timeout); }

absl::Status ParameterClient::Push(int chunk, const PushPart& push) {
  return core_->Send({.chunk = chunk, .push = push});
}

absl::Status ParameterClient::Pull(int chunk, const PullPart& pull) {
  return core_->Send({.chunk = chunk, .pull = pull});
}

absl::Status ParameterClient::PushPull(int chunk, const PushPart& push, const PullPart& pull) {
  return core_->Send({.chunk = chunk, .push = push, .pull = pull});
}

absl::StatusOr<ChunkVersion> ParameterClient::WaitForChunk(int chunk) { return core_->WaitForChunk(chunk); }

absl::Status ParameterClient::WaitForPushes() { return core_->WaitForPushes(); }
void ParameterClient::ChangeGeneration(uint64_t generation, uint32_t worker_index) {
  core_->ChangeGeneration(generation, worker_index);
}
void ParameterClient::Interrupt() { core_->SetInterrupted(true); }
void ParameterClient::EndInterrupt() { core_->SetInterrupted(false); }

void ParameterClient::Cancel(const absl::Status& reason) { core_->Fail(reason); }
absl::Status ParameterClient::status() const { return core_->status(); }
ParameterClientStats ParameterClient::stats() const { return core_->stats(); }

}  // namespace paramd
