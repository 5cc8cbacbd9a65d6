#include "common/metrics/series_keeper.h"

namespace paramd {

void SeriesKeeper::TakeBack(const void* series, absl::Duration linger) {
  absl::MutexLock lock(&mutex_);
  const auto found = uses_.find(series);
  if (found == uses_.end() || --found->second.users > 0) return;
  const absl::Time now = absl::Now();
  found->second.until = now + linger;
  ExpireLocked(now);
}

void SeriesKeeper::ExpireLocked(absl::Time now) {
  for (auto it = uses_.begin(); it != uses_.end();) {
    Use& use = it->second;
    if (use.users > 0 || now < use.until) {
      ++it;
      continue;
    }
    use.remove();
    uses_.erase(it++);
  }
}

}  // namespace paramd
