#include "server/service/owner_threads.h"

#include <algorithm>
#include <utility>

namespace paramd {

OwnerThreads::OwnerThreads(OwnerThreadsOptions options, const Clock& clock, ServerMetrics& metrics, Ticker ticker)
    : options_(options), clock_(clock), metrics_(metrics), ticker_(std::move(ticker)) {
  for (int i = 0; i < options_.threads; ++i) queues_.push_back(std::make_unique<Queue>());
  for (int i = 0; i < options_.threads; ++i) queues_[i]->thread = std::thread([this, i] { Run(i); });
}

OwnerThreads::~OwnerThreads() { Stop(); }

bool OwnerThreads::TryPost(int thread, Task& task, std::function<void()> on_space) {
  Queue& queue = *queues_[thread];
  absl::MutexLock lock(&queue.mutex);
  if (queue.stopped) return false;
  if (queue.data_entries >= options_.queue_capacity) {
    queue.waiting_for_space.push_back(std::move(on_space));
    return false;
  }
  ++queue.data_entries;
  queue.entries.push_back({.task = std::move(task), .queued = clock_.Now(), .data = true});
  metrics_.queue_length(thread).Increment();
  return true;
}

void OwnerThreads::Post(int thread, Task task) {
  Queue& queue = *queues_[thread];
  absl::MutexLock lock(&queue.mutex);
  if (queue.stopped) return;
  queue.entries.push_back({.task = std::move(task), .queued = clock_.Now(), .data = false});
}

void OwnerThreads::ScheduleTick(int thread, absl::Time when) {
  queues_[thread]->next_tick = std::min(queues_[thread]->next_tick, when);
}

void OwnerThreads::Stop() {
  for (const auto& queue : queues_) {
    absl::MutexLock lock(&queue->mutex);
    queue->stopped = true;
  }
  for (const auto& queue : queues_) {
    if (queue->thread.joinable()) queue->thread.join();
  }
}

bool OwnerThreads::TakeEntries(Queue& queue, std::deque<Entry>& entries, std::vector<std::function<void()>>& freed) {
  absl::MutexLock lock(&queue.mutex);
  const auto ready = [&queue]()
                         ABSL_EXCLUSIVE_LOCKS_REQUIRED(queue.mutex) { return !queue.entries.empty() || queue.stopped; };
  const absl::Duration until_tick = queue.next_tick - clock_.Now();
  if (until_tick > absl::ZeroDuration()) queue.mutex.AwaitWithTimeout(absl::Condition(&ready), until_tick);
  entries.swap(queue.entries);
  queue.data_entries = 0;
  freed.swap(queue.waiting_for_space);
  return !(queue.stopped && entries.empty());
}

void OwnerThreads::Run(int thread) {
  Queue& queue = *queues_[thread];
  std::deque<Entry> entries;
  std::vector<std::function<void()>> freed;
  while (TakeEntries(queue, entries, freed)) {
    for (const std::function<void()>& on_space : freed) on_space();
    freed.clear();
    for (Entry& entry : entries) {
      if (entry.data) {
        metrics_.queue_length(thread).Decrement();
        metrics_.queue_wait().Observe(absl::ToDoubleSeconds(clock_.Now() - entry.queued));
      }
      entry.task();
      entry.task = nullptr;  // What it holds must go now, not with the batch.
    }
    entries.clear();
    const absl::Time now = clock_.Now();
    if (now >= queue.next_tick) {
      queue.next_tick = absl::InfiniteFuture();
      ScheduleTick(thread, ticker_(thread, now));
    }
  }
}

}  // namespace paramd
