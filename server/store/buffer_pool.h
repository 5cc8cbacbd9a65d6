// Float buffers that are used again instead of being returned to the allocator: a chunk's gradient sums and weight
// snapshots come and go every step, and fresh megabytes cost a page fault per 4 KiB.
//
//   std::shared_ptr<BufferPool> pool = BufferPool::Create();
//   Buffer buffer = pool->Take(262144);   // contents undefined
//
// A Buffer gives its memory back to the pool when it is destroyed, from any thread, and keeps the pool alive. The pool
// never holds more than the most that was in use at once. Thread safe; a Buffer itself has one owner.
#ifndef PARAMD_SERVER_STORE_BUFFER_POOL_H_
#define PARAMD_SERVER_STORE_BUFFER_POOL_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"

namespace paramd {

class BufferPool;

// 64-byte aligned floats, movable. Empty when default constructed or moved from.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept { *this = std::move(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(pool_, other.pool_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Buffer();

  float* data() { return data_; }
  const float* data() const { return data_; }
  int64_t size() const { return size_; }
  absl::Span<float> span() { return absl::MakeSpan(data_, size_); }
  absl::Span<const float> span() const { return absl::MakeConstSpan(data_, size_); }
  // From the pool that this buffer, not an empty one, is of.
  Buffer TakeAnother(int64_t size) const;

 private:
  friend class BufferPool;
  std::shared_ptr<BufferPool> pool_;
  float* data_ = nullptr;
  int64_t size_ = 0;
};

class BufferPool : public std::enable_shared_from_this<BufferPool> {
 public:
  static std::shared_ptr<BufferPool> Create() { return std::shared_ptr<BufferPool>(new BufferPool()); }
  ~BufferPool();

  Buffer Take(int64_t size);
  // Buffers in use and idle.
  int64_t allocated_bytes() const;

 private:
  friend class Buffer;
  BufferPool() = default;
  void GiveBack(float* data, int64_t size);

  mutable absl::Mutex mutex_;
  absl::flat_hash_map<int64_t, std::vector<float*>> idle_ ABSL_GUARDED_BY(mutex_);  // By size.
  int64_t allocated_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace paramd

#endif  // PARAMD_SERVER_STORE_BUFFER_POOL_H_
