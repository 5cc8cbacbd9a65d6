// Float buffers that are used again instead of being returned to the allocator: a chunk's gradient sums and weight
// snapshots come and go every step, and fresh megabytes cost a page fault per 4 KiB.
//
//   std::shared_ptr<BufferPool> pool = BufferPool::Create();
//   Buffer buffer = pool->Take(262144);   // contents undefined
//   auto snapshot = std::allocate_shared<Snapshot>(PoolAllocator<Snapshot>(pool), version, std::move(buffer));
//
// A Buffer gives its memory back to the pool when it is destroyed, from any thread, and keeps the pool alive. Memory
// comes in powers of two and never goes back to the system before the pool does: the pool holds no more than the most
// that was in use at once, each buffer rounded up.
//
// Thread safe; taking memory that was used before, and giving it back, takes no lock and allocates nothing. A Buffer
// itself has one owner.
#ifndef PARAMD_SERVER_STORE_BUFFER_POOL_H_
#define PARAMD_SERVER_STORE_BUFFER_POOL_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"

namespace paramd {

class BufferPool;

namespace buffer_pool_internal {

// A piece of memory of a pool, in use or on the list of idle ones of its size.
struct Block {
  float* data = nullptr;
  uint32_t number = 0;             // Among all of the pool.
  int size_class = 0;              // Of 2^size_class floats.
  std::atomic<uint32_t> next = 0;  // On the list: the number of the next one, plus 1.
};

}  // namespace buffer_pool_internal

// 64-byte aligned floats, movable. Empty when default constructed or moved from.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept { *this = std::move(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(pool_, other.pool_);
    std::swap(block_, other.block_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Buffer();

  float* data() { return block_ == nullptr ? nullptr : block_->data; }
  const float* data() const { return block_ == nullptr ? nullptr : block_->data; }
  int64_t size() const { return size_; }
  absl::Span<float> span() { return absl::MakeSpan(data(), size_); }
  absl::Span<const float> span() const { return absl::MakeConstSpan(data(), size_); }
  // From the pool that this buffer, not an empty one, is of.
  Buffer TakeAnother(int64_t size) const;

 private:
  friend class BufferPool;
  std::shared_ptr<BufferPool> pool_;
  buffer_pool_internal::Block* block_ = nullptr;
  int64_t size_ = 0;
};

class BufferPool : public std::enable_shared_from_this<BufferPool> {
 public:
  static std::shared_ptr<BufferPool> Create() { return std::shared_ptr<BufferPool>(new BufferPool()); }
  ~BufferPool();

  // 0 <= size <= 2^30.
  Buffer Take(int64_t size);
  // Buffers in use and idle.
  int64_t allocated_bytes() const { return allocated_bytes_; }

 private:
  using Block = buffer_pool_internal::Block;
  template <typename T>
  friend class PoolAllocator;
  friend class Buffer;

  static constexpr int kSizeClasses = 31;
  static constexpr uint32_t kFirstTable = 64;  // Blocks in the first table; each next one has as many as all before.
  static constexpr int kTables = 26;

  BufferPool() = default;
  Block* TakeBlock(int64_t size);
  void GiveBack(Block* block);
  Block* NewBlock(int size_class);
  Block& BlockOf(uint32_t number) const;
  static std::pair<int, uint32_t> PlaceOf(uint32_t number);

  // Idle blocks by size class: the number plus 1 of the first one in the lower half (0: none), a count of changes in
  // the upper half, so that a list that was changed and changed back is not taken for the same.
  std::array<std::atomic<uint64_t>, kSizeClasses> idle_ = {};
  // Blocks never move and are not freed before the pool: a stale number is safe to follow.
  std::array<std::atomic<Block*>, kTables> tables_ = {};
  std::atomic<int64_t> allocated_bytes_ = 0;
  absl::Mutex mutex_;
  uint32_t block_count_ ABSL_GUARDED_BY(mutex_) = 0;
};

// Single objects from a pool, for std::allocate_shared. Keeps the pool alive.
template <typename T>
class PoolAllocator {
 public:
  using value_type = T;

  explicit PoolAllocator(std::shared_ptr<BufferPool> pool) : pool_(std::move(pool)) {}
  template <typename Other>
  PoolAllocator(const PoolAllocator<Other>& other) : pool_(other.pool_) {}  // NOLINT: rebinding is implicit.

  T* allocate(size_t count) {
    static_assert(alignof(T) <= kHeaderBytes);
    const size_t bytes = kHeaderBytes + count * sizeof(T);
    BufferPool::Block* block = pool_->TakeBlock(static_cast<int64_t>((bytes + sizeof(float) - 1) / sizeof(float)));
    std::byte* memory = reinterpret_cast<std::byte*>(block->data);
    ::new (static_cast<void*>(memory)) BufferPool::Block*(block);
    return reinterpret_cast<T*>(memory + kHeaderBytes);
  }
  void deallocate(T* object, size_t) {
    std::byte* memory = reinterpret_cast<std::byte*>(object) - kHeaderBytes;
    pool_->GiveBack(*reinterpret_cast<BufferPool::Block**>(memory));
  }
  template <typename Other>
  bool operator==(const PoolAllocator<Other>& other) const {
    return pool_ == other.pool_;
  }

 private:
  template <typename Other>
  friend class PoolAllocator;
  static constexpr size_t kHeaderBytes = 64;  // Before the object: its block.

  std::shared_ptr<BufferPool> pool_;
};

}  // namespace paramd

#endif  // PARAMD_SERVER_STORE_BUFFER_POOL_H_
