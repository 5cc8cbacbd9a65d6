// Objects that are used again and again: one thread takes them, any thread gives them back. It allocates only when all
// are in use, so never in a steady state.
//
//   Slot& slot = pool.Take();     // The taker.
//   pool.GiveBack(slot);          // Whoever is done with it.
//
// Objects are default constructed once and given back as they are; they live as long as the pool.
// Threading: Take by one thread at a time, GiveBack from any.
#ifndef PARAMD_SERVER_SERVICE_RECYCLE_POOL_H_
#define PARAMD_SERVER_SERVICE_RECYCLE_POOL_H_

#include <cstddef>
#include <deque>
#include <utility>

#include "server/service/mpsc_queue.h"

namespace paramd {

// `T` has a member `T* next`, which is the pool's while the object is not in use.
template <typename T>
class RecyclePool {
 public:
  T& Take() {
    if (free_ == nullptr) free_ = returned_.TakeAll();
    if (free_ == nullptr) return objects_.emplace_back();
    return *std::exchange(free_, free_->next);
  }

  void GiveBack(T& object) { returned_.Push(object); }

  // For the taker: how many there are, in use or not.
  size_t size() const { return objects_.size(); }

 private:
  std::deque<T> objects_;  // Of the taker; never moved.
  T* free_ = nullptr;      // Of the taker.
  MpscQueue<T> returned_;
};

}  // namespace paramd

#endif  // PARAMD_SERVER_SERVICE_RECYCLE_POOL_H_
