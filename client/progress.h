// Shows a job's way on the screen: a bar that redraws itself on a terminal, plain lines in a pipe.
//
//   Progress progress({.terminal = true, .width = 100}, clock, std::cout);
//   progress.OnJob(job);      // at most 10 redraws a second; in a pipe at most one line a second
//   progress.OnEvent(event);  // always a line of its own
//   progress.Finish(job);     // the last state of the bar, then the summary
//
// Not thread safe.
#ifndef PARAMD_CLIENT_PROGRESS_H_
#define PARAMD_CLIENT_PROGRESS_H_

#include <cstdint>
#include <ostream>
#include <string>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "proto/job.pb.h"

namespace paramd {

struct ProgressOptions {
  bool terminal = false;  // Redraw in place.
  bool color = false;     // Terminal only.
  int width = 80;         // Columns.
  absl::TimeZone zone = absl::UTCTimeZone();
};

// Time left at the present rate; negative when it is not known yet.
absl::Duration TimeLeft(const v1::JobProgress& progress);

// "step 120/1000  loss 2.3456  val 2.4012  10234 tokens/s  eta 1m20s"
std::string ProgressText(const v1::Job& job);

class Progress {
 public:
  // `clock` and `out` must outlive the object.
  Progress(const ProgressOptions& options, const Clock& clock, std::ostream& out);

  void OnJob(const v1::Job& job);
  void OnEvent(const v1::JobEvent& event);
  void Finish(const v1::Job& job);
  // Leaves the bar as it stands and goes to a new line.
  void Detach();

 private:
  void Draw(const v1::Job& job);
  void EraseBar();

  const ProgressOptions options_;
  const Clock& clock_;
  std::ostream& out_;
  bool bar_shown_ = false;
  absl::Time last_drawn_ = absl::InfinitePast();
  uint64_t last_step_ = 0;
  v1::Job last_job_;
};

}  // namespace paramd

#endif  // PARAMD_CLIENT_PROGRESS_H_
