// The threads that own chunks. A chunk belongs to one thread for its whole life, which is what makes the data path free
// of locks; work for it is queued as tasks.
//
//   OwnerThreads threads({.threads = 2}, clock, metrics);
//   if (!threads.TryPost(thread, task, [this] { Resume(); })) return;   // Full: Resume is called when there is room.
//
// Queues of data tasks are bounded (queue_capacity each); control tasks (Post) are not refused, their number is bounded
// by the jobs. Tasks of one thread run in the order they were queued. All methods are thread safe, except ScheduleTick.
#ifndef PARAMD_SERVER_SERVICE_OWNER_THREADS_H_
#define PARAMD_SERVER_SERVICE_OWNER_THREADS_H_

#include <deque>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "server/service/server_metrics.h"

namespace paramd {

struct OwnerThreadsOptions {
  int threads = 1;
  size_t queue_capacity = 64;  // Data tasks per thread; each may hold one chunk's payload.
};

class OwnerThreads {
 public:
  using Task = std::function<void()>;
  // Called on thread `thread` when its tick is due; returns when the next one is, infinite future for never.
  using Ticker = std::function<absl::Time(int thread, absl::Time now)>;

  OwnerThreads(OwnerThreadsOptions options, const Clock& clock, ServerMetrics& metrics, Ticker ticker);
  ~OwnerThreads();

  int count() const { return static_cast<int>(queues_.size()); }
  // Takes `task` and returns true, or returns false and calls `on_space` once, from the thread, when there may be room.
  // After Stop: false, and `on_space` is never called.
  bool TryPost(int thread, Task& task, std::function<void()> on_space);
  // Always takes the task. After Stop it is dropped.
  void Post(int thread, Task task);
  // Makes the ticker run at `when` or before. Only from a task of `thread`.
  void ScheduleTick(int thread, absl::Time when);
  // Runs what is queued, then joins. Idempotent.
  void Stop();

 private:
  struct Entry {
    Task task;
    absl::Time queued;
    bool data;
  };
  struct Queue {
    absl::Mutex mutex;
    std::deque<Entry> entries ABSL_GUARDED_BY(mutex);
    size_t data_entries ABSL_GUARDED_BY(mutex) = 0;
    std::vector<std::function<void()>> waiting_for_space ABSL_GUARDED_BY(mutex);
    bool stopped ABSL_GUARDED_BY(mutex) = false;
    absl::Time next_tick = absl::InfiniteFuture();  // Of the thread alone.
    std::thread thread;
  };

  void Run(int thread);
  // Waits for entries, a tick or the end; false at the end.
  bool TakeEntries(Queue& queue, std::deque<Entry>& entries, std::vector<std::function<void()>>& freed);

  const OwnerThreadsOptions options_;
  const Clock& clock_;
  ServerMetrics& metrics_;
  const Ticker ticker_;
  std::vector<std::unique_ptr<Queue>> queues_;
};

}  // namespace paramd

#endif  // PARAMD_SERVER_SERVICE_OWNER_THREADS_H_
