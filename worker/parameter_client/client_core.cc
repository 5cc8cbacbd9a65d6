#include "worker/parameter_client/client_core.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"
#include "common/tensor/payload.h"

namespace paramd {
namespace {

constexpr absl::Duration kTick = absl::Milliseconds(500);

std::shared_ptr<EncodedBuffers> MakeEncoder(const ParameterClientOptions& options) {
  if (options.codecs == nullptr || options.codecs->lossless()) return nullptr;
  return std::make_shared<EncodedBuffers>(*options.codecs, options.segment);
}

absl::string_view Bytes(absl::Span<const float> values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

}  // namespace

ParameterClientCore::ParameterClientCore(ParameterClientOptions options, const ArenaPlan& plan)
    : options_(std::move(options)),
      holds_(std::make_shared<PayloadHolds>(plan.chunk_count())),
      encoder_(MakeEncoder(options_)) {
  for (int chunk = 0; chunk < plan.chunk_count(); ++chunk) chunk_elements_.push_back(plan.ChunkRange(chunk).size());
  MakeLinks(plan);
}

void ParameterClientCore::MakeLinks(const ArenaPlan& plan) {
  const int servers = options_.placement.servers_size();
  const int streams = options_.streams_per_server;
  std::vector<std::vector<int>> chunks(static_cast<size_t>(servers) * streams);  // By link.
  std::vector<int> dealt(servers, 0);
  for (int chunk = 0; chunk < plan.chunk_count(); ++chunk) {
    const auto server = static_cast<int>(options_.placement.chunk_server(chunk));
    const int link = server * streams + dealt[server]++ % streams;
    routes_.push_back({.link = link, .index = static_cast<int>(chunks[link].size())});
    chunks[link].push_back(chunk);
  }
  const int64_t credit = options_.max_bytes_in_flight;
  for (int link = 0; link < servers * streams; ++link) {
    links_.push_back(std::make_unique<ServerLink>(
        ServerLinkOptions{.client = options_,
                          .server = link / streams,
                          .stream = link % streams,
                          .chunks = std::move(chunks[link]),
                          .max_message_bytes = plan.chunk_elements() * int64_t{sizeof(float)} + kMessageOverheadBytes,
                          .credit_bytes = credit == 0 ? 0 : std::max<int64_t>(credit / streams, 1),
                          .owner = *this,
                          .holds = holds_,
                          .open_requests = open_requests_}));
  }
}

void ParameterClientCore::Start() {
  for (const auto& link : links_) link->Start();
  timer_ = std::thread([this] { RunTimer(); });
}

void ParameterClientCore::Stop() {
  Fail(absl::CancelledError("parameter client stopped"));
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    timer_wake_.SignalAll();
  }
  if (timer_.joinable()) timer_.join();
  for (const auto& link : links_) link->Stop();
  // The calls are over, but a connection may still be writing the rest of a message.
  if (options_.payload_owner == nullptr) holds_->WaitForAll();
}

absl::Status ParameterClientCore::WaitForConnections(absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  for (const auto& link : links_) {
    // In slices, so that Cancel ends the wait, and because a link may turn to another channel.
    while (!link->channel()->WaitForConnected(
        absl::ToChronoTime(std::min(deadline, absl::Now() + absl::Milliseconds(200))))) {
      RETURN_IF_ERROR(status());
      if (absl::Now() < deadline) continue;
      return MakeError(absl::StatusCode::kUnavailable, "SERVER_UNREACHABLE",
                       absl::StrCat("no connection to ", link->name(), " within ", absl::FormatDuration(timeout)));
    }
  }
  return status();
}

absl::Status ParameterClientCore::Check(const ParameterCall& call) const {
  if (call.chunk < 0 || call.chunk >= static_cast<int>(chunk_elements_.size())) {
    return absl::InvalidArgumentError(absl::StrCat("no chunk ", call.chunk));
  }
  const auto elements = static_cast<size_t>(chunk_elements_[call.chunk]);
  const auto check = [&](absl::string_view what, size_t size) {
    if (size == elements) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat(what, " of ", size, " elements for chunk ", call.chunk, " of ", elements));
  };
  if (call.push) RETURN_IF_ERROR(check("payload", call.push->payload.size()));
  if (call.push && !call.push->residual.empty()) RETURN_IF_ERROR(check("residual", call.push->residual.size()));
  if (call.pull) RETURN_IF_ERROR(check("landing", call.pull->landing.size()));
  return absl::OkStatus();
}

absl::StatusOr<PushBytes> ParameterClientCore::Encode(const ParameterCall& call, const ServerLink& link) {
  const PushPart& part = *call.push;
  PushBytes push = {.raw_bytes = static_cast<int64_t>(part.payload.size() * sizeof(float))};
  if (encoder_ == nullptr || options_.codecs->CodecOf(call.chunk) == v1::CODEC_FP32) {
    push.bytes = Bytes(part.payload);
    push.owner = options_.payload_owner;
  } else {
    const absl::Span<float> residual = options_.codecs->NeedsResidual(call.chunk) ? part.residual : absl::Span<float>();
    ASSIGN_OR_RETURN(std::shared_ptr<const EncodedBuffer> encoded,
                     encoder_->Encode(call.chunk, part.payload, residual));
    push.bytes = encoded->bytes();
    push.owner = std::move(encoded);
    push.codec = options_.codecs->CodecOf(call.chunk);
  }
  if (link.wants_checksum()) {
    push.crc32c = Crc32c(PayloadView(push.bytes));
    push.has_crc32c = true;
  }
  return push;
}

absl::Status ParameterClientCore::Send(const ParameterCall& call) {
  RETURN_IF_ERROR(Check(call));
  const Route route = routes_[call.chunk];
  ServerLink& link = *links_[route.link];
  PushBytes push;
  if (call.push) {
    ASSIGN_OR_RETURN(push, Encode(call, link));
  }
  return link.Send(route.index, call, std::move(push));
}

absl::StatusOr<ChunkVersion> ParameterClientCore::WaitForChunk(int chunk) {
  if (chunk < 0 || chunk >= static_cast<int>(chunk_elements_.size())) {
    return absl::InvalidArgumentError(absl::StrCat("no chunk ", chunk));
  }
  return links_[routes_[chunk].link]->WaitForChunk(routes_[chunk].index);
}

absl::Status ParameterClientCore::WaitForPushes() {
  for (const auto& link : links_) RETURN_IF_ERROR(link->WaitForPushes());
  for (int chunk = 0; chunk < static_cast<int>(chunk_elements_.size()); ++chunk) {
    if (!holds_->WaitForChunk(chunk)) return status();
  }
  return absl::OkStatus();
}

void ParameterClientCore::ChangeGeneration(uint64_t generation, uint32_t worker_index) {
  for (const auto& link : links_) link->ChangeGeneration(generation, worker_index);
}

void ParameterClientCore::SetInterrupted(bool interrupted) {
  for (const auto& link : links_) link->SetInterrupted(interrupted);
}

void ParameterClientCore::Fail(const absl::Status& reason) {
  {
    absl::MutexLock lock(&mutex_);
    if (!status_.ok()) return;
    status_ = reason;
  }
  for (const auto& link : links_) link->Fail(reason);
  holds_->Cancel();  // After the links: who waits for a payload finds the reason there.
}

absl::Status ParameterClientCore::status() const {
  absl::MutexLock lock(&mutex_);
  return status_;
}

ParameterClientStats ParameterClientCore::stats() const {
  ParameterClientStats stats;
  for (const auto& link : links_) AddStats(link->stats(), stats);
  return stats;
}

void ParameterClientCore::WakeTimer() {
  absl::MutexLock lock(&mutex_);
  timer_wanted_ = true;
  timer_wake_.SignalAll();
}

void ParameterClientCore::RunTimer() {
  while (true) {
    absl::Time wake = absl::Now() + kTick;
    for (const auto& link : links_) wake = std::min(wake, link->Tick(absl::Now()));
    absl::MutexLock lock(&mutex_);
    if (!timer_wanted_ && !stopping_) timer_wake_.WaitWithDeadline(&mutex_, wake);
    if (stopping_) return;
    timer_wanted_ = false;
  }
}

}  // namespace paramd
