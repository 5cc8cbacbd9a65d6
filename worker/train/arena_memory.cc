#include "worker/train/arena_memory.h"

#include <algorithm>
#include <new>
#include <utility>

namespace paramd {
namespace {

constexpr size_t kPageBytes = 4096;
constexpr auto kPage = std::align_val_t{kPageBytes};

size_t WholePages(int64_t elements) {
  return (static_cast<size_t>(elements) * sizeof(float) + kPageBytes - 1) / kPageBytes * kPageBytes;
}

}  // namespace

ArenaMemory::ArenaMemory(std::shared_ptr<SharedSegment> segment) : segment_(std::move(segment)) {}

absl::Span<float> ArenaMemory::Allocate(int64_t elements) {
  bytes_ += elements * static_cast<int64_t>(sizeof(float));
  absl::Span<float> floats;
  if (segment_ != nullptr) floats = segment_->AllocateFloats(static_cast<size_t>(elements));
  if (!floats.empty() || elements == 0) return floats;
  auto* const memory = static_cast<float*>(::operator new(WholePages(elements), kPage));
  heap_.emplace_back(memory);
  std::fill_n(memory, elements, 0.0f);
  return {memory, static_cast<size_t>(elements)};
}

void ArenaMemory::Free::operator()(float* memory) const { ::operator delete(memory, kPage); }

size_t ArenaMemory::SharedBytes(int64_t elements) { return WholePages(elements) + kPageBytes; }

}  // namespace paramd
