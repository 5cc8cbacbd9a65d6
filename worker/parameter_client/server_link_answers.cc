// What comes back on a link's stream: answers, and its end; and what time does to requests that get none.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/error.h"
#include "common/base/failpoint.h"
#include "common/rpc/error_status.h"
#include "common/trace/trace_recorder.h"
#include "spdlog/spdlog.h"
#include "worker/parameter_client/call_message.h"
#include "worker/parameter_client/server_link.h"

namespace paramd {
namespace {

constexpr int kDamagedAttempts = 3;
// Before a request that was refused as UNAVAILABLE is sent again: doubled each time.
constexpr absl::Duration kFirstPause = absl::Milliseconds(100);
constexpr absl::Duration kLongestPause = absl::Seconds(1);
// Waits for a turn that are not worth a span.
constexpr int64_t kShortQueueNanos = 10'000;

// Ends of a call that no reconnection mends.
bool Permanent(grpc::StatusCode code) {
  return code == grpc::StatusCode::UNIMPLEMENTED || code == grpc::StatusCode::PERMISSION_DENIED ||
         code == grpc::StatusCode::UNAUTHENTICATED || code == grpc::StatusCode::INVALID_ARGUMENT;
}

}  // namespace

void ServerLink::OnResponse(ParameterStream& stream, const InboundResponse& response) {
  const uint64_t id = response.header.request_id;
  absl::Status status = AnswerStatus(response.header);
  if (status.ok()) status = HitFailpoint(Failpoint::kClientReceive);
  absl::Span<float> landing;
  bool offered = false;
  {
    absl::MutexLock lock(&mutex_);
    silent_since_ = absl::InfiniteFuture();
    backoff_.Reset();
    answered_ = true;
    if (id == kAttachId) OnAttachAnswer(status);
    if (const OpenRequest* request = table_.Find(id); request != nullptr && request->call.pull) {
      landing = request->call.pull->landing;
      offered = request->landing_offered;
    }
  }
  // Only this stream's reads, one at a time, end the link's requests: the landing is ours while the mutex is not held.
  if (status.ok() && !landing.empty()) status = HitFailpoint(Failpoint::kClientLand);
  if (status.ok() && !landing.empty()) status = LandWeights(response, pull_codec_, offered, landing);
  absl::Status fatal;
  {
    absl::MutexLock lock(&mutex_);
    OpenRequest* const request = table_.Find(id);  // Null: an answer to nothing that is open.
    if (request != nullptr && status.ok()) {
      Accept(*request, response);
    } else if (request != nullptr) {
      fatal = Refuse(*request, status);
    }
  }
  if (!fatal.ok()) return options_.owner.OnLinkFailed(fatal);
  Pump();
}

void ServerLink::Accept(OpenRequest& request, const InboundResponse& response) {
  const ResponseHeader& header = response.header;
  Chunk& chunk = chunks_[request.index];
  if (std::exchange(putting_off_, false)) {
    table_.ForEach([](OpenRequest& open) { open.put_off = 0; });
  }
  if (header.duplicate) ++stats_.duplicates;
  if (request.call.pull) {
    const size_t elements = request.call.pull->landing.size();
    const auto bytes = static_cast<int64_t>(WeightBytes(pull_codec_, elements));
    stats_.pulled_bytes += bytes;
    stats_.pulled[pull_codec_].wire_bytes += bytes;
    stats_.pulled[pull_codec_].raw_bytes += static_cast<int64_t>(elements * sizeof(float));
  }
  if (header.version >= chunk.version.version) {
    chunk.version = {.version = header.version, .min_clock = header.min_clock};
  }
  stats_.in_flight_bytes -= request.in_flight_bytes;
  if (TraceOn(options_.client.trace)) RecordSpans(request);
  if (!request.call.pull) --open_pushes_;
  table_.Erase(request);
  --options_.open_requests;
  --chunk.open;
}

void ServerLink::RecordSpans(const OpenRequest& request) {
  const RequestTimes& times = request.times;
  if (!request.step.has_value() || times.sent_ns == 0) return;
  const auto record = [&](const char* name, int64_t start_ns, int64_t end_ns) {
    options_.client.trace->Record({.lane = {"wire"},
                                   .name = name,
                                   .start_ns = start_ns,
                                   .end_ns = end_ns,
                                   .step = *request.step,
                                   .chunk = request.call.chunk});
  };
  const int64_t now_ns = TraceClockNanos();
  if (times.asked_ns != 0 && times.sent_ns - times.asked_ns >= kShortQueueNanos) {
    record("queue", times.asked_ns, times.sent_ns);
  }
  // Of a request that does both, the push ends when the transport has taken it, or with the answer if that is sooner.
  const bool both = request.call.push.has_value() && request.call.pull.has_value();
  const int64_t pushed_ns = both && times.written_ns != 0 ? times.written_ns : now_ns;
  if (request.call.push) record("push", times.sent_ns, pushed_ns);
  if (request.call.pull) record("pull", both ? pushed_ns : times.sent_ns, now_ns);
}

absl::Status ServerLink::Refuse(OpenRequest& request, const absl::Status& status) {
  const absl::Time now = absl::Now();
  request.refusal = status;
  switch (status.code()) {
    case absl::StatusCode::kDeadlineExceeded:  // The barrier lasts longer than one attempt.
      Requeue(request, now);
      return absl::OkStatus();
    case absl::StatusCode::kUnavailable:
      PutOff(request);
      return absl::OkStatus();
    case absl::StatusCode::kFailedPrecondition:
      if (ErrorReason(status) != "GENERATION_FENCED") break;
      RequeueFenced(request, status);
      return absl::OkStatus();
    case absl::StatusCode::kDataLoss:
      if (++request.damaged >= kDamagedAttempts) break;
      Requeue(request, now);
      return absl::OkStatus();
    default:
      break;
  }
  return Annotate(status, absl::StrCat("chunk ", request.call.chunk, " on ", name_));
}

void ServerLink::Requeue(OpenRequest& request, absl::Time when) {
  ++stats_.retries;
  stats_.in_flight_bytes -= std::exchange(request.in_flight_bytes, 0);
  request.answer_by = absl::InfiniteFuture();
  if (when > absl::Now()) {
    request.resend_at = when;
    options_.owner.WakeTimer();
  } else {
    table_.MarkUnsent(request);
  }
}

void ServerLink::PutOff(OpenRequest& request) {
  if (!std::exchange(putting_off_, true)) {
    spdlog::warn("job {}: {} refuses chunk {} for now, it is sent again until it is taken: {}: {}",
                 options_.client.caller.job_id, name_, request.call.chunk, ErrorReason(request.refusal),
                 std::string(request.refusal.message()));
  }
  absl::Duration pause = kFirstPause;
  for (int i = 0; i < request.put_off && pause < kLongestPause; ++i) pause *= 2;
  ++request.put_off;
  Requeue(request, absl::Now() + std::min(pause, kLongestPause));
}

void ServerLink::RequeueFenced(OpenRequest& request, const absl::Status& status) {
  if (request.generation < caller_.generation) return Requeue(request, absl::Now());
  ++stats_.retries;
  stats_.in_flight_bytes -= std::exchange(request.in_flight_bytes, 0);
  request.answer_by = absl::InfiniteFuture();
  request.fenced = true;
  if (fenced_since_ != absl::InfiniteFuture()) return;
  fenced_since_ = absl::Now();
  fenced_ = status;
}

void ServerLink::ChangeGeneration(uint64_t generation, uint32_t worker_index) {
  {
    absl::MutexLock lock(&mutex_);
    if (generation <= caller_.generation) return;
    caller_.generation = generation;
    caller_.worker_index = worker_index;
    fenced_since_ = absl::InfiniteFuture();
    table_.ForEach([this](OpenRequest& request) ABSL_NO_THREAD_SAFETY_ANALYSIS {
      if (std::exchange(request.fenced, false)) table_.MarkUnsent(request);
    });
  }
  Pump();
}

void ServerLink::OnAttachAnswer(const absl::Status& status) {
  if (attachment_ != Attachment::kAsked) return;
  attachment_ = status.ok() ? Attachment::kShared : Attachment::kNone;
  attach_by_ = absl::InfiniteFuture();
  if (status.ok()) return;
  ++stats_.shared_memory_refusals;
  if (std::exchange(refusal_logged_, true)) return;
  spdlog::warn("job {}: {} does not take shared memory, payloads go through the socket: {}",
               options_.client.caller.job_id, name_, std::string(status.message()));
}

void ServerLink::OnMalformed(ParameterStream& stream, const absl::Status& status) {
  absl::MutexLock lock(&mutex_);
  last_error_ = std::string(status.message());
}

void ServerLink::OnBroken(ParameterStream& stream) {
  absl::MutexLock lock(&mutex_);
  broken_ = true;
  if (!writing_) stream.Release();
}

void ServerLink::OnEnded(const grpc::Status& status) {
  absl::Status fatal;
  {
    absl::MutexLock lock(&mutex_);
    const absl::Time now = absl::Now();
    if (status.error_code() != grpc::StatusCode::CANCELLED || last_error_.empty()) {
      last_error_ = status.ok() ? "stream closed by the server" : status.error_message();
    }
    silent_since_ = std::min(silent_since_, now);
    reconnect_at_ = now + backoff_.Next();
    transport_.OnStreamEnded(answered_);
    attach_by_ = absl::InfiniteFuture();
    table_.ForEach([this](OpenRequest& request) ABSL_NO_THREAD_SAFETY_ANALYSIS {
      if (!request.unsent && request.resend_at == absl::InfiniteFuture()) ++stats_.retries;
      request.answer_by = request.resend_at = absl::InfiniteFuture();
      request.in_flight_bytes = 0;
      request.fenced = false;  // The server says so again.
      table_.MarkUnsent(request);
    });
    stats_.in_flight_bytes = 0;
    // Who listens at the unix socket and never answered may be somebody else.
    const bool stranger = transport_.transport() == StreamTransport::kUnix && !answered_ &&
                          options_.client.transport == TransportPolicy::kAuto;
    if (Permanent(status.error_code()) && !stranger && status_.ok()) fatal = Annotate(FromGrpcStatus(status), name_);
  }
  if (!fatal.ok()) options_.owner.OnLinkFailed(fatal);
  absl::MutexLock lock(&mutex_);
  stream_ = nullptr;
  options_.owner.WakeTimer();
}

absl::Time ServerLink::Tick(absl::Time now) {
  absl::Time wake = absl::InfiniteFuture();
  absl::Status fatal;
  {
    absl::MutexLock lock(&mutex_);
    if (!status_.ok()) return wake;
    const absl::StatusOr<bool> dead = CheckDeadlines(now, wake);
    if (!dead.ok()) {
      fatal = dead.status();
    } else if (*dead) {
      CancelStream();  // OnEnded reconnects and sends everything again.
    } else if (stream_ == nullptr && now >= reconnect_at_) {
      ++stats_.reconnections;
      Connect();
    } else if (stream_ == nullptr) {
      wake = std::min(wake, reconnect_at_);
    }
  }
  if (fatal.ok()) {
    Pump();
  } else {
    options_.owner.OnLinkFailed(fatal);
  }
  return wake;
}

absl::StatusOr<bool> ServerLink::CheckDeadlines(absl::Time now, absl::Time& wake) {
  if (now - silent_since_ > options_.client.reconnect_limit) {
    return MakeError(absl::StatusCode::kUnavailable, "SERVER_UNREACHABLE",
                     absl::StrCat(name_, " has not answered for ",
                                  absl::FormatDuration(options_.client.reconnect_limit), ": ", last_error_));
  }
  if (now - fenced_since_ > options_.client.fence_limit) {
    return MakeError(fenced_.code(), ErrorReason(fenced_),
                     absl::StrCat(name_, ": ", fenced_.message(), "; no news of another generation for ",
                                  absl::FormatDuration(options_.client.fence_limit)));
  }
  bool dead = now > attach_by_;
  attach_given_up_ |= dead;
  absl::Status late;
  table_.ForEach([&](OpenRequest& request) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    if (now - request.created > options_.client.answer_limit) {
      const std::string last = request.refusal.ok() ? std::string("no answer")
                                                    : absl::StrCat("refused as ", ErrorReason(request.refusal), " (",
                                                                   request.refusal.message(), ") again and again");
      late = MakeError(absl::StatusCode::kDeadlineExceeded, "ANSWER_TIMEOUT",
                       absl::StrCat("chunk ", request.call.chunk, " on ", name_, ": ", last, " for ",
                                    absl::FormatDuration(options_.client.answer_limit)));
    }
    dead = dead || now > request.answer_by;
    if (now < request.resend_at) {
      wake = std::min(wake, request.resend_at);
    } else {
      request.resend_at = absl::InfiniteFuture();
      table_.MarkUnsent(request);
    }
  });
  if (!late.ok()) return late;
  return dead && stream_ != nullptr;
}

}  // namespace paramd
