#include "common/base/cpu_info.h"

#include <sched.h>

#include <fstream>
#include <string>

#include "gtest/gtest.h"

namespace paramd {
namespace {

TEST(CpuInfoTest, Names) {
  EXPECT_EQ(IsaName(Isa::kPortable), "portable");
  EXPECT_EQ(IsaName(Isa::kAvx2), "avx2");
  EXPECT_EQ(IsaName(Isa::kAvx512), "avx512");
}

TEST(CpuInfoTest, AgreesWithTheKernel) {
  std::ifstream cpuinfo("/proc/cpuinfo");
  std::string flags;
  while (std::getline(cpuinfo, flags) && flags.rfind("flags", 0) != 0) {
  }
  if (flags.empty()) GTEST_SKIP() << "no flags in /proc/cpuinfo";
  flags += ' ';
  EXPECT_EQ(DetectIsa() >= Isa::kAvx2, flags.find(" avx2 ") != std::string::npos);
  EXPECT_EQ(DetectIsa() == Isa::kAvx512, flags.find(" avx512bw ") != std::string::npos);
}

TEST(CpuInfoTest, ThreadsFollowTheAffinityMask) {
  cpu_set_t set;
  ASSERT_EQ(sched_getaffinity(0, sizeof(set), &set), 0);
  EXPECT_EQ(HardwareThreads(), CPU_COUNT(&set));
}

}  // namespace
}  // namespace paramd
