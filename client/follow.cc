#include "client/follow.h"

#include <algorithm>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "client/exit_code.h"
#include "common/base/status_macros.h"
#include "common/rpc/call.h"
#include "common/rpc/channel.h"

namespace paramd {
namespace {

// Lets the interrupt thread cancel whatever the follower does now: a stream or a pause.
class Canceller {
 public:
  explicit Canceller(Interrupt& interrupt) : interrupt_(interrupt) {
    interrupt_.SetHandler([this] { Cancel(); });
  }
  ~Canceller() { interrupt_.SetHandler(nullptr); }

  bool cancelled() {
    absl::MutexLock lock(&mutex_);
    return cancelled_;
  }
  // nullptr between streams.
  void SetStream(grpc::ClientContext* context) {
    absl::MutexLock lock(&mutex_);
    context_ = context;
    if (cancelled_ && context_ != nullptr) context_->TryCancel();
  }
  void Pause(absl::Duration duration) {
    absl::MutexLock lock(&mutex_);
    mutex_.AwaitWithTimeout(absl::Condition(&cancelled_), duration);
  }

 private:
  void Cancel() {
    absl::MutexLock lock(&mutex_);
    cancelled_ = true;
    if (context_ != nullptr) context_->TryCancel();
  }

  Interrupt& interrupt_;
  absl::Mutex mutex_;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  grpc::ClientContext* context_ ABSL_GUARDED_BY(mutex_) = nullptr;
};

// What the streams of one FollowJob have seen so far.
struct Seen {
  uint64_t sequence = 0;
  bool terminal = false;
  bool stopped = false;
  bool any = false;  // In the stream that is open now.
};

void Remember(const v1::WatchJobResponse& update, Seen& seen) {
  seen.any = true;
  if (update.has_event()) {
    seen.sequence = std::max<uint64_t>(seen.sequence, update.event().sequence());
    seen.terminal = seen.terminal || IsTerminal(update.event().state());
  } else if (update.has_job()) {
    seen.terminal = IsTerminal(update.job().state());
  }
}

absl::Status OpenStream(ClusterClient& client, const FollowOptions& options, Canceller& canceller, Seen& seen,
                        const std::function<bool(const v1::WatchJobResponse&)>& on_update) {
  grpc::ClientContext context;
  PrepareCall({.timeout = options.deadline - absl::Now()}, context);
  canceller.SetStream(&context);
  seen.any = false;
  const absl::Status status =
      client.WatchJob(options.job_id, seen.sequence, context, [&](const v1::WatchJobResponse& update) {
        Remember(update, seen);
        seen.stopped = !on_update(update);
        return !seen.stopped;
      });
  canceller.SetStream(nullptr);
  return status;
}

}  // namespace

absl::StatusOr<FollowEnd> FollowJob(ClusterClient& client, const FollowOptions& options, Environment& environment,
                                    const std::function<bool(const v1::WatchJobResponse&)>& on_update) {
  Canceller canceller(environment.interrupt);
  // A unary call first: its deadline bounds how long an unreachable coordinator can hold us.
  RETURN_IF_ERROR(client.GetJob(options.job_id).status());
  Seen seen{.sequence = options.after_sequence};
  Backoff backoff({}, absl::ToUnixNanos(absl::Now()));
  absl::Time lost_since = absl::InfiniteFuture();
  while (true) {
    const absl::Status status = OpenStream(client, options, canceller, seen, on_update);
    if (seen.stopped) return FollowEnd::kStopped;
    if (canceller.cancelled()) return FollowEnd::kInterrupted;
    if (status.ok() && seen.terminal) return FollowEnd::kJobOver;
    if (absl::Now() >= options.deadline) return FollowEnd::kTimedOut;
    if (!status.ok() && status.code() != absl::StatusCode::kUnavailable) return status;
    if (seen.any || lost_since == absl::InfiniteFuture()) {
      environment.err << "lost the coordinator at " << client.address() << "; trying to reach it again\n" << std::flush;
      lost_since = absl::Now();
      backoff.Reset();
    } else if (absl::Now() - lost_since > environment.reconnect_for) {
      return status;
    }
    canceller.Pause(std::min(backoff.Next(), options.deadline - absl::Now()));
  }
}

}  // namespace paramd
