// The answers of a stream that wait to be written: any thread adds, the thread that has the write side takes. Those
// that are ready at the same time leave in the order of their chunks, because the next forward pass needs the first
// layers first.
//
//   if (queue.Push(open)) Advance();              // Any thread. True: nobody writes, so the caller does.
//   while (T* open = queue.Next()) { ... }        // The writer.
//   if (queue.TryIdle()) return;                  // The writer has gone; false: something came meanwhile.
//
// Nothing is locked, and nothing allocated once the heap is as large as it gets. An item without an answer (a mark)
// only wakes the writer up.
//
// Threading: Push from any thread; the rest by the writer, which is one thread at a time. Does not own the items.
#ifndef PARAMD_SERVER_SERVICE_ANSWER_QUEUE_H_
#define PARAMD_SERVER_SERVICE_ANSWER_QUEUE_H_

#include <algorithm>
#include <cstdint>
#include <tuple>
#include <vector>

#include "server/service/mpsc_queue.h"

namespace paramd {

// `T` has `T* next`, `bool is_mark()` and `uint32_t chunk()`, which does not change while it is queued.
template <typename T>
class AnswerQueue {
 public:
  // True: the caller has the write side now.
  bool Push(T& item) { return queue_.Push(item); }

  // The item of the lowest chunk, of these the oldest; null when there is none.
  T* Next() {
    for (T* item = queue_.TakeAll(); item != nullptr; item = item->next) {
      if (item->is_mark()) continue;
      heap_.push_back({.chunk = item->chunk(), .number = next_number_++, .item = item});
      std::push_heap(heap_.begin(), heap_.end());
    }
    if (heap_.empty()) return nullptr;
    std::pop_heap(heap_.begin(), heap_.end());
    T* const first = heap_.back().item;
    heap_.pop_back();
    return first;
  }

  // Whether Next is sure to find another one.
  bool has_more() const { return !heap_.empty(); }
  // Only after Next found nothing.
  bool TryIdle() { return queue_.TryIdle(); }

 private:
  struct Entry {
    uint32_t chunk;
    uint64_t number;
    T* item;
    // The standard heap has its largest on top.
    bool operator<(const Entry& other) const { return std::tie(other.chunk, other.number) < std::tie(chunk, number); }
  };

  MpscQueue<T> queue_;
  // Of the writer.
  std::vector<Entry> heap_;
  uint64_t next_number_ = 0;
};

}  // namespace paramd

#endif  // PARAMD_SERVER_SERVICE_ANSWER_QUEUE_H_
