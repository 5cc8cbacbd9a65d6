#include "worker/parameter_client/client_core.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/error.h"
#include "common/rpc/error_status.h"
#include "worker/parameter_client/codec.h"

namespace paramd {
namespace {

constexpr int kDamagedAttempts = 3;
constexpr absl::Duration kTick = absl::Milliseconds(500);
constexpr absl::Duration kComeBackLater = absl::Milliseconds(100);

// Ends of a call that no reconnection mends.
bool Permanent(grpc::StatusCode code) {
  return code == grpc::StatusCode::UNIMPLEMENTED || code == grpc::StatusCode::PERMISSION_DENIED ||
         code == grpc::StatusCode::UNAUTHENTICATED || code == grpc::StatusCode::INVALID_ARGUMENT;
}

}  // namespace

ParameterClientCore::ParameterClientCore(ParameterClientOptions options, const ArenaPlan& plan)
    : options_(std::move(options)) {
  absl::MutexLock lock(&mutex_);
  const v1::Placement& placement = options_.placement;
  for (int i = 0; i < placement.servers_size(); ++i) {
    Server server;
    server.name =
        absl::StrCat("server ", i, " (", placement.servers(i).node_id(), " at ", placement.servers(i).address(), ")");
    server.channel =
        CreateChannel(placement.servers(i).address(),
                      {.kind = ChannelKind::kBulk,
                       .max_message_bytes = plan.chunk_elements() * int64_t{sizeof(float)} + kMessageOverheadBytes});
    server.stub = v1::ParameterService::NewStub(server.channel);
    server.backoff = std::make_unique<Backoff>(options_.reconnect, options_.caller.worker_incarnation + i);
    servers_.push_back(std::move(server));
  }
  for (int chunk = 0; chunk < plan.chunk_count(); ++chunk) {
    chunk_elements_.push_back(plan.ChunkRange(chunk).size());
    chunks_.emplace_back().server = static_cast<int>(placement.chunk_server(chunk));
  }
}

void ParameterClientCore::Start() {
  {
    absl::MutexLock lock(&mutex_);
    for (size_t i = 0; i < servers_.size(); ++i) Connect(static_cast<int>(i));
  }
  timer_ = std::thread([this] { RunTimer(); });
}

void ParameterClientCore::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    FailLocked(absl::CancelledError("parameter client stopped"));
    const auto quiet = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return live_streams_ == 0; };
    mutex_.Await(absl::Condition(&quiet));
  }
  if (timer_.joinable()) timer_.join();
}

absl::Status ParameterClientCore::WaitForConnections(absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  std::vector<std::pair<std::string, std::shared_ptr<grpc::Channel>>> channels;
  {
    absl::MutexLock lock(&mutex_);
    for (const Server& server : servers_) channels.emplace_back(server.name, server.channel);
  }
  for (const auto& [name, channel] : channels) {
    // In slices, so that Cancel ends the wait.
    while (!channel->WaitForConnected(absl::ToChronoTime(std::min(deadline, absl::Now() + absl::Milliseconds(200))))) {
      const absl::Status now = status();
      if (!now.ok()) return now;
      if (absl::Now() < deadline) continue;
      return MakeError(absl::StatusCode::kUnavailable, "SERVER_UNREACHABLE",
                       absl::StrCat("no connection to ", name, " within ", absl::FormatDuration(timeout)));
    }
  }
  return status();
}

absl::Status ParameterClientCore::Send(const ParameterCall& call) {
  if (call.chunk < 0 || call.chunk >= static_cast<int>(chunk_elements_.size())) {
    return absl::InvalidArgumentError(absl::StrCat("no chunk ", call.chunk));
  }
  if (call.push && static_cast<int64_t>(call.push->payload.size()) != chunk_elements_[call.chunk]) {
    return absl::InvalidArgumentError(absl::StrCat("push of ", call.push->payload.size(), " elements to chunk ",
                                                   call.chunk, " of ", chunk_elements_[call.chunk]));
  }
  if (call.pull && static_cast<int64_t>(call.pull->landing.size()) != chunk_elements_[call.chunk]) {
    return absl::InvalidArgumentError(absl::StrCat("pull of chunk ", call.chunk, " of ", chunk_elements_[call.chunk],
                                                   " elements into ", call.pull->landing.size()));
  }
  absl::MutexLock lock(&mutex_);
  if (!status_.ok()) return status_;
  Chunk& chunk = chunks_[call.chunk];
  if (call.pull && (chunk.pulling || chunk.has_weights)) {
    return absl::FailedPreconditionError(absl::StrCat("chunk ", call.chunk, " is being pulled already"));
  }
  if (open_requests_ >= options_.max_open_requests) {
    return absl::ResourceExhaustedError(absl::StrCat(open_requests_, " requests are open"));
  }
  const uint64_t id = next_id_++;
  Server& server = servers_[chunk.server];
  server.open.emplace(id, Request{.call = call, .created = absl::Now()});
  server.unsent.push_back(id);
  ++open_requests_;
  ++chunk.open;
  if (call.pull) {
    chunk.pulling = true;
    chunk.landing = call.pull->landing;
  }
  Pump(chunk.server);
  return absl::OkStatus();
}

absl::StatusOr<ChunkVersion> ParameterClientCore::WaitForChunk(int index) {
  if (index < 0 || index >= static_cast<int>(chunk_elements_.size())) {
    return absl::InvalidArgumentError(absl::StrCat("no chunk ", index));
  }
  std::string payload;
  absl::Span<float> weights;
  ChunkVersion version;
  bool copy = false;
  {
    absl::MutexLock lock(&mutex_);
    Chunk& chunk = chunks_[index];
    const auto settled = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return chunk.open == 0 || !status_.ok(); };
    mutex_.Await(absl::Condition(&settled));
    if (!status_.ok()) return status_;
    copy = std::exchange(chunk.has_weights, false);
    payload = std::move(chunk.weights);
    chunk.weights.clear();
    weights = chunk.landing;
    version = chunk.version;
  }
  if (copy) DecodeWeights(payload, weights);
  return version;
}

void ParameterClientCore::Fail(const absl::Status& reason) {
  absl::MutexLock lock(&mutex_);
  FailLocked(reason);
}

void ParameterClientCore::FailLocked(const absl::Status& reason) {
  if (status_.ok()) status_ = reason;
  for (Server& server : servers_) {
    Cancel(server);
  }
  timer_wake_.SignalAll();
}

void ParameterClientCore::Cancel(Server& server) {
  if (server.stream != nullptr && !server.broken) server.stream->Cancel();
}

absl::Status ParameterClientCore::status() const {
  absl::MutexLock lock(&mutex_);
  return status_;
}

ParameterClientStats ParameterClientCore::stats() const {
  absl::MutexLock lock(&mutex_);
  return stats_;
}

void ParameterClientCore::Connect(int index) {
  Server& server = servers_[index];
  server.broken = false;
  server.writing = false;
  server.stream = new ParameterStream(*this, index);  // Deletes itself before OnEnded.
  ++live_streams_;
  server.stream->Start(*server.stub);
  Pump(index);
}

void ParameterClientCore::Pump(int index) {
  Server& server = servers_[index];
  if (server.stream == nullptr || server.broken || server.writing || server.unsent.empty() || !status_.ok()) return;
  const uint64_t id = server.unsent.front();
  server.unsent.pop_front();
  Request& request = server.open.at(id);
  request.queued = false;
  // The grace covers the way; the server counts its deadline from arrival.
  request.answer_by = absl::Now() + options_.request_deadline + options_.answer_grace;
  const ParameterCall call = request.call;
  ParameterStream* const stream = server.stream;
  // Nobody else touches the stream's message, and nobody releases the stream, while `writing` is set.
  server.writing = true;
  if (call.push) stats_.pushed_bytes += static_cast<int64_t>(call.push->payload.size() * sizeof(float));
  mutex_.Unlock();
  EncodeCall(options_.caller, call, id, static_cast<uint32_t>(absl::ToInt64Milliseconds(options_.request_deadline)),
             stream->request());
  mutex_.Lock();
  stream->Write();
}

void ParameterClientCore::OnWritten(ParameterStream& stream) {
  absl::MutexLock lock(&mutex_);
  Server& server = servers_[stream.server()];
  server.writing = false;
  if (server.broken) {
    stream.Release();
  } else {
    Pump(stream.server());
  }
}

void ParameterClientCore::OnBroken(ParameterStream& stream) {
  absl::MutexLock lock(&mutex_);
  Server& server = servers_[stream.server()];
  server.broken = true;
  if (!server.writing) stream.Release();
}

void ParameterClientCore::OnEnded(int index, const grpc::Status& status) {
  absl::MutexLock lock(&mutex_);
  Server& server = servers_[index];
  const absl::Time now = absl::Now();
  server.stream = nullptr;
  server.last_error = status.ok() ? "stream closed by the server" : status.error_message();
  server.silent_since = std::min(server.silent_since, now);
  server.reconnect_at = now + server.backoff->Next();
  server.unsent.clear();
  for (auto& [id, request] : server.open) {
    if (!request.queued) ++stats_.retries;
    request.queued = true;
    request.answer_by = request.resend_at = absl::InfiniteFuture();
    server.unsent.push_back(id);
  }
  if (Permanent(status.error_code()) && status_.ok()) {
    FailLocked(Annotate(FromGrpcStatus(status), server.name));
  }
  --live_streams_;
  timer_wake_.SignalAll();
}

void ParameterClientCore::OnResponse(ParameterStream& stream, v1::ParameterResponse& response) {
  absl::Status status = AnswerStatus(response);
  int64_t elements = -1;
  {
    absl::MutexLock lock(&mutex_);
    Server& server = servers_[stream.server()];
    server.silent_since = absl::InfiniteFuture();
    server.backoff->Reset();
    const auto it = server.open.find(response.request_id());
    if (it == server.open.end()) return;  // An answer to nothing that is open.
    if (it->second.call.pull) elements = chunk_elements_[it->second.call.chunk];
  }
  // Only this stream's reads, one at a time, erase the server's requests: the entry stays while the mutex is not held.
  if (status.ok() && elements >= 0) status = CheckWeights(response, elements);
  absl::MutexLock lock(&mutex_);
  Server& server = servers_[stream.server()];
  if (status.ok()) {
    Accept(server, response.request_id(), response);
  } else {
    Refuse(server, response.request_id(), status);
  }
}

void ParameterClientCore::Accept(Server& server, uint64_t id, v1::ParameterResponse& response) {
  const auto it = server.open.find(id);
  const Request& request = it->second;
  Chunk& chunk = chunks_[request.call.chunk];
  if (response.duplicate()) ++stats_.duplicates;
  if (request.call.pull) {
    stats_.pulled_bytes += static_cast<int64_t>(response.payload().size());
    chunk.weights = std::move(*response.mutable_payload());
    chunk.has_weights = true;
    chunk.pulling = false;
  }
  if (response.version() >= chunk.version.version) {
    chunk.version = {.version = response.version(), .min_clock = response.min_clock()};
  }
  if (request.queued) std::erase(server.unsent, id);
  server.open.erase(it);
  --open_requests_;
  --chunk.open;
}

void ParameterClientCore::Refuse(Server& server, uint64_t id, const absl::Status& status) {
  Request& request = server.open.at(id);
  const absl::Time now = absl::Now();
  switch (status.code()) {
    case absl::StatusCode::kDeadlineExceeded:  // The barrier lasts longer than one attempt.
      return Requeue(server, id, now);
    case absl::StatusCode::kUnavailable:
      return Requeue(server, id, now + kComeBackLater);
    case absl::StatusCode::kDataLoss:
      if (++request.damaged < kDamagedAttempts) return Requeue(server, id, now);
      break;
    default:
      break;
  }
  FailLocked(Annotate(status, absl::StrCat("chunk ", request.call.chunk, " on ", server.name)));
}

void ParameterClientCore::Requeue(Server& server, uint64_t id, absl::Time when) {
  Request& request = server.open.at(id);
  request.answer_by = absl::InfiniteFuture();
  ++stats_.retries;
  if (when > absl::Now()) {
    request.resend_at = when;
    timer_wake_.SignalAll();
    return;
  }
  request.resend_at = absl::InfiniteFuture();
  if (!request.queued) server.unsent.push_back(id);
  request.queued = true;
  Pump(chunks_[request.call.chunk].server);
}

void ParameterClientCore::RunTimer() {
  absl::MutexLock lock(&mutex_);
  while (!stopping_) {
    const absl::Time now = absl::Now();
    absl::Time wake = now + kTick;
    for (size_t i = 0; i < servers_.size() && status_.ok(); ++i) {
      Tick(static_cast<int>(i), now);
      const Server& server = servers_[i];
      if (server.stream == nullptr) wake = std::min(wake, server.reconnect_at);
      for (const auto& [id, request] : server.open) wake = std::min(wake, request.resend_at);
    }
    timer_wake_.WaitWithDeadline(&mutex_, wake);
  }
}

void ParameterClientCore::Tick(int index, absl::Time now) {
  Server& server = servers_[index];
  if (now - server.silent_since > options_.reconnect_limit) {
    return FailLocked(MakeError(absl::StatusCode::kUnavailable, "SERVER_UNREACHABLE",
                                absl::StrCat(server.name, " has not answered for ",
                                             absl::FormatDuration(options_.reconnect_limit), ": ", server.last_error)));
  }
  bool dead = false;
  for (auto& [id, request] : server.open) {
    if (now - request.created > options_.answer_limit) {
      return FailLocked(MakeError(absl::StatusCode::kDeadlineExceeded, "ANSWER_TIMEOUT",
                                  absl::StrCat("chunk ", request.call.chunk, " on ", server.name, ": no answer within ",
                                               absl::FormatDuration(options_.answer_limit))));
    }
    dead = dead || now > request.answer_by;
    if (now < request.resend_at) continue;
    request.resend_at = absl::InfiniteFuture();
    if (!request.queued) server.unsent.push_back(id);
    request.queued = true;
  }
  if (dead && server.stream != nullptr) {
    Cancel(server);  // OnEnded reconnects and sends everything again.
  } else if (server.stream == nullptr && now >= server.reconnect_at) {
    ++stats_.reconnections;
    Connect(index);
  } else {
    Pump(index);
  }
}

}  // namespace paramd
