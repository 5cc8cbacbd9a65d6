#include "server/service/owner_threads.h"

#include <algorithm>
#include <utility>

namespace paramd {

class OwnerThreads::Function final : public OwnerTask {
 public:
  explicit Function(std::function<void()> function) : function_(std::move(function)) {}
  void Run() override {
    function_();
    delete this;
  }
  void Drop() override { delete this; }

 private:
  const std::function<void()> function_;
};

OwnerThreads::OwnerThreads(OwnerThreadsOptions options, const Clock& clock, ServerMetrics& metrics, Ticker ticker)
    : clock_(clock), metrics_(metrics), ticker_(std::move(ticker)) {
  for (int i = 0; i < options.threads; ++i) workers_.push_back(std::make_unique<Worker>(options.spins));
  for (int i = 0; i < options.threads; ++i) workers_[i]->thread = std::thread([this, i] { Run(i); });
}

OwnerThreads::~OwnerThreads() {
  Stop();
  // What was queued after the end, by somebody who had not seen it yet.
  for (const auto& worker : workers_) {
    for (OwnerTask* task = worker->queue.TakeAll(); task != nullptr;) {
      OwnerTask* const next = task->next;
      task->Drop();
      task = next;
    }
  }
}

void OwnerThreads::Submit(int thread, OwnerTask& task, absl::Time now) {
  if (stopping_.load(std::memory_order_relaxed)) return task.Drop();
  task.queued_ = now;
  Push(*workers_[thread], task);
}

void OwnerThreads::Post(int thread, std::function<void()> function) {
  if (stopping_.load(std::memory_order_relaxed)) return;
  Push(*workers_[thread], *new Function(std::move(function)));
}

void OwnerThreads::Push(Worker& worker, OwnerTask& task) {
  worker.length.fetch_add(1, std::memory_order_relaxed);
  if (worker.queue.Push(task)) worker.wake.signal();
}

void OwnerThreads::ScheduleTick(int thread, absl::Time when) {
  workers_[thread]->next_tick = std::min(workers_[thread]->next_tick, when);
}

void OwnerThreads::Stop() {
  if (!stopping_.exchange(true)) {
    for (const auto& worker : workers_) Push(*worker, worker->stop_mark);
  }
  for (const auto& worker : workers_) {
    if (worker->thread.joinable()) worker->thread.join();
  }
}

void OwnerThreads::Run(int thread) {
  Worker& worker = *workers_[thread];
  for (;;) {
    Sleep(worker);
    do {
      RunTasks(thread, worker);
      RunTick(thread, worker);
      if (worker.stopped && !worker.queue.MayHaveItems()) return;  // The queue stays busy: nobody is woken any more.
    } while (!worker.queue.TryIdle());
  }
}

void OwnerThreads::Sleep(Worker& worker) {
  for (;;) {
    if (worker.next_tick == absl::InfiniteFuture()) {
      worker.wake.wait();
      return;
    }
    const int64_t microseconds = absl::ToInt64Microseconds(worker.next_tick - clock_.Now());
    if (microseconds > 0 && worker.wake.wait(microseconds)) return;
    // The tick is due. When the queue is not idle, a signal is on its way and must be taken.
    if (worker.queue.TryBusy()) return;
    worker.wake.wait();
    return;
  }
}

void OwnerThreads::RunTasks(int thread, Worker& worker) {
  OwnerTask* task = worker.queue.TakeAll();
  if (task == nullptr) return;
  metrics_.queue_length(thread).Set(static_cast<double>(worker.length.load(std::memory_order_relaxed)));
  int64_t count = 0;
  for (; task != nullptr; ++count) {
    OwnerTask* const next = task->next;
    const absl::Time now = clock_.Now();
    if (count == 0) ScheduleTick(thread, now + kTickInterval);
    if (task->queued_ != absl::InfinitePast()) worker.waits.Observe(absl::ToDoubleSeconds(now - task->queued_));
    worker.stopped |= task == &worker.stop_mark;
    task->Run();
    task = next;
  }
  const int64_t left = worker.length.fetch_sub(count, std::memory_order_relaxed) - count;
  metrics_.queue_length(thread).Set(static_cast<double>(left));
}

void OwnerThreads::RunTick(int thread, Worker& worker) {
  if (worker.next_tick == absl::InfiniteFuture()) return;
  const absl::Time now = clock_.Now();
  if (now < worker.next_tick) return;
  worker.next_tick = absl::InfiniteFuture();
  worker.waits.FlushTo(metrics_.queue_wait());
  ScheduleTick(thread, ticker_ ? ticker_(thread, now) : absl::InfiniteFuture());
}

}  // namespace paramd
