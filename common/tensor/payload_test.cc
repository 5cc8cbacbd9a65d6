#include "common/tensor/payload.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "common/base/crc32c.h"
#include "common/base/philox.h"
#include "common/base/test_seed.h"
#include "common/tensor/reduce.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

std::vector<float> RandomValues(size_t size, uint32_t stream) {
  Philox random(TestSeed(), RandomStream::kTest, stream);
  std::vector<float> values(size);
  for (float& value : values) value = random.Normal();
  return values;
}

std::string BytesOf(const std::vector<float>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
}

bool SameBits(absl::Span<const float> a, absl::Span<const float> b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

// A copy of `bytes` cut into pieces of the given sizes, the last taking what is left, each a heap block of its own (so
// that a read past an end is seen by AddressSanitizer) and starting at an odd address when `odd`.
class Fragments {
 public:
  Fragments(absl::string_view bytes, const std::vector<size_t>& sizes, bool odd = false) : size_(bytes.size()) {
    for (const size_t size : sizes) {
      Add(bytes.substr(0, size), odd);
      bytes.remove_prefix(std::min(size, bytes.size()));
    }
    if (!bytes.empty()) Add(bytes, odd);
  }
  PayloadView view() const { return PayloadView(pieces_, size_); }

 private:
  void Add(absl::string_view piece, bool odd) {
    memory_.push_back(std::make_unique<char[]>(piece.size() + odd));
    std::copy(piece.begin(), piece.end(), memory_.back().get() + odd);
    pieces_.push_back(absl::string_view(memory_.back().get() + odd, piece.size()));
  }

  std::vector<std::unique_ptr<char[]>> memory_;
  std::vector<absl::string_view> pieces_;
  size_t size_;
};

void ExpectReads(const PayloadView& payload, const std::vector<float>& values, size_t first, size_t count) {
  const absl::Span<const float> expected = absl::MakeConstSpan(values).subspan(first, count);
  std::vector<float> copied(count, -1);
  CopyFloats(payload, first, absl::MakeSpan(copied));
  EXPECT_TRUE(SameBits(copied, expected));

  std::vector<float> sums = RandomValues(count, 9), expected_sums = sums;
  AddInto(absl::MakeSpan(expected_sums), expected);
  AddFloats(payload, first, absl::MakeSpan(sums));
  EXPECT_TRUE(SameBits(sums, expected_sums));
}

TEST(PayloadTest, OneFragmentNeedsNoArray) {
  const std::vector<float> values = RandomValues(5, 1);
  const std::string bytes = BytesOf(values);
  PayloadView view;
  {
    std::vector<absl::string_view> array = {bytes};
    view = PayloadView(array, bytes.size());
  }
  EXPECT_EQ(view.fragment_count(), 1u);
  EXPECT_EQ(view.fragment(0).data(), bytes.data());
  ExpectReads(view, values, 0, 5);
  ExpectReads(PayloadView(bytes), values, 2, 3);
}

TEST(PayloadTest, NothingIsEmpty) {
  std::string scratch;
  for (const PayloadView& view : {PayloadView(), PayloadView(""), PayloadView({}, 0)}) {
    EXPECT_TRUE(view.empty());
    EXPECT_EQ(view.fragment_count(), 0u);
    EXPECT_EQ(Contiguous(view, scratch), "");
    EXPECT_EQ(Crc32c(view), 0u);
    ExpectReads(view, {}, 0, 0);
  }
}

TEST(PayloadTest, ReadsAcrossEveryPairOfCuts) {
  const std::vector<float> values = RandomValues(6, 1);
  const std::string bytes = BytesOf(values);
  for (size_t a = 0; a <= bytes.size(); ++a) {
    for (size_t b = 0; a + b <= bytes.size(); ++b) {
      const Fragments fragments(bytes, {a, b});
      SCOPED_TRACE(testing::Message() << "cuts at " << a << " and " << a + b);
      ExpectReads(fragments.view(), values, 0, 6);
      ExpectReads(fragments.view(), values, 1, 4);
      ExpectReads(fragments.view(), values, 3, 3);
    }
  }
}

TEST(PayloadTest, ReadsFromFragmentsOfOneByte) {
  const std::vector<float> values = RandomValues(67, 1);
  const std::string bytes = BytesOf(values);
  const Fragments fragments(bytes, std::vector<size_t>(bytes.size(), 1));
  EXPECT_EQ(fragments.view().fragment_count(), bytes.size());
  ExpectReads(fragments.view(), values, 0, 67);
  ExpectReads(fragments.view(), values, 33, 34);
}

TEST(PayloadTest, ReadsFromRandomFragments) {
  Philox random(TestSeed(), RandomStream::kTest, 2);
  for (int round = 0; round < 300; ++round) {
    const std::vector<float> values = RandomValues(random.Below(5000), 100 + round);
    std::vector<size_t> sizes(random.Below(20));
    for (size_t& size : sizes) size = random.Below(2000);
    const Fragments fragments(BytesOf(values), sizes, random.Below(2) == 1);
    const size_t first = random.Below(values.size() + 1);
    SCOPED_TRACE(testing::Message() << "round " << round);
    ExpectReads(fragments.view(), values, first, random.Below(values.size() - first + 1));
  }
}

// Copies choose their way by the distance of source and destination within a page.
TEST(PayloadTest, CopiesFromAnyAddress) {
  const std::vector<float> values = RandomValues(3000, 1);
  const std::string bytes = BytesOf(values);
  alignas(4096) static char page[3 * 4096];
  alignas(4096) static char memory[4096 + 12000];
  for (size_t offset = 0; offset < 4096; ++offset) {
    std::copy(bytes.begin(), bytes.end(), memory + offset);
    const absl::Span<float> out(reinterpret_cast<float*>(page), values.size());
    std::fill(out.begin(), out.end(), -1.0f);
    CopyFloats(PayloadView(absl::string_view(memory + offset, bytes.size())), 0, out);
    ASSERT_TRUE(SameBits(out, values)) << offset;
  }
}

TEST(PayloadTest, ReaderGoesOnWhereItStopped) {
  const std::vector<float> values = RandomValues(1000, 1);
  const Fragments fragments(BytesOf(values), {3, 5, 1001, 0, 2});
  FloatReader reader(fragments.view());
  std::vector<float> copied(1000), ones(1000, 1), expected = ones;
  AddInto(absl::MakeSpan(expected), values);
  for (size_t begin = 0, size = 1; begin < 1000; begin += size, size = size % 97 + 13) {
    size = std::min(size, 1000 - begin);
    if (size % 3 == 0) {
      reader.Copy(absl::MakeSpan(copied).subspan(begin, size));
      EXPECT_TRUE(SameBits(absl::MakeSpan(copied).subspan(begin, size), absl::MakeSpan(values).subspan(begin, size)));
    } else if (size % 3 == 1) {
      reader.Add(absl::MakeSpan(ones).subspan(begin, size));
      EXPECT_TRUE(SameBits(absl::MakeSpan(ones).subspan(begin, size), absl::MakeSpan(expected).subspan(begin, size)));
    } else {
      reader.Skip(size);
    }
  }
}

TEST(PayloadTest, WhatThePayloadLacksIsLeftAlone) {
  const std::vector<float> values = RandomValues(3, 1);
  const std::string bytes = BytesOf(values).substr(0, 11);  // The third element lacks a byte.
  for (const std::vector<size_t>& sizes : {std::vector<size_t>{}, std::vector<size_t>{9}}) {
    const Fragments fragments(bytes, sizes);
    std::vector<float> out(4, 7);
    CopyFloats(fragments.view(), 0, absl::MakeSpan(out));
    EXPECT_TRUE(SameBits(out, {values[0], values[1], 7, 7}));
    AddFloats(fragments.view(), 100, absl::MakeSpan(out));
    EXPECT_TRUE(SameBits(out, {values[0], values[1], 7, 7}));
  }
}

TEST(PayloadTest, SubviewIsTheBytesBetween) {
  const std::string bytes = "abcdefghij";
  const Fragments fragments(bytes, {3, 0, 4});
  FragmentVector storage;
  std::string scratch;
  for (size_t offset = 0; offset <= 11; ++offset) {
    for (size_t size = 0; size <= 11; ++size) {
      const PayloadView view = fragments.view().Subview(offset, size, storage);
      const std::string expected = offset > bytes.size() ? "" : bytes.substr(offset, size);
      EXPECT_EQ(Contiguous(view, scratch), expected) << offset << " " << size;
      EXPECT_EQ(view.size(), expected.size());
    }
  }
}

TEST(PayloadTest, ContiguousCopiesOnlyWhatIsDivided) {
  const std::string bytes = "abcdefghij";
  std::string scratch = "old";
  EXPECT_EQ(Contiguous(PayloadView(bytes), scratch).data(), bytes.data());
  EXPECT_EQ(scratch, "old");
  const Fragments fragments(bytes, {1, 5});
  EXPECT_EQ(Contiguous(fragments.view(), scratch), bytes);
  EXPECT_EQ(scratch, bytes);
}

TEST(PayloadTest, ChecksumDoesNotDependOnTheCuts) {
  const std::string bytes = BytesOf(RandomValues(1000, 1));
  for (size_t cut = 0; cut < 40; ++cut) {
    EXPECT_EQ(Crc32c(Fragments(bytes, {cut, 1, cut * 7}).view()), Crc32c(bytes)) << cut;
  }
  EXPECT_EQ(Crc32c(Fragments("123456789", {4}).view()), 0xE3069283u);
}

TEST(PayloadTest, CopiesAndChecksInOnePass) {
  const std::vector<float> values = RandomValues(30'000, 2);  // Several pieces.
  const std::string bytes = BytesOf(values);
  for (const std::vector<size_t>& cuts : {std::vector<size_t>{}, {1}, {40'001, 7}, {0, 65'537, 3}}) {
    std::vector<float> out(values.size());
    EXPECT_EQ(CopyFloatsWithCrc32c(Fragments(bytes, cuts).view(), absl::MakeSpan(out)), Crc32c(bytes));
    EXPECT_EQ(BytesOf(out), bytes);
  }
  EXPECT_EQ(CopyFloatsWithCrc32c(PayloadView(), {}), 0u);
}

}  // namespace
}  // namespace paramd
