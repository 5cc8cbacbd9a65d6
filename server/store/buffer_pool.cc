#include "server/store/buffer_pool.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <new>

namespace paramd {

namespace {

constexpr std::align_val_t kAlignment{64};
constexpr int kSmallestClass = 4;  // 16 floats, a cache line.

int SizeClass(int64_t size) {
  return std::max(kSmallestClass,
                  static_cast<int>(std::bit_width(static_cast<uint64_t>(std::max<int64_t>(size, 1) - 1))));
}

constexpr uint64_t kNumberMask = 0xffffffff;
constexpr uint64_t kOneChange = uint64_t{1} << 32;

}  // namespace

Buffer::~Buffer() {
  if (block_ != nullptr) pool_->GiveBack(block_);
}

Buffer Buffer::TakeAnother(int64_t size) const { return pool_->Take(size); }

BufferPool::~BufferPool() {
  absl::MutexLock lock(&mutex_);
  for (uint32_t number = 0; number < block_count_; ++number) ::operator delete(BlockOf(number).data, kAlignment);
  for (std::atomic<Block*>& table : tables_) delete[] table.load();
}

Buffer BufferPool::Take(int64_t size) {
  Buffer buffer;
  buffer.pool_ = shared_from_this();
  buffer.block_ = TakeBlock(size);
  buffer.size_ = size;
  return buffer;
}

BufferPool::Block* BufferPool::TakeBlock(int64_t size) {
  const int size_class = SizeClass(size);
  assert(size_class < kSizeClasses);
  std::atomic<uint64_t>& idle = idle_[size_class];
  uint64_t head = idle.load(std::memory_order_acquire);
  while ((head & kNumberMask) != 0) {
    Block& first = BlockOf(static_cast<uint32_t>(head & kNumberMask) - 1);
    const uint64_t rest = first.next.load(std::memory_order_relaxed);
    if (idle.compare_exchange_weak(head, ((head & ~kNumberMask) + kOneChange) | rest, std::memory_order_acquire)) {
      return &first;
    }
  }
  return NewBlock(size_class);
}

void BufferPool::GiveBack(Block* block) {
  std::atomic<uint64_t>& idle = idle_[block->size_class];
  uint64_t head = idle.load(std::memory_order_relaxed);
  do {
    block->next.store(static_cast<uint32_t>(head & kNumberMask), std::memory_order_relaxed);
  } while (!idle.compare_exchange_weak(head, ((head & ~kNumberMask) + kOneChange) | (block->number + 1),
                                       std::memory_order_release, std::memory_order_relaxed));
}

BufferPool::Block* BufferPool::NewBlock(int size_class) {
  const size_t bytes = sizeof(float) << size_class;
  float* data = static_cast<float*>(::operator new(bytes, kAlignment));
  allocated_bytes_ += static_cast<int64_t>(bytes);
  absl::MutexLock lock(&mutex_);
  const auto [table, place] = PlaceOf(block_count_);
  if (place == 0) {
    tables_[table].store(new Block[table == 0 ? kFirstTable : kFirstTable << (table - 1)], std::memory_order_release);
  }
  Block& block = BlockOf(block_count_);
  block.data = data;
  block.number = block_count_++;
  block.size_class = size_class;
  return &block;
}

// Table 0 has numbers 0..63, table t > 0 has 64 * 2^(t-1) .. 64 * 2^t - 1.
std::pair<int, uint32_t> BufferPool::PlaceOf(uint32_t number) {
  const int table = static_cast<int>(std::bit_width(number / kFirstTable));
  return {table, table == 0 ? number : number - (kFirstTable << (table - 1))};
}

BufferPool::Block& BufferPool::BlockOf(uint32_t number) const {
  const auto [table, place] = PlaceOf(number);
  return tables_[table].load(std::memory_order_acquire)[place];
}

}  // namespace paramd
