#include "common/base/allocator.h"

#include <malloc.h>

namespace paramd {
namespace {

constexpr int kMaxHeapBlockBytes = 32 << 20;  // glibc's own upper limit of M_MMAP_THRESHOLD.
constexpr int kKeptBytes = 128 << 20;

}  // namespace

void ConfigureAllocatorForBulk() {
  mallopt(M_MMAP_THRESHOLD, kMaxHeapBlockBytes);
  mallopt(M_TRIM_THRESHOLD, kKeptBytes);
  mallopt(M_TOP_PAD, 1 << 20);
}

}  // namespace paramd
