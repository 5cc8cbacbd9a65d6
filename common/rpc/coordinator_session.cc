#include "common/rpc/coordinator_session.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <optional>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/base/boot_time.h"
#include "common/base/error.h"
#include "common/base/failpoint.h"
#include "common/rpc/channel_cache.h"
#include "common/rpc/coordinator_choice.h"
#include "common/rpc/coordinator_stream.h"
#include "common/rpc/error_status.h"
#include "common/rpc/report_buffer.h"
#include "common/rpc/tls_hint.h"
#include "proto/cluster.grpc.pb.h"
#include "spdlog/spdlog.h"

namespace paramd {
namespace {

constexpr absl::Duration kWelcomeTimeout = absl::Seconds(10);
// With several coordinators, of which one may stand still: the next one is asked sooner. While a lease is held, a part
// of it, so that there is time to find the new leader before it ends.
constexpr absl::Duration kWelcomeTimeoutOfSeveral = absl::Seconds(3);
constexpr double kWelcomePart = 0.2;
constexpr double kSilentPart = 0.3;  // A heartbeat not acknowledged for so long.
constexpr double kPausePart = 0.1;
constexpr absl::Duration kGoodbyeTimeout = absl::Seconds(2);
constexpr absl::Duration kMinHeartbeat = absl::Milliseconds(5);
// Messages that may wait on a stream; reports stay in the buffer beyond it.
constexpr size_t kMaxQueued = 256;
// A stream that is alive but slow is looked at again after this.
constexpr absl::Duration kQueuePoll = absl::Milliseconds(50);

constexpr int64_t kNoLeaseYet = -1;

absl::Duration Now() { return BootTime(); }

// What threads hand to the loop. Shared with streams, which may outlive the session.
struct Mailbox {
  absl::Mutex mutex;
  absl::CondVar changed;
  // Events of the current stream only: others carry an older stream number and are ignored.
  std::deque<std::pair<int, CoordinatorStream::Event>> events ABSL_GUARDED_BY(mutex);
  ReportBuffer reports ABSL_GUARDED_BY(mutex);
  bool overflow ABSL_GUARDED_BY(mutex) = false;
  bool stopping ABSL_GUARDED_BY(mutex) = false;
  std::string stop_reason ABSL_GUARDED_BY(mutex);
  std::atomic<int64_t> lease_end = kNoLeaseYet;  // In the clock's nanoseconds; 0 when it is lost.
  uint64_t memory_used_bytes ABSL_GUARDED_BY(mutex) = 0;
};

// An address that is no list is for gRPC to refuse.
std::vector<std::string> Addresses(const std::string& text) {
  absl::StatusOr<std::vector<std::string>> addresses = ParseCoordinatorList(text);
  return addresses.ok() ? *std::move(addresses) : std::vector<std::string>{text};
}

}  // namespace

class CoordinatorSession::Loop {
 public:
  Loop(CoordinatorSessionOptions options, CoordinatorSessionHandler& handler)
      : options_(std::move(options)),
        handler_(handler),
        backoff_(options_.reconnect, absl::Uniform<uint64_t>(absl::BitGen())),
        choice_(Addresses(options_.coordinator_address)),
        channels_({.credentials = options_.credentials}) {}

  void Start();
  void Stop(const std::string& reason);
  void Report(v1::JobReport report);
  Mailbox& mailbox() { return *mailbox_; }

 private:
  // On the loop's thread.
  void Run();
  void Connect();
  absl::Duration NextWakeUp(bool unsent) const;
  // False when there is nothing to do before NextWakeUp.
  std::optional<std::pair<int, CoordinatorStream::Event>> WaitForEvent();
  void HandleEvent(CoordinatorStream::Event event);
  void HandleMessage(const v1::CoordinatorMessage& message);
  void HandleWelcome(const v1::Welcome& welcome);
  void HandleHeartbeatAck(uint64_t sequence);
  void HandleDone(const absl::Status& status);
  void Abandon(const absl::Status& why);
  // When the coordinator is taken for one that stands still.
  absl::Duration SilentAt() const;
  absl::Duration WelcomeTimeout() const;
  void RunTimers();
  void SendHeartbeat();
  void SendReports();
  void SetLeaseEnd(absl::Duration end);
  void LoseLease(const char* why);
  void Orphan();
  void SayGoodbye();
  bool Stopping() const;

  // Constant after construction.
  const CoordinatorSessionOptions options_;
  CoordinatorSessionHandler& handler_;
  const std::shared_ptr<Mailbox> mailbox_ = std::make_shared<Mailbox>();
  std::thread thread_;

  // Used by the loop's thread only.
  Backoff backoff_;
  CoordinatorChoice choice_;
  ChannelCache channels_;
  std::string address_;                        // Of the current stream's coordinator.
  uint64_t term_ = 0;                          // The highest welcomed in, until Orphan.
  std::shared_ptr<CoordinatorStream> stream_;  // Null between connections.
  int stream_number_ = 0;
  bool ready_ = false;    // Welcomed on this stream.
  bool refused_ = false;  // For good; only Stop is left.
  bool leased_ = false;
  absl::Duration lease_ = absl::ZeroDuration();
  absl::Duration heartbeat_interval_ = absl::ZeroDuration();
  absl::Duration register_time_ = absl::ZeroDuration();
  absl::Duration lease_end_ = absl::InfiniteDuration();
  absl::Duration orphaned_at_ = absl::InfiniteDuration();  // Finite between the lease's end and the next, or Orphan.
  absl::Duration next_heartbeat_ = absl::InfiniteDuration();
  absl::Duration reconnect_at_ = absl::ZeroDuration();
  uint64_t heartbeat_sequence_ = 0;
  std::deque<std::pair<uint64_t, absl::Duration>> heartbeats_;  // Not acknowledged, with sending times.
};

void CoordinatorSession::Loop::Start() {
  thread_ = std::thread([this] { Run(); });
}

void CoordinatorSession::Loop::Stop(const std::string& reason) {
  {
    absl::MutexLock lock(&mailbox_->mutex);
    if (!mailbox_->stopping) mailbox_->stop_reason = reason;
    mailbox_->stopping = true;
    mailbox_->changed.Signal();
  }
  if (thread_.joinable()) thread_.join();
}

void CoordinatorSession::Loop::Report(v1::JobReport report) {
  absl::MutexLock lock(&mailbox_->mutex);
  if (!mailbox_->reports.Add(std::move(report))) mailbox_->overflow = true;
  mailbox_->changed.Signal();
}

bool CoordinatorSession::Loop::Stopping() const {
  absl::MutexLock lock(&mailbox_->mutex);
  return mailbox_->stopping;
}

void CoordinatorSession::Loop::Run() {
  while (!Stopping()) {
    if (stream_ == nullptr && !refused_ && Now() >= reconnect_at_) Connect();
    auto event = WaitForEvent();
    if (event.has_value() && event->first == stream_number_ && stream_ != nullptr)
      HandleEvent(std::move(event->second));
    RunTimers();
  }
  mailbox_->lease_end = 0;  // First: who hears the goodbye gives the jobs to others.
  SayGoodbye();
}

void CoordinatorSession::Loop::Connect() {
  address_ = choice_.current();
  if (const absl::Status injected = HitFailpoint(Failpoint::kSessionConnect); !injected.ok())
    return HandleDone(injected);
  const int number = ++stream_number_;
  const auto stub = v1::ClusterService::NewStub(channels_.Get(address_));
  stream_ = CoordinatorStream::Open(*stub, [mailbox = mailbox_, number](CoordinatorStream::Event event) {
    absl::MutexLock lock(&mailbox->mutex);
    mailbox->events.emplace_back(number, std::move(event));
    mailbox->changed.Signal();
  });
  ready_ = false;
  heartbeats_.clear();
  register_time_ = Now();
  v1::DaemonMessage message;
  *message.mutable_register_() = options_.registration;
  for (v1::HeldJob& job : handler_.HeldJobs()) *message.mutable_register_()->add_held_jobs() = std::move(job);
  stream_->Send(std::move(message));
}

absl::Duration CoordinatorSession::Loop::NextWakeUp(bool unsent) const {
  absl::Duration next = leased_ ? lease_end_ : orphaned_at_;
  if (stream_ == nullptr) return refused_ ? next : std::min(next, reconnect_at_);
  if (!ready_) return std::min(next, register_time_ + WelcomeTimeout());
  next = std::min(next, SilentAt());
  if (unsent) next = std::min(next, Now() + kQueuePoll);
  return std::min(next, next_heartbeat_);
}

std::optional<std::pair<int, CoordinatorStream::Event>> CoordinatorSession::Loop::WaitForEvent() {
  absl::MutexLock lock(&mailbox_->mutex);
  const auto ready_to_send = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mailbox_->mutex) {
    return ready_ && mailbox_->reports.has_unsent();
  };
  // A queue that is full is waited for with the timer alone; else new reports end the wait.
  const bool full = stream_ != nullptr && stream_->queued() >= kMaxQueued;
  while (mailbox_->events.empty() && !mailbox_->stopping && !mailbox_->overflow && (full || !ready_to_send())) {
    const absl::Duration pause = NextWakeUp(full && ready_to_send()) - Now();
    if (pause <= absl::ZeroDuration()) break;
    if (mailbox_->changed.WaitWithTimeout(&mailbox_->mutex, pause)) break;
  }
  if (mailbox_->events.empty()) return std::nullopt;
  auto event = std::move(mailbox_->events.front());
  mailbox_->events.pop_front();
  return event;
}

void CoordinatorSession::Loop::HandleEvent(CoordinatorStream::Event event) {
  if (event.done) {
    HandleDone(event.status);
    return;
  }
  HandleMessage(event.message);
  if (stream_ != nullptr) stream_->ReadNext();
}

void CoordinatorSession::Loop::HandleMessage(const v1::CoordinatorMessage& message) {
  switch (message.message_case()) {
    case v1::CoordinatorMessage::kWelcome:
      return HandleWelcome(message.welcome());
    case v1::CoordinatorMessage::kHeartbeatAck:
      return HandleHeartbeatAck(message.heartbeat_ack().sequence());
    case v1::CoordinatorMessage::kReportAck: {
      if (!HitFailpoint(Failpoint::kSessionReportAcknowledged).ok()) return stream_->Cancel();
      absl::MutexLock lock(&mailbox_->mutex);
      return mailbox_->reports.Acknowledge(message.report_ack().number());
    }
    case v1::CoordinatorMessage::kRefused: {
      refused_ = true;
      ready_ = false;
      absl::Status status = FromRpcStatus(message.refused());
      if (status.ok())
        status = absl::FailedPreconditionError("the coordinator refused the registration without a reason");
      handler_.OnRefused(status);
      return stream_->CloseWrites();
    }
    case v1::CoordinatorMessage::MESSAGE_NOT_SET:
      spdlog::warn("coordinator {} sent a message of an unknown kind; ignored", address_);
      return;
    default:
      if (!HitFailpoint(Failpoint::kSessionCommand).ok()) return stream_->Cancel();
      handler_.OnCommand(message);
  }
}

void CoordinatorSession::Loop::HandleWelcome(const v1::Welcome& welcome) {
  if (welcome.term() < term_) {
    return Abandon(absl::UnavailableError(
        absl::StrCat("it leads in term ", welcome.term(), ", but was deposed: term ", term_, " has begun")));
  }
  lease_ = absl::Milliseconds(welcome.lease_ms());
  heartbeat_interval_ = std::max(absl::Milliseconds(welcome.heartbeat_ms()), kMinHeartbeat);
  if (heartbeat_interval_ >= lease_) {
    spdlog::error("coordinator {} offers a lease of {} ms with heartbeats every {} ms; such a lease cannot be kept",
                  address_, welcome.lease_ms(), welcome.heartbeat_ms());
    stream_->Cancel();
    return;
  }
  term_ = welcome.term();
  ready_ = true;
  leased_ = true;
  choice_.Served();
  orphaned_at_ = absl::InfiniteDuration();
  SetLeaseEnd(register_time_ + lease_);
  next_heartbeat_ = Now() + heartbeat_interval_;
  backoff_.Reset();
  spdlog::info("registered with coordinator {} at {}: lease {} ms, heartbeat {} ms", welcome.coordinator_id(), address_,
               welcome.lease_ms(), welcome.heartbeat_ms());
  {
    absl::MutexLock lock(&mailbox_->mutex);
    mailbox_->reports.ConnectionLost();  // What an earlier stream carried may not have arrived.
  }
  PassFailpoint(Failpoint::kSessionWelcome);
  handler_.OnWelcome();
}

void CoordinatorSession::Loop::HandleHeartbeatAck(uint64_t sequence) {
  while (!heartbeats_.empty() && heartbeats_.front().first <= sequence) {
    if (leased_) SetLeaseEnd(heartbeats_.front().second + lease_);
    heartbeats_.pop_front();
  }
}

void CoordinatorSession::Loop::SetLeaseEnd(absl::Duration end) {
  lease_end_ = end;
  mailbox_->lease_end = absl::ToInt64Nanoseconds(end);
}

void CoordinatorSession::Loop::HandleDone(const absl::Status& status) {
  stream_ = nullptr;
  // One that served and then ends the session may do so again at once.
  const bool served = std::exchange(ready_, false) && ErrorReason(status) != "NOT_LEADER";
  absl::Duration pause = absl::ZeroDuration();
  if (!choice_.Next(status) || served)
    pause = leased_ ? std::min(backoff_.Next(), lease_ * kPausePart) : backoff_.Next();
  reconnect_at_ = Now() + pause;
  if (refused_) return;
  const std::string cause(status.ok() ? "closed by the coordinator" : status.message());
  const TlsHint hint = ExplainTls(cause, options_.credentials != nullptr);
  spdlog::warn("session with coordinator {} ended ({}{}); trying {} in {} ms", address_, cause, std::string(hint.text),
               choice_.current(), absl::ToInt64Milliseconds(pause));
}

void CoordinatorSession::Loop::Abandon(const absl::Status& why) {
  stream_->Cancel();
  HandleDone(why);
}

// One coordinator alone is waited for until the lease ends: there is nobody else to ask.
absl::Duration CoordinatorSession::Loop::SilentAt() const {
  if (choice_.size() == 1 || heartbeats_.empty()) return absl::InfiniteDuration();
  return heartbeats_.front().second + std::max(lease_ * kSilentPart, 2 * heartbeat_interval_);
}

absl::Duration CoordinatorSession::Loop::WelcomeTimeout() const {
  if (choice_.size() == 1) return kWelcomeTimeout;
  return leased_ ? lease_ * kWelcomePart : kWelcomeTimeoutOfSeveral;
}

void CoordinatorSession::Loop::RunTimers() {
  bool overflow;
  {
    absl::MutexLock lock(&mailbox_->mutex);
    overflow = std::exchange(mailbox_->overflow, false);
    if (overflow) mailbox_->reports.Clear();
  }
  const absl::Duration now = Now();
  if (overflow) {
    LoseLease("too many reports wait for an acknowledgement");
    Orphan();
  }
  if (leased_ && now >= lease_end_) LoseLease("no heartbeat was acknowledged in time");
  // Not `now`: what was held under a lease lost just now may be due, before anybody else is told of it.
  if (Now() >= orphaned_at_) Orphan();
  if (stream_ != nullptr && !ready_ && !refused_ && now >= register_time_ + WelcomeTimeout()) {
    Abandon(absl::DeadlineExceededError("no answer to the registration"));
  }
  if (ready_ && now >= SilentAt()) Abandon(absl::DeadlineExceededError("it does not acknowledge heartbeats"));
  if (!ready_) return;
  if (now >= next_heartbeat_) SendHeartbeat();
  SendReports();
}

// The stream goes, too: the next registration tells the coordinator what the daemon still holds.
void CoordinatorSession::Loop::LoseLease(const char* why) {
  if (leased_) {
    spdlog::error("lease of {} lost: {}", options_.registration.node_id(), why);
    leased_ = false;
    mailbox_->lease_end = 0;
    orphaned_at_ = Now() + options_.orphan_timeout;
    PassFailpoint(Failpoint::kSessionLeaseLost);
    handler_.OnLeaseLost();
  }
  ready_ = false;
  if (stream_ != nullptr) Abandon(absl::DeadlineExceededError("lease lost"));
}

void CoordinatorSession::Loop::Orphan() {
  orphaned_at_ = absl::InfiniteDuration();
  handler_.OnOrphaned();
  term_ = 0;  // Nothing is held any more that an old leader could spoil.
  if (stream_ != nullptr && !refused_) Abandon(absl::DeadlineExceededError("what it was told of is dropped"));
}

void CoordinatorSession::Loop::SendHeartbeat() {
  const absl::Duration now = Now();
  next_heartbeat_ = now + heartbeat_interval_;
  v1::DaemonMessage message;
  message.mutable_heartbeat()->set_sequence(++heartbeat_sequence_);
  {
    absl::MutexLock lock(&mailbox_->mutex);
    message.mutable_heartbeat()->set_memory_used_bytes(mailbox_->memory_used_bytes);
  }
  // Bounded: without acknowledgements the lease ends after lease / interval entries.
  heartbeats_.emplace_back(heartbeat_sequence_, now);
  if (HitFailpoint(Failpoint::kSessionHeartbeat).ok()) stream_->Send(std::move(message));
}

void CoordinatorSession::Loop::SendReports() {
  const size_t queued = stream_->queued();
  if (queued >= kMaxQueued) return;
  std::vector<v1::JobReport> reports;
  {
    absl::MutexLock lock(&mailbox_->mutex);
    reports = mailbox_->reports.TakeUnsent(kMaxQueued - queued);
  }
  for (v1::JobReport& report : reports) {
    if (!HitFailpoint(Failpoint::kSessionReportSend).ok()) return stream_->Cancel();
    v1::DaemonMessage message;
    *message.mutable_report() = std::move(report);
    stream_->Send(std::move(message));
  }
}

// The last reports, Goodbye, half-close; then what the coordinator still sends is read past until it closes.
void CoordinatorSession::Loop::SayGoodbye() {
  if (stream_ == nullptr) return;
  if (ready_) {
    SendReports();
    v1::DaemonMessage message;
    {
      absl::MutexLock lock(&mailbox_->mutex);
      message.mutable_goodbye()->set_reason(mailbox_->stop_reason);
    }
    stream_->Send(std::move(message));
    stream_->CloseWrites();
  } else {
    stream_->Cancel();
  }
  const absl::Duration deadline = Now() + kGoodbyeTimeout;
  absl::MutexLock lock(&mailbox_->mutex);
  while (Now() < deadline) {
    if (mailbox_->events.empty()) {
      mailbox_->changed.WaitWithTimeout(&mailbox_->mutex, deadline - Now());
      continue;
    }
    const auto [number, event] = std::move(mailbox_->events.front());
    mailbox_->events.pop_front();
    if (number != stream_number_) continue;
    if (event.done) return;
    if (event.message.has_report_ack()) mailbox_->reports.Acknowledge(event.message.report_ack().number());
    stream_->ReadNext();
  }
  stream_->Cancel();
}

CoordinatorSession::CoordinatorSession(CoordinatorSessionOptions options, CoordinatorSessionHandler& handler)
    : loop_(std::make_unique<Loop>(std::move(options), handler)) {}

CoordinatorSession::~CoordinatorSession() { Stop("session ended"); }

void CoordinatorSession::Start() { loop_->Start(); }

void CoordinatorSession::Stop(const std::string& reason) { loop_->Stop(reason); }

void CoordinatorSession::Report(v1::JobReport report) { loop_->Report(std::move(report)); }

void CoordinatorSession::SetMemoryUsed(uint64_t bytes) {
  absl::MutexLock lock(&loop_->mailbox().mutex);
  loop_->mailbox().memory_used_bytes = bytes;
}

bool CoordinatorSession::welcomed() const { return loop_->mailbox().lease_end.load() > 0; }

bool CoordinatorSession::leased() const {
  const int64_t end = loop_->mailbox().lease_end.load(std::memory_order_relaxed);
  return end > 0 && absl::ToInt64Nanoseconds(Now()) < end;
}

bool CoordinatorSession::lease_lost() const {
  const int64_t end = loop_->mailbox().lease_end.load(std::memory_order_relaxed);
  return end != kNoLeaseYet && absl::ToInt64Nanoseconds(Now()) >= end;
}

}  // namespace paramd
