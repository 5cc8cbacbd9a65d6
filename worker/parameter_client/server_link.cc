#include "worker/parameter_client/server_link.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/error.h"
#include "common/base/failpoint.h"
#include "common/base/shared_memory.h"
#include "common/partition/codec_plan.h"
#include "common/rpc/address.h"
#include "common/tensor/payload.h"
#include "common/trace/trace_recorder.h"
#include "spdlog/spdlog.h"
#include "worker/parameter_client/call_message.h"

namespace paramd {
namespace {

// Messages up to this size wait for those behind them, so that many go out in one write.
constexpr size_t kSmallMessageBytes = 16 * 1024;

std::string LinkName(const ServerLinkOptions& options) {
  const v1::ServerPlacement& server = options.client.placement.servers(options.server);
  return absl::StrCat("server ", options.server, " (", server.node_id(), " at ", server.address(), ")");
}

LinkTransport MakeTransport(const ServerLinkOptions& options) {
  const ParameterClientOptions& client = options.client;
  return LinkTransport(client.transport, client.placement.servers(options.server),
                       {.kind = ChannelKind::kBulk,
                        .max_message_bytes = options.max_message_bytes,
                        .credentials = client.credentials,
                        .bulk = client.bulk});
}

}  // namespace

ServerLink::ServerLink(ServerLinkOptions options)
    : options_(std::move(options)),
      name_(LinkName(options_)),
      pull_codec_(options_.client.codecs != nullptr ? options_.client.codecs->pull_codec() : v1::CODEC_FP32),
      caller_(options_.client.caller),
      chunks_(options_.chunks.size()),
      transport_(MakeTransport(options_)),
      backoff_(options_.client.reconnect, options_.client.caller.worker_incarnation + 31 * options_.stream +
                                              static_cast<uint64_t>(options_.server)) {}

void ServerLink::Start() {
  {
    absl::MutexLock lock(&mutex_);
    if (status_.ok()) Connect();
  }
  Pump();
}

void ServerLink::Connect() {
  transport_.Choose();
  if (transport_.address() != logged_address_) {
    logged_address_ = transport_.address();
    spdlog::info("job {}: {} over {}", options_.client.caller.job_id, name_, logged_address_);
  }
  const bool local = transport_.transport() == StreamTransport::kUnix;
  const bool offer = local && options_.client.shared_memory && options_.client.segment != nullptr;
  const bool always = options_.client.checksum == ChecksumPolicy::kAlways;
  // As the server decides, too.
  const bool guarded = local || IsLoopbackAddress(transport_.address()) || options_.client.credentials != nullptr;
  wants_checksum_ = always || !guarded;
  attachment_ = offer && !attach_given_up_ ? Attachment::kWanted : Attachment::kNone;
  PassFailpoint(Failpoint::kClientConnect);
  broken_ = writing_ = answered_ = false;
  stream_ = new ParameterStream(*this, always);  // Deletes itself before OnEnded.
  stream_->Start(transport_.channel());
}

absl::Status ServerLink::Send(int index, const ParameterCall& call, PushBytes push) {
  {
    absl::MutexLock lock(&mutex_);
    if (!status_.ok()) return status_;
    Chunk& chunk = chunks_[index];
    if (call.pull && chunk.pulled) {
      return absl::FailedPreconditionError(absl::StrCat("chunk ", call.chunk, " is being pulled already"));
    }
    if (options_.open_requests >= options_.client.max_open_requests) {
      return absl::ResourceExhaustedError(absl::StrCat(options_.open_requests.load(), " requests are open"));
    }
    chunk.pulled |= call.pull.has_value();
    if (call.push && call.pull && options_.credit_bytes > 0) {
      Add(index, {.chunk = call.chunk, .push = call.push}, std::move(push));
      Add(index, {.chunk = call.chunk, .pull = call.pull}, {}).step = call.push->step;
    } else {
      Add(index, call, std::move(push));
    }
  }
  Pump();
  return absl::OkStatus();
}

OpenRequest& ServerLink::Add(int index, const ParameterCall& call, PushBytes push) {
  OpenRequest& request = table_.Add(call);
  request.index = index;
  request.push = std::move(push);
  request.created = absl::Now();
  if (call.push) request.step = call.push->step;
  if (TraceOn(options_.client.trace)) request.times.asked_ns = TraceClockNanos();
  ++chunks_[index].open;
  if (!call.pull) ++open_pushes_;
  ++options_.open_requests;
  return request;
}

absl::StatusOr<ChunkVersion> ServerLink::WaitForChunk(int index) {
  ChunkVersion version;
  {
    absl::MutexLock lock(&mutex_);
    Chunk& chunk = chunks_[index];
    const auto settled = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
      return chunk.open == 0 || interrupted_ || !status_.ok();
    };
    mutex_.Await(absl::Condition(&settled));
    if (!status_.ok()) return status_;
    if (interrupted_) return MakeError(absl::StatusCode::kAborted, "WAIT_INTERRUPTED", "the wait was interrupted");
    version = chunk.version;
  }
  const bool released = options_.holds->WaitForChunk(options_.chunks[index]);
  absl::MutexLock lock(&mutex_);
  if (!released) return status_;  // Only a failure ends the wait early.
  chunks_[index].pulled = false;
  return version;
}

absl::Status ServerLink::WaitForPushes() {
  absl::MutexLock lock(&mutex_);
  const auto settled = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return open_pushes_ == 0 || !status_.ok(); };
  mutex_.Await(absl::Condition(&settled));
  return status_;
}

void ServerLink::SetInterrupted(bool interrupted) {
  absl::MutexLock lock(&mutex_);
  interrupted_ = interrupted;
}

void ServerLink::Fail(const absl::Status& reason) {
  absl::MutexLock lock(&mutex_);
  if (status_.ok()) status_ = reason;
  CancelStream();
}

void ServerLink::CancelStream() {
  if (stream_ != nullptr && !broken_) stream_->Cancel();
}

void ServerLink::Stop() {
  std::array<std::shared_ptr<grpc::Channel>, 2> channels;
  absl::MutexLock lock(&mutex_);
  const auto quiet = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return stream_ == nullptr; };
  mutex_.Await(absl::Condition(&quiet));
  channels = transport_.TakeChannels();
}

std::shared_ptr<grpc::Channel> ServerLink::channel() const {
  absl::MutexLock lock(&mutex_);
  return transport_.channel();
}

ParameterClientStats ServerLink::stats() const {
  absl::MutexLock lock(&mutex_);
  ParameterClientStats stats = stats_;
  stats.open_requests = table_.size();
  if (stream_ != nullptr && !broken_) {
    const StreamTransport transport =
        attachment_ == Attachment::kShared ? StreamTransport::kSharedMemory : transport_.transport();
    stats.streams[static_cast<int>(transport)] = 1;
  }
  return stats;
}

void ServerLink::Pump() {
  grpc::WriteOptions options;
  ParameterStream* stream = nullptr;
  {
    absl::MutexLock lock(&mutex_);
    stream = PrepareWrite(options);
  }
  // While `writing_` is set nobody else writes, and nobody releases the stream.
  if (stream == nullptr) return;
  PassFailpoint(Failpoint::kClientSend);
  stream->Write(options);
}

ParameterStream* ServerLink::PrepareWrite(grpc::WriteOptions& options) {
  if (stream_ == nullptr || broken_ || writing_ || !status_.ok() || attachment_ == Attachment::kAsked) return nullptr;
  if (attachment_ == Attachment::kWanted) {
    attachment_ = Attachment::kAsked;
    attach_by_ = absl::Now() + options_.client.answer_grace;
    stream_->message() = EncodeAttach();
  } else {
    OpenRequest* const request = Sendable();
    if (request == nullptr) return nullptr;
    table_.MarkSent(*request);
    written_id_ = request->id;
    request->times.written_ns = 0;
    request->times.sent_ns = TraceOn(options_.client.trace) ? TraceClockNanos() : 0;
    // The grace covers the way; the server counts its deadline from arrival.
    request->answer_by = absl::Now() + options_.client.request_deadline + options_.client.answer_grace;
    stream_->message() = Encode(*request);
    if (request->call.push && !request->landing_offered && SwitchFailpoint(Failpoint::kClientSendTwice)) {
      stats_.in_flight_bytes -= std::exchange(request->in_flight_bytes, 0);
      table_.MarkUnsent(*request);
    }
    const bool more = Sendable() != nullptr;
    if (more && stream_->message().Length() <= kSmallMessageBytes) options.set_buffer_hint();
  }
  writing_ = true;
  return stream_;
}

OpenRequest* ServerLink::Sendable() {
  OpenRequest* const request = table_.Next();
  if (request == nullptr || !request->call.push || options_.credit_bytes == 0 || stats_.in_flight_bytes == 0) {
    return request;
  }
  if (Shareable(request->push.bytes.data(), request->push.bytes.size())) return request;
  const auto bytes = static_cast<int64_t>(request->push.bytes.size());
  return stats_.in_flight_bytes + bytes <= options_.credit_bytes ? request : nullptr;
}

bool ServerLink::Shareable(const void* bytes, size_t size) const {
  return attachment_ == Attachment::kShared && options_.client.segment->Contains(bytes, size);
}

grpc::ByteBuffer ServerLink::Encode(OpenRequest& request) {
  const ParameterClientOptions& client = options_.client;
  request.generation = caller_.generation;
  RequestHeader header = MakeHeader(caller_, request.call, request.id,
                                    static_cast<uint32_t>(absl::ToInt64Milliseconds(client.request_deadline)));
  grpc::Slice payload;
  if (request.call.push) {
    PushBytes& push = request.push;
    header.codec = push.codec;
    if (wants_checksum_ && !push.has_crc32c) {  // The stream before this one had no need of it.
      push.crc32c = Crc32c(PayloadView(push.bytes));
      push.has_crc32c = true;
    }
    if (wants_checksum_) header.crc32c = push.crc32c;
    if (wants_checksum_ && SwitchFailpoint(Failpoint::kClientSendDamaged)) header.crc32c ^= 0x80000000u;
    if (Shareable(push.bytes.data(), push.bytes.size())) {
      header.shared_payload_offset = client.segment->OffsetOf(push.bytes.data());
      header.shared_payload_bytes = push.bytes.size();
    } else {
      payload = options_.holds->Hold(request.call.chunk, push.bytes, push.owner);
      request.in_flight_bytes = static_cast<int64_t>(push.bytes.size());
      stats_.in_flight_bytes += request.in_flight_bytes;
    }
    stats_.pushed_bytes += static_cast<int64_t>(push.bytes.size());
    stats_.pushed[push.codec].wire_bytes += static_cast<int64_t>(push.bytes.size());
    stats_.pushed[push.codec].raw_bytes += push.raw_bytes;
  }
  request.landing_offered = false;
  if (request.call.pull) {
    const absl::Span<float> landing = request.call.pull->landing;
    if (pull_codec_ != v1::CODEC_FP32) header.answer_codec = pull_codec_;
    request.landing_offered = Shareable(landing.data(), landing.size() * sizeof(float));
    if (request.landing_offered) header.shared_answer_offset = client.segment->OffsetOf(landing.data());
  }
  return EncodeRequest(header, absl::MakeConstSpan(&payload, payload.size() == 0 ? 0 : 1));
}

grpc::ByteBuffer ServerLink::EncodeAttach() {
  const SharedSegment& segment = *options_.client.segment;
  RequestHeader header = MakeHeader(caller_, {}, kAttachId, 0);
  header.operation = v1::OPERATION_ATTACH;
  header.shared_memory =
      SharedMemoryName{.pid = segment.pid(), .fd = segment.fd(), .bytes = segment.bytes(), .token = segment.token()};
  return EncodeRequest(header, {});
}

void ServerLink::OnWritten(ParameterStream& stream) {
  {
    absl::MutexLock lock(&mutex_);
    stream.message().Clear();  // With it goes the last reference to the payload, unless the transport keeps one.
    writing_ = false;
    OpenRequest* const request = TraceOn(options_.client.trace) ? table_.Find(written_id_) : nullptr;
    if (request != nullptr) request->times.written_ns = TraceClockNanos();
    if (broken_) stream.Release();
  }
  Pump();
}

}  // namespace paramd
