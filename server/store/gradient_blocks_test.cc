#include "server/store/gradient_blocks.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "common/base/test_seed.h"
#include "common/tensor/codec_half.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

using Values = std::vector<float>;

Values Random(size_t size, uint64_t seed) {
  std::mt19937_64 generator(TestSeed() + seed);
  std::normal_distribution<float> normal;
  Values values(size);
  for (float& value : values) value = normal(generator);
  return values;
}

// The bytes, copied apart into fragments of random sizes, some empty, at random alignments.
class Fragments {
 public:
  Fragments(absl::string_view bytes, uint64_t seed) {
    std::mt19937_64 generator(TestSeed() + seed);
    while (!bytes.empty()) {
      const size_t size = std::min<size_t>(bytes.size(), generator() % 4 == 0 ? generator() % 8 : generator() % 20000);
      const size_t shift = generator() % 8;
      memory_.push_back(std::string(shift, 'x') + std::string(bytes.substr(0, size)));
      shifts_.push_back(shift);
      bytes.remove_prefix(size);
      size_ += size;
    }
    for (size_t i = 0; i < memory_.size(); ++i) views_.push_back(absl::string_view(memory_[i]).substr(shifts_[i]));
  }
  PayloadView view() const { return PayloadView(views_, size_); }

 private:
  std::vector<std::string> memory_;
  std::vector<size_t> shifts_;
  std::vector<absl::string_view> views_;
  size_t size_ = 0;
};

struct Summed {
  Values sum;
  double squared_norm;
};

Summed SumUp(const GradientPayload& payload, const std::vector<Values>& addends, float average) {
  std::vector<const float*> pointers;
  for (const Values& addend : addends) pointers.push_back(addend.data());
  GradientBlocks blocks(payload, pointers);
  SquaredNormSum norm(average);
  Values sum(payload.elements());
  float scratch[GradientBlocks::kBlockElements];
  for (int64_t begin = 0; begin < payload.elements(); begin += GradientBlocks::kBlockElements) {
    const int64_t size = std::min(GradientBlocks::kBlockElements, payload.elements() - begin);
    std::memcpy(sum.data() + begin, blocks.Next(size, scratch, &norm), size * sizeof(float));
  }
  return {.sum = sum, .squared_norm = norm.Total()};
}

bool SameBits(const Values& a, const Values& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

TEST(GradientBlocksTest, SumsFragmentsAndAddendsInOrderWhereverTheyAreCut) {
  constexpr float kAverage = 1.0f / 3;
  for (const size_t size : {1, 16, 31, 1023, 1024, 1025, 10000}) {
    for (int addend_count = 0; addend_count <= 3; ++addend_count) {
      const Values payload = Random(size, size);
      Values expected = payload;
      std::vector<Values> addends;
      for (int a = 0; a < addend_count; ++a) {
        addends.push_back(Random(size, size + a + 1));
        for (size_t i = 0; i < size; ++i) expected[i] = expected[i] + addends.back()[i];
      }
      const Fragments fragments(AsBytes(payload), size + 10 * addend_count);
      for (const PayloadView& view : {fragments.view(), PayloadView(AsBytes(payload))}) {
        const Summed summed = SumUp({view}, addends, kAverage);
        ASSERT_TRUE(SameBits(summed.sum, expected)) << size << " with " << addend_count;
        ASSERT_EQ(summed.squared_norm, SquaredNorm(expected, kAverage)) << size << " with " << addend_count;
      }
    }
  }
}

TEST(GradientBlocksTest, DecodesHalvesOnTheWay) {
  for (const size_t size : {1, 17, 1024, 5001}) {
    const Values values = Random(size, size), addend = Random(size, size + 1);
    std::vector<uint16_t> halves(size);
    for (v1::Codec codec : {v1::CODEC_BF16, v1::CODEC_FP16}) {
      Values expected(size);
      if (codec == v1::CODEC_BF16) {
        EncodeBf16(values, absl::MakeSpan(halves));
        DecodeBf16(reinterpret_cast<const char*>(halves.data()), absl::MakeSpan(expected));
      } else {
        EncodeFp16(values, absl::MakeSpan(halves));
        DecodeFp16(reinterpret_cast<const char*>(halves.data()), absl::MakeSpan(expected));
      }
      for (size_t i = 0; i < size; ++i) expected[i] = expected[i] + addend[i];
      const Fragments fragments(absl::string_view(reinterpret_cast<const char*>(halves.data()), 2 * size), size);
      const Summed summed = SumUp({.bytes = fragments.view(), .codec = codec}, {addend}, 1);
      EXPECT_TRUE(SameBits(summed.sum, expected)) << v1::Codec_Name(codec) << " " << size;
    }
  }
}

TEST(GradientBlocksTest, SumsInPlaceOfTheFirstAddend) {
  const Values payload = Random(5001, 1), second = Random(5001, 3);
  Values first = Random(5001, 2), expected = payload;
  for (size_t i = 0; i < payload.size(); ++i) expected[i] = expected[i] + first[i] + second[i];
  const Fragments fragments(AsBytes(payload), 4);
  GradientBlocks blocks({fragments.view()}, {first.data(), second.data()});
  for (size_t begin = 0; begin < first.size(); begin += GradientBlocks::kBlockElements) {
    blocks.NextInto(absl::MakeSpan(first).subspan(begin, GradientBlocks::kBlockElements), nullptr);
  }
  EXPECT_TRUE(SameBits(first, expected));
}

TEST(GradientBlocksTest, NormOfAPayloadIsFiniteExactlyWhenItsElementsAre) {
  Values values = Random(3000, 1);
  EXPECT_EQ(SquaredNorm(GradientPayload{PayloadView(AsBytes(values))}, 0.5f), SquaredNorm(values, 0.5f));
  for (size_t i : {0, 1024, 2999}) {
    for (float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
      Values broken = values;
      broken[i] = bad;
      EXPECT_FALSE(std::isfinite(SquaredNorm(GradientPayload{PayloadView(AsBytes(broken))}, 0.5f))) << i;
    }
  }
}

}  // namespace
}  // namespace paramd
