// Pushes gradients to and pulls weights from the servers of a job's placement. Usable without the rest of the worker.
//
//   ASSIGN_OR_RETURN(auto client, ParameterClient::Create(options, plan));
//   RETURN_IF_ERROR(client->PushPull(chunk, {.step = t, .subtree = s, .slot_count = n, .payload = sum},
//                                    {.min_version = t + 1, .landing = next_weights}));
//   ASSIGN_OR_RETURN(ChunkVersion version, client->WaitForChunk(chunk));     // next_weights holds the weights.
//
// Calls return at once. Weights are written to their landing as they arrive, so they must not be those in use: callers
// keep two arenas and take turns. Payload and landing are borrowed until the chunk has been waited for with success, or
// the client is gone; the payload must not change until then: it is what a retry sends.
//
// Faults: a broken stream is opened again with backoff and everything unanswered is sent again, with the same bytes;
// servers drop what they have. Answers DEADLINE_EXCEEDED and UNAVAILABLE, and damaged bytes in either direction, are
// retried too, all within `answer_limit` of the first attempt. What is refused because the job has gone on to another
// generation waits for ChangeGeneration, `fence_limit` long, and is then sent again. Whatever else a server refuses, a
// server that stays unreachable for `reconnect_limit`, and Cancel end the client: every wait, now and later, returns
// that status.
//
// Payloads are not copied, unless a codec makes something else of them: gRPC's slices point into the caller's memory,
// and WaitForChunk also waits until it has dropped them. Encoding happens in the call, once, whatever the retries; what
// it makes is kept until then too.
//
// Of the requests that wait for a stream the one of the lowest chunk goes first: the next forward pass needs it first.
// Open requests are bounded by `max_open_requests`.
//
// Thread safe. The destructor cancels and waits for gRPC's callbacks; it must not run on one.
#ifndef PARAMD_WORKER_PARAMETER_CLIENT_PARAMETER_CLIENT_H_
#define PARAMD_WORKER_PARAMETER_CLIENT_PARAMETER_CLIENT_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/partition/arena_plan.h"
#include "common/rpc/channel.h"
#include "proto/job.pb.h"
#include "worker/parameter_client/client_stats.h"
#include "worker/parameter_client/data_plane_options.h"
#include "worker/parameter_client/parameter_call.h"

namespace paramd {

class CodecPlan;
class ParameterClientCore;
class SharedSegment;
class TraceRecorder;

struct ParameterClientOptions : DataPlaneOptions {
  CallerIdentity caller;
  v1::Placement placement;
  absl::Duration request_deadline = absl::Seconds(30);  // One attempt, on the server.
  absl::Duration answer_grace = absl::Seconds(10);      // After it the stream is taken for dead.
  absl::Duration answer_limit = absl::Minutes(30);      // All attempts: the longest a barrier may last.
  absl::Duration reconnect_limit = absl::Seconds(30);   // Without any answer from a server.
  absl::Duration fence_limit = absl::Seconds(60);       // From the first refusal to ChangeGeneration.
  RetryOptions reconnect = {.initial_backoff = absl::Milliseconds(50), .max_backoff = absl::Seconds(2)};
  int64_t max_open_requests = 1 << 20;
  std::shared_ptr<const Credentials> credentials;  // TLS over TCP. Null: plain text.
  BulkTransportOptions bulk;
  // Payloads and landings that lie in it travel by offset where the server may map it; encoded payloads are put there
  // while it has room. Nobody else allocates from it meanwhile. Null: everything goes in messages.
  std::shared_ptr<SharedSegment> segment;
  // Codecs of pushes and pulls; outlives the client. Null: fp32.
  const CodecPlan* codecs = nullptr;
  // Gets spans of requests that push, in lane "wire": queue, push, pull. Outlives the client. Null: none are recorded.
  TraceRecorder* trace = nullptr;
  // Keeps all payloads alive: gRPC may hold on to one for a while after a stream broke. Null: the destructor waits
  // until it has let go, which a connected but stuck server can delay.
  std::shared_ptr<const void> payload_owner;
};

// Whether a wait ended with it because of Interrupt.
bool IsInterrupted(const absl::Status& status);

class ParameterClient {
 public:
  // kInvalidArgument (INVALID_PLACEMENT) when the placement does not fit the plan or the caller, and for options out of
  // range; kFailedPrecondition (NO_LOCAL_ADDRESS) when a server has no unix socket but nothing else is allowed.
  static absl::StatusOr<std::unique_ptr<ParameterClient>> Create(ParameterClientOptions options, const ArenaPlan& plan);
  ~ParameterClient();

  // Waits until there is a connection to each server. kUnavailable (SERVER_UNREACHABLE) names the first without one.
  absl::Status WaitForConnections(absl::Duration timeout);

  // kFailedPrecondition: the chunk's previous pull has not been waited for. kResourceExhausted: too many open requests.
  // kInvalidArgument: no such chunk, or a payload, residual or landing of another size.
  absl::Status Push(int chunk, const PushPart& push);
  absl::Status Pull(int chunk, const PullPart& pull);
  absl::Status PushPull(int chunk, const PushPart& push, const PullPart& pull);

  // Waits until everything sent for `chunk` is answered and, if weights were pulled, they have landed. Version and
  // clock are those of the newest answer.
  absl::StatusOr<ChunkVersion> WaitForChunk(int chunk);

  // Waits until every push that pulls nothing is acknowledged, and its payload may be used for something else.
  absl::Status WaitForPushes();

  // From now on messages are of this generation, and those that were refused are sent again.
  void ChangeGeneration(uint64_t generation, uint32_t worker_index);
  // WaitForChunk returns kAborted (WAIT_INTERRUPTED), now and from now on, until EndInterrupt. Nothing else changes:
  // the same chunk can be waited for again.
  void Interrupt();
  void EndInterrupt();

  // Ends all waits at once with `reason` (not OK). The first reason stays.
  void Cancel(const absl::Status& reason);
  // OK while the client works.
  absl::Status status() const;
  ParameterClientStats stats() const;

 private:
  explicit ParameterClient(std::unique_ptr<ParameterClientCore> core);

  const std::unique_ptr<ParameterClientCore> core_;
};

}  // namespace paramd

#endif  // PARAMD_WORKER_PARAMETER_CLIENT_PARAMETER_CLIENT_H_
