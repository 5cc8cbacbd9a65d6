// The main function of every test.
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "absl/strings/numbers.h"
#include "common/base/test_seed.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace paramd {

uint64_t TestSeed() {
  static const uint64_t seed = [] {
    const char* text = std::getenv("PARAMD_TEST_SEED");
    uint64_t value = 1;
    if (text != nullptr && !absl::SimpleAtoi(text, &value)) {
      std::fprintf(stderr, "PARAMD_TEST_SEED must be an unsigned integer, got \"%s\"\n", text);
      std::exit(2);
    }
    return value;
  }();
  return seed;
}

}  // namespace paramd

int main(int argc, char** argv) {
  testing::InitGoogleMock(&argc, argv);
  std::printf("PARAMD_TEST_SEED=%llu\n", static_cast<unsigned long long>(paramd::TestSeed()));
  return RUN_ALL_TESTS();
}
