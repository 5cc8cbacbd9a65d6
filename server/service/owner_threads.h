// The threads that own chunks. A chunk belongs to one thread for its whole life, which is what makes the data path free
// of locks; work for it waits in the thread's queue.
//
//   OwnerThreads threads({.threads = 2}, clock, metrics, ticker);
//   threads.Submit(thread, request, now);                     // An OwnerTask: nothing is allocated or locked.
//   threads.Post(thread, [job, chunk] { chunk->Initialize(); });   // Now and then.
//
// Tasks of one thread run in the order they were queued, whichever way. Queues are not bounded here: whoever submits
// bounds what it has under way (an ExchangeStream by its ReadGate), and functions are bounded by the jobs.
//
// Threading: all methods are thread safe, except ScheduleTick. A task runs on its thread. An idle thread sleeps and is
// woken by the first task; what comes while it is awake costs no system call.
#ifndef PARAMD_SERVER_SERVICE_OWNER_THREADS_H_
#define PARAMD_SERVER_SERVICE_OWNER_THREADS_H_

// lightweightsemaphore.h needs the other's macros.
#include <concurrentqueue/concurrentqueue.h>
#include <concurrentqueue/lightweightsemaphore.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "server/service/histogram_buffer.h"
#include "server/service/mpsc_queue.h"
#include "server/service/server_metrics.h"

namespace paramd {

struct OwnerThreadsOptions {
  int threads = 1;
  // How often a thread that has nothing to do looks for a task before it sleeps. Each look takes some nanoseconds;
  // worth it where there are more processors than busy threads.
  int spins = 100;
};

// Something to be done by an owner thread. It is its submitter's again from Run or Drop on, of which exactly one comes.
class OwnerTask {
 public:
  virtual ~OwnerTask() = default;
  // On the owner thread. May end the task's life.
  virtual void Run() = 0;
  // Instead, after Stop; on any thread.
  virtual void Drop() = 0;

 private:
  friend class MpscQueue<OwnerTask>;
  friend class OwnerThreads;
  OwnerTask* next = nullptr;
  absl::Time queued_ = absl::InfinitePast();  // What its wait is counted from; infinite past: not counted.
};

class OwnerThreads {
 public:
  // Called on thread `thread` when its tick is due, at the latest kTickInterval after a task; returns when the next one
  // is, infinite future for never.
  using Ticker = std::function<absl::Time(int thread, absl::Time now)>;
  static constexpr absl::Duration kTickInterval = absl::Milliseconds(100);

  OwnerThreads(OwnerThreadsOptions options, const Clock& clock, ServerMetrics& metrics, Ticker ticker);
  ~OwnerThreads();

  int count() const { return static_cast<int>(workers_.size()); }
  void Submit(int thread, OwnerTask& task, absl::Time now);
  // The function is destroyed right after it ran, or dropped after Stop.
  void Post(int thread, std::function<void()> function);
  // Makes the ticker run at `when` or before. Only from a task of `thread`, or its ticker.
  void ScheduleTick(int thread, absl::Time when);
  // Runs what is queued, then joins. Idempotent.
  void Stop();

 private:
  class Function;
  // Ends the thread; queued once.
  class StopMark final : public OwnerTask {
   public:
    void Run() override {}
    void Drop() override {}
  };
  struct Worker {
    explicit Worker(int spins) : wake(0, spins), waits(ServerMetrics::DurationBuckets()) {}

    MpscQueue<OwnerTask> queue;
    moodycamel::LightweightSemaphore wake;  // Signalled once each time the queue stops being idle.
    std::atomic<int64_t> length = 0;        // Of the queue.
    StopMark stop_mark;
    // Of the thread alone.
    absl::Time next_tick = absl::InfiniteFuture();
    HistogramBuffer waits;
    bool stopped = false;
    std::thread thread;
  };

  void Push(Worker& worker, OwnerTask& task);
  void Run(int thread);
  // Waits until there is a task or a tick. The thread is its queue's consumer then.
  void Sleep(Worker& worker);
  void RunTasks(int thread, Worker& worker);
  void RunTick(int thread, Worker& worker);

  const Clock& clock_;
  ServerMetrics& metrics_;
  const Ticker ticker_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::atomic<bool> stopping_ = false;
};

}  // namespace paramd

#endif  // PARAMD_SERVER_SERVICE_OWNER_THREADS_H_
