#include "common/rpc/report_buffer.h"

#include <algorithm>

namespace paramd {
namespace {

// What is sent once or not at all. Of traces, too, only the newest matters: whoever asked for it has given up others.
bool IsProgress(const v1::JobReport& report) {
  return report.has_progress() || report.has_server_progress() || report.has_trace();
}

// Moves the losses that wait before the newer ones, and keeps the newest kMaxLosses of them.
void PrependLosses(v1::WorkerProgress& older, v1::WorkerProgress& newer) {
  older.mutable_losses()->MergeFrom(newer.losses());
  const int excess = older.losses_size() - ReportBuffer::kMaxLosses;
  if (excess > 0) older.mutable_losses()->DeleteSubrange(0, excess);
  newer.mutable_losses()->Swap(older.mutable_losses());
}

}  // namespace

bool ReportBuffer::Add(v1::JobReport report) {
  if (IsProgress(report)) {
    MergeProgress(std::move(report));
    return true;
  }
  if (reports_.size() >= kMaxReports) return false;
  report.set_number(++last_number_);
  reports_.push_back(std::move(report));
  return true;
}

void ReportBuffer::MergeProgress(v1::JobReport report) {
  report.set_number(0);
  const ProgressKey key(report.job_id(), report.report_case());
  const auto found = progress_.find(key);
  if (found == progress_.end()) {
    if (progress_.size() < kMaxProgressJobs) progress_[key] = {std::move(report), last_number_};
    return;
  }
  v1::JobReport& waiting = found->second.report;
  if (waiting.generation() == report.generation() && report.has_progress()) {
    PrependLosses(*waiting.mutable_progress(), *report.mutable_progress());
  }
  waiting = std::move(report);  // Keeps its place, so that it is never behind a report that was made after it began.
}

void ReportBuffer::TakeProgressBefore(uint64_t next_number, size_t limit, std::vector<v1::JobReport>& taken) {
  for (auto it = progress_.begin(); it != progress_.end() && taken.size() < limit;) {
    if (it->second.after >= next_number) {
      ++it;
      continue;
    }
    taken.push_back(std::move(it->second.report));
    it = progress_.erase(it);
  }
}

std::vector<v1::JobReport> ReportBuffer::TakeUnsent(size_t limit) {
  std::vector<v1::JobReport> taken;
  while (sent_ < reports_.size() && taken.size() < limit) {
    TakeProgressBefore(reports_[sent_].number(), limit, taken);
    if (taken.size() >= limit) return taken;
    taken.push_back(reports_[sent_++]);
  }
  TakeProgressBefore(last_number_ + 1, limit, taken);
  return taken;
}

void ReportBuffer::Acknowledge(uint64_t number) {
  while (!reports_.empty() && reports_.front().number() <= number) {
    reports_.pop_front();
    if (sent_ > 0) --sent_;
  }
}

void ReportBuffer::Clear() {
  reports_.clear();
  progress_.clear();
  sent_ = 0;
}

}  // namespace paramd
