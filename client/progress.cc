#include "client/progress.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/job_text.h"

namespace paramd {
namespace {

constexpr absl::Duration kRedrawEvery = absl::Milliseconds(100);
constexpr absl::Duration kLineEvery = absl::Seconds(1);
constexpr char kGreen[] = "\x1b[32m";
constexpr char kPlain[] = "\x1b[0m";

double Fraction(const v1::JobProgress& progress) {
  if (progress.total_steps() == 0) return 0;
  return std::clamp(static_cast<double>(progress.step()) / static_cast<double>(progress.total_steps()), 0.0, 1.0);
}

std::string Bar(double fraction, int columns, bool color) {
  const int full = static_cast<int>(fraction * columns);
  const std::string done(full, '#');
  return absl::StrCat("[", color ? kGreen : "", done, color ? kPlain : "", std::string(columns - full, '.'), "]");
}

}  // namespace

absl::Duration TimeLeft(const v1::JobProgress& progress) {
  const double done = static_cast<double>(progress.tokens() > 0 ? progress.tokens() : progress.samples());
  if (progress.step() == 0 || done <= 0 || progress.tokens_per_second() <= 0) return absl::Seconds(-1);
  const double left = static_cast<double>(progress.total_steps() - std::min(progress.step(), progress.total_steps()));
  return absl::Seconds(left * done / static_cast<double>(progress.step()) / progress.tokens_per_second());
}

std::string ProgressText(const v1::Job& job) {
  const v1::JobProgress& progress = job.progress();
  if (progress.step() == 0) return absl::StrCat(StateName(job.state()), " (", PhaseName(job.phase()), ")");
  std::string text = absl::StrFormat("step %d/%d  loss %.4f", progress.step(), progress.total_steps(), progress.loss());
  if (progress.has_validation_loss()) absl::StrAppend(&text, absl::StrFormat("  val %.4f", progress.validation_loss()));
  if (progress.tokens_per_second() > 0) {
    absl::StrAppend(&text, absl::StrFormat("  %.0f %s/s", progress.tokens_per_second(), ThroughputUnit(job)));
  }
  const absl::Duration left = TimeLeft(progress);
  if (left >= absl::ZeroDuration()) absl::StrAppend(&text, "  eta ", ShortDuration(left));
  return text;
}

Progress::Progress(const ProgressOptions& options, const Clock& clock, std::ostream& out)
    : options_(options), clock_(clock), out_(out) {}

void Progress::OnJob(const v1::Job& job) {
  const bool step_known = job.progress().step() > 0;
  const bool news = job.progress().step() != last_step_ || job.phase() != last_job_.phase();
  last_job_ = job;
  const absl::Duration pause = options_.terminal ? kRedrawEvery : kLineEvery;
  if (clock_.Now() - last_drawn_ < pause) return;
  if (!options_.terminal && !(step_known && news)) return;  // Phases without steps are told by events.
  Draw(job);
}

void Progress::Draw(const v1::Job& job) {
  last_drawn_ = clock_.Now();
  last_step_ = job.progress().step();
  const std::string text = ProgressText(job);
  if (!options_.terminal) {
    out_ << absl::FormatTime("%H:%M:%S", clock_.Now(), options_.zone) << "   " << text << "\n" << std::flush;
    return;
  }
  EraseBar();
  const int room = options_.width - static_cast<int>(text.size()) - 11;  // "[", "] 100.0 %  " and the last column.
  const double fraction = Fraction(job.progress());
  std::string line;
  if (room >= 8)
    line =
        absl::StrCat(Bar(fraction, std::min(room, 40), options_.color), absl::StrFormat(" %3.0f %%  ", 100 * fraction));
  absl::StrAppend(&line, text.substr(0, std::max(options_.width - 1, 1)));
  out_ << line << std::flush;
  bar_shown_ = true;
}

void Progress::EraseBar() {
  if (bar_shown_) out_ << "\r\x1b[K";
  bar_shown_ = false;
}

void Progress::OnEvent(const v1::JobEvent& event) {
  const bool redraw = bar_shown_;
  EraseBar();
  out_ << EventLine(event, options_.zone) << "\n" << std::flush;
  if (redraw) Draw(last_job_);
}

void Progress::Finish(const v1::Job& job) {
  if (job.progress().step() > 0 && (options_.terminal || job.progress().step() != last_step_)) Draw(job);
  Detach();
  out_ << Summary(job) << std::flush;
}

void Progress::Detach() {
  if (bar_shown_) out_ << "\n" << std::flush;
  bar_shown_ = false;
}

}  // namespace paramd
