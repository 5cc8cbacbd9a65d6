// What a daemon has to say to its coordinator and has not been heard yet: numbered reports until they are acknowledged,
// and the newest progress (and trace) of each job until it is sent.
//
//   ReportBuffer buffer;
//   buffer.Add(report);                          // Numbered 1, 2, ... unless it is progress or a trace.
//   for (JobReport& r : buffer.TakeUnsent()) Send(r);
//   buffer.Acknowledge(7);                       // Forgets 1..7.
//   buffer.ConnectionLost();                     // All that is not acknowledged is unsent again.
//
// Order: what is taken comes in the order it was added; merged progress takes the place of the oldest that went into
// it. Progress that waits is merged per job and kind: counters take the newest value, step losses are appended, the
// oldest dropped beyond kMaxLosses. Bounded: kMaxReports reports, kMaxProgressJobs jobs. Pure; not thread safe.
#ifndef PARAMD_COMMON_RPC_REPORT_BUFFER_H_
#define PARAMD_COMMON_RPC_REPORT_BUFFER_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "proto/cluster.pb.h"

namespace paramd {

class ReportBuffer {
 public:
  static constexpr size_t kMaxReports = 65536;
  static constexpr size_t kMaxProgressJobs = 1024;
  static constexpr int kMaxLosses = 4096;

  // False when kMaxReports reports wait for an acknowledgement: the report is not taken.
  bool Add(v1::JobReport report);
  // At most `limit` unsent reports and progress, in order; they count as sent.
  std::vector<v1::JobReport> TakeUnsent(size_t limit);
  // All reports up to `number` have been stored.
  void Acknowledge(uint64_t number);
  void ConnectionLost() { sent_ = 0; }
  // Gives up everything; numbers go on.
  void Clear();

  bool has_unsent() const { return sent_ < reports_.size() || !progress_.empty(); }
  size_t unacknowledged() const { return reports_.size(); }

 private:
  // Job and kind (v1::JobReport::ReportCase).
  using ProgressKey = std::pair<std::string, int>;
  // Progress that waits to be sent behind the report numbered `after`.
  struct Progress {
    v1::JobReport report;
    uint64_t after = 0;
  };

  void MergeProgress(v1::JobReport report);
  void TakeProgressBefore(uint64_t next_number, size_t limit, std::vector<v1::JobReport>& taken);

  uint64_t last_number_ = 0;
  std::deque<v1::JobReport> reports_;  // Not acknowledged, ascending numbers.
  size_t sent_ = 0;                    // The first so many of reports_ are on their way.
  std::map<ProgressKey, Progress> progress_;
};

}  // namespace paramd

#endif  // PARAMD_COMMON_RPC_REPORT_BUFFER_H_
