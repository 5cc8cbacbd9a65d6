#include "worker/graph/testdata/golden_file.h"

#include <algorithm>
#include <cmath>
#include <fstream>

#include "gtest/gtest.h"

namespace paramd {

GoldenFile ReadGoldenFile(const std::string& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file.good()) << path;
  GoldenFile golden;
  std::string name;
  size_t count = 0;
  while (file >> name >> count) {
    std::vector<float>& values = golden[name];
    values.resize(count);
    for (float& value : values) EXPECT_TRUE(file >> value) << path << ": " << name;
  }
  EXPECT_FALSE(golden.empty()) << path;
  return golden;
}

std::vector<float> Wave(int seed, int64_t count, float scale, float shift) {
  std::vector<float> wave(count);
  for (int64_t i = 0; i < count; ++i) {
    wave[i] = static_cast<float>(std::sin(1.3 * static_cast<double>(i + 1) * (0.7 + 0.11 * seed)) * 0.3);
    wave[i] = wave[i] * scale + shift;
  }
  return wave;
}

void ExpectClose(absl::Span<const float> want, absl::Span<const float> got, double tolerance, const std::string& what) {
  ASSERT_EQ(want.size(), got.size()) << what;
  double largest = 1e-3;
  for (float value : want) largest = std::max<double>(largest, std::abs(value));
  for (size_t i = 0; i < want.size(); ++i) ASSERT_NEAR(want[i], got[i], tolerance * largest) << what << "[" << i << "]";
}

}  // namespace paramd
