// A queue that any thread adds to and one consumer at a time empties, without locks and without allocating: the items
// carry the link. It also passes on the role of the consumer: the queue is idle or busy, and whoever adds to an idle
// queue must see to it that a consumer runs.
//
//   if (queue.Push(item)) Wake();                 // Any thread. True: the queue was idle.
//   do {                                          // The consumer:
//     for (Item* item = queue.TakeAll(); item != nullptr; item = next) { next = item->next; ... }
//   } while (!queue.TryIdle());                   // False: something came meanwhile.
//
// Items come out in the order in which they went in. Everything a thread did before Push is seen by the consumer that
// takes the item, and everything a consumer did before TryIdle by the next one.
//
// Thread safety: Push and TryBusy from any thread; TakeAll and TryIdle by the consumer. The queue does not own the
// items.
#ifndef PARAMD_SERVER_SERVICE_MPSC_QUEUE_H_
#define PARAMD_SERVER_SERVICE_MPSC_QUEUE_H_

#include <atomic>
#include <cstdint>
#include <utility>

namespace paramd {

// `T` has a member `T* next`, which is the queue's from Push until the item is taken.
template <typename T>
class MpscQueue {
 public:
  MpscQueue() = default;
  MpscQueue(const MpscQueue&) = delete;
  MpscQueue& operator=(const MpscQueue&) = delete;

  // True when the queue was idle. It is busy from now on.
  bool Push(T& item) {
    uintptr_t head = head_.load(std::memory_order_relaxed);
    do {
      item.next = head == kBusy ? nullptr : reinterpret_cast<T*>(head);
    } while (!head_.compare_exchange_weak(head, reinterpret_cast<uintptr_t>(&item), std::memory_order_acq_rel,
                                          std::memory_order_relaxed));
    return head == kIdle;
  }

  // Everything that was pushed, linked by `next`, oldest first; null when there is nothing.
  T* TakeAll() {
    const uintptr_t head = head_.exchange(kBusy, std::memory_order_acq_rel);
    T* item = head == kBusy ? nullptr : reinterpret_cast<T*>(head);
    T* taken = nullptr;  // Newest first in the queue: turned round.
    while (item != nullptr) {
      T* older = std::exchange(item->next, taken);
      taken = std::exchange(item, older);
    }
    return taken;
  }

  // Makes the caller the consumer of an idle queue; false when there is one, or will be.
  bool TryBusy() {
    uintptr_t head = kIdle;
    return head_.compare_exchange_strong(head, kBusy, std::memory_order_acq_rel, std::memory_order_relaxed);
  }

  // Ends the consumer's turn, unless there is something to take.
  bool TryIdle() {
    uintptr_t head = kBusy;
    return head_.compare_exchange_strong(head, kIdle, std::memory_order_acq_rel, std::memory_order_acquire);
  }

  // A hint: may have changed when the caller looks at it.
  bool MayHaveItems() const { return head_.load(std::memory_order_relaxed) > kBusy; }

 private:
  // Instead of the newest item's address.
  static constexpr uintptr_t kIdle = 0;
  static constexpr uintptr_t kBusy = 1;

  std::atomic<uintptr_t> head_ = kIdle;
};

}  // namespace paramd

#endif  // PARAMD_SERVER_SERVICE_MPSC_QUEUE_H_
