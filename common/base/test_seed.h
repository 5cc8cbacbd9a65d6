// The seed of a randomised test, printed by the test's main (common/base:gtest_main). It is 1 unless the environment
// variable PARAMD_TEST_SEED gives another: bazel test --test_env=PARAMD_TEST_SEED=42 //...
#ifndef PARAMD_COMMON_BASE_TEST_SEED_H_
#define PARAMD_COMMON_BASE_TEST_SEED_H_

#include <cstdint>

namespace paramd {

// Constant while the test runs.
uint64_t TestSeed();

}  // namespace paramd

#endif  // PARAMD_COMMON_BASE_TEST_SEED_H_
