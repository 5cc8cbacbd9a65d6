// What one watcher of a job has been told and is to be told next.
//
// The order is: a snapshot; events after the resume point, each once and in order; snapshots when there is news; after
// the terminal event a last snapshot, and the end. Nothing is buffered but one page of events: a slow watcher reads
// events late and skips snapshots, it never costs memory. A pure core; not thread safe.
#ifndef PARAMD_SERVER_COORDINATOR_WATCH_H_
#define PARAMD_SERVER_COORDINATOR_WATCH_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/job.pb.h"

namespace paramd {

// The stream that a watch writes to. The coordinator calls it under its mutex, so no method may block or call back.
class WatchSink {
 public:
  virtual ~WatchSink() = default;
  // Not before the previous message was reported as written (Coordinator::WatchReady).
  virtual void Send(const v1::WatchJobResponse& response) = 0;
  // The last call.
  virtual void Finish(const absl::Status& status) = 0;
};

class WatchCursor {
 public:
  // The next events of the job after a sequence, ascending.
  using EventReader = std::function<absl::StatusOr<std::vector<v1::JobEvent>>(uint64_t after)>;

  explicit WatchCursor(uint64_t after_sequence) : after_sequence_(after_sequence) {}

  // The next message, or nothing when the watcher knows everything; then done() tells whether more can come.
  // `snapshot_version` grows whenever `job` has news.
  absl::StatusOr<std::optional<v1::WatchJobResponse>> Next(const v1::Job& job, uint64_t snapshot_version,
                                                           const EventReader& read_events);
  bool done() const { return done_; }

 private:
  v1::WatchJobResponse Snapshot(const v1::Job& job, uint64_t snapshot_version);

  uint64_t after_sequence_;
  std::deque<v1::JobEvent> page_;
  bool opened_ = false;
  bool closed_ = false;  // The last snapshot was sent.
  bool done_ = false;
  uint64_t sent_version_ = 0;
};

}  // namespace paramd

#endif  // PARAMD_SERVER_COORDINATOR_WATCH_H_
