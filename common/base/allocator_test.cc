#include "common/base/allocator.h"

#include <sys/resource.h>

#include <cstdlib>
#include <cstring>
#include <thread>

#include "common/base/thread_sanitizer.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

constexpr size_t kBlockBytes = 4 << 20;
constexpr int kBlocks = 8;  // At a time, as of chunks that arrive while others are summed.
constexpr int kRounds = 20;

// Page faults of making, filling and freeing blocks of a chunk's size many times.
long Faults() {
  rusage before, after;
  getrusage(RUSAGE_THREAD, &before);
  for (int i = 0; i < kRounds; ++i) {
    char* blocks[kBlocks];
    for (char*& block : blocks) {
      block = static_cast<char*>(malloc(kBlockBytes));
      memset(block, i, kBlockBytes);
      asm volatile("" : : "r"(block) : "memory");  // The optimiser must not see that nobody reads it.
    }
    for (char* block : blocks) free(block);
  }
  getrusage(RUSAGE_THREAD, &after);
  return after.ru_minflt - before.ru_minflt;
}

TEST(AllocatorTest, LargeBlocksAreFaultedInOnce) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "sanitizers have their own allocator";
#endif
  if (UnderThreadSanitizer()) GTEST_SKIP() << "sanitizers have their own allocator";
  ConfigureAllocatorForBulk();
  constexpr long kPages = kBlocks * kBlockBytes / 4096;
  EXPECT_LT(Faults(), 2 * kPages) << "on the main thread";
  long elsewhere = 0;
  std::thread([&elsewhere] { elsewhere = Faults(); }).join();
  EXPECT_LT(elsewhere, 2 * kPages) << "in an arena of its own";
}

}  // namespace
}  // namespace paramd
