// Series that come and go with a job. What was counted stays to be scraped for a while after the job has ended, and
// when it begins again here, or two lives of it overlap, both count in the same series.
//
//   SeriesKeeper keeper;
//   prometheus::Counter& steps = keeper.Add(steps_family, {{"train_job", "gpt-a1b2c3"}});
//   keeper.Remove(&steps);                        // Gone after kSeriesLinger.
//   metrics_server.BeforeScrape([&] { keeper.Expire(); });
//
// Thread safe. The families must outlive it; all additions and removals of such series go through it.
#ifndef PARAMD_COMMON_METRICS_SERIES_KEEPER_H_
#define PARAMD_COMMON_METRICS_SERIES_KEEPER_H_

#include <functional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "prometheus/family.h"
#include "prometheus/labels.h"

namespace paramd {

// Several scrapes, also when one a minute is made and one of them fails.
constexpr absl::Duration kSeriesLinger = absl::Minutes(5);

class SeriesKeeper {
 public:
  // The series with these labels, new unless it is there already; `args` as of Family::Add.
  template <typename T, typename... Args>
  T& Add(prometheus::Family<T>& family, const prometheus::Labels& labels, Args&&... args) {
    absl::MutexLock lock(&mutex_);
    ExpireLocked(absl::Now());
    T& series = family.Add(labels, std::forward<Args>(args)...);
    Use& use = uses_[&series];
    ++use.users;
    if (!use.remove) use.remove = [&family, &series] { family.Remove(&series); };
    return series;
  }

  // Takes back one Add. What has been counted lingers once nobody adds to it.
  void Remove(const void* series) { TakeBack(series, kSeriesLinger); }
  // The same for what describes the present, and would be wrong the moment after.
  void RemoveNow(const void* series) { TakeBack(series, absl::ZeroDuration()); }

  // Removes what has lingered long enough.
  void Expire(absl::Time now = absl::Now()) {
    absl::MutexLock lock(&mutex_);
    ExpireLocked(now);
  }

 private:
  struct Use {
    int users = 0;
    absl::Time until;  // While there are none.
    std::function<void()> remove;
  };

  void TakeBack(const void* series, absl::Duration linger);
  void ExpireLocked(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  absl::Mutex mutex_;
  absl::flat_hash_map<const void*, Use> uses_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace paramd

#endif  // PARAMD_COMMON_METRICS_SERIES_KEEPER_H_
