#include "server/coordinator/watch.h"

#include <utility>

#include "common/base/status_macros.h"
#include "server/coordinator/job_machine.h"

namespace paramd {

absl::StatusOr<std::optional<v1::WatchJobResponse>> WatchCursor::Next(const v1::Job& job, uint64_t snapshot_version,
                                                                      const EventReader& read_events) {
  if (!opened_) {
    opened_ = true;
    return Snapshot(job, snapshot_version);
  }
  if (page_.empty() && job.last_event_sequence() > after_sequence_) {
    ASSIGN_OR_RETURN(std::vector<v1::JobEvent> events, read_events(after_sequence_));
    page_.assign(std::make_move_iterator(events.begin()), std::make_move_iterator(events.end()));
    if (page_.empty()) after_sequence_ = job.last_event_sequence();
  }
  if (!page_.empty()) {
    v1::WatchJobResponse response;
    *response.mutable_event() = std::move(page_.front());
    page_.pop_front();
    after_sequence_ = response.event().sequence();
    return response;
  }
  if (IsTerminal(job.state())) {
    done_ = closed_;
    if (closed_) return std::nullopt;
    closed_ = true;
    return Snapshot(job, snapshot_version);
  }
  if (snapshot_version <= sent_version_) return std::nullopt;
  return Snapshot(job, snapshot_version);
}

v1::WatchJobResponse WatchCursor::Snapshot(const v1::Job& job, uint64_t snapshot_version) {
  sent_version_ = snapshot_version;
  v1::WatchJobResponse response;
  *response.mutable_job() = job;
  return response;
}

}  // namespace paramd
