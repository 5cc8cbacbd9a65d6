#include "server/store/buffer_pool.h"

#include <new>

namespace paramd {

namespace {

constexpr std::align_val_t kAlignment{64};

float* Allocate(int64_t size) { return static_cast<float*>(::operator new(size * sizeof(float), kAlignment)); }

void Free(float* data) { ::operator delete(data, kAlignment); }

}  // namespace

Buffer::~Buffer() {
  if (pool_ != nullptr) pool_->GiveBack(data_, size_);
}

Buffer Buffer::TakeAnother(int64_t size) const { return pool_->Take(size); }

BufferPool::~BufferPool() {
  for (auto& [size, buffers] : idle_) {
    for (float* data : buffers) Free(data);
  }
}

Buffer BufferPool::Take(int64_t size) {
  Buffer buffer;
  buffer.pool_ = shared_from_this();
  buffer.size_ = size;
  {
    absl::MutexLock lock(&mutex_);
    std::vector<float*>& idle = idle_[size];
    if (!idle.empty()) {
      buffer.data_ = idle.back();
      idle.pop_back();
      return buffer;
    }
    allocated_bytes_ += size * static_cast<int64_t>(sizeof(float));
  }
  buffer.data_ = Allocate(size);
  return buffer;
}

int64_t BufferPool::allocated_bytes() const {
  absl::MutexLock lock(&mutex_);
  return allocated_bytes_;
}

void BufferPool::GiveBack(float* data, int64_t size) {
  absl::MutexLock lock(&mutex_);
  idle_[size].push_back(data);
}

}  // namespace paramd
