#include "common/tensor/codec.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/philox.h"
#include "common/base/sha256.h"
#include "common/base/status_matchers.h"
#include "common/base/test_seed.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace paramd {
namespace {

constexpr v1::Codec kCodecs[] = {v1::CODEC_FP32, v1::CODEC_BF16, v1::CODEC_FP16,
                                 v1::CODEC_INT8, v1::CODEC_TOPK, v1::CODEC_ONEBIT};
constexpr double kRatio = 0.01;

std::vector<float> RandomValues(size_t size) {
  Philox random(TestSeed(), RandomStream::kTest);
  std::vector<float> values(size);
  for (float& value : values) value = random.Normal();
  return values;
}

std::string Sha256Of(absl::Span<const float> values) {
  Sha256 hash;
  hash.Update(absl::string_view(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)));
  return hash.FinishHex();
}

// As testdata/make_codec_goldens.py describes it.
std::vector<float> GoldenInput(const nlohmann::json& golden) {
  std::vector<float> values;
  if (golden.contains("bits")) {
    for (const uint32_t bits : golden["bits"]) values.push_back(std::bit_cast<float>(bits));
    return values;
  }
  uint32_t x = golden["seed"];
  values.resize(golden["elements"]);
  for (float& value : values) {
    x = 1664525 * x + 1013904223;
    value = std::ldexp(static_cast<float>(static_cast<int32_t>(x >> 8) - (1 << 23)), -20 - static_cast<int>(x & 15));
  }
  return values;
}

TEST(CodecTest, Goldens) {
  std::ifstream file("common/tensor/testdata/codec_goldens.json");
  const nlohmann::json goldens = nlohmann::json::parse(file);
  ASSERT_EQ(goldens.size(), 11u);
  for (const nlohmann::json& golden : goldens) {
    v1::Codec codec = v1::CODEC_UNSPECIFIED;
    ASSERT_TRUE(v1::Codec_Parse(golden["codec"].get<std::string>(), &codec));
    const std::vector<float> values = GoldenInput(golden);
    std::vector<float> residual(values.size()), decoded(values.size());
    for (size_t round = 0; round < golden["rounds"].size(); ++round) {
      SCOPED_TRACE(absl::StrCat(v1::Codec_Name(codec), " of ", values.size(), " values, round ", round));
      const nlohmann::json& expected = golden["rounds"][round];
      std::string bytes;
      ASSERT_OK(EncodeRun(codec, values, golden["ratio"], absl::MakeSpan(residual), bytes));
      EXPECT_EQ(absl::BytesToHexString(bytes), expected["encoded"].get<std::string>());
      if (!expected.contains("decoded")) continue;
      absl::string_view rest = bytes;
      ASSERT_OK(DecodeRun(codec, rest, absl::MakeSpan(decoded)));
      EXPECT_EQ(Sha256Of(decoded), expected["decoded"].get<std::string>());
      EXPECT_EQ(Sha256Of(residual), expected["residual"].get<std::string>());
    }
  }
}

TEST(CodecTest, RunsAreAppendedAndTakenFromTheFront) {
  const std::vector<float> values = RandomValues(1000);
  std::string bytes;
  size_t expected = 0;
  for (const v1::Codec codec : kCodecs) {
    ASSERT_OK(EncodeRun(codec, values, kRatio, {}, bytes));
    expected += MaxEncodedBytes(codec, values.size(), kRatio);
    EXPECT_EQ(bytes.size(), expected) << v1::Codec_Name(codec);
  }
  absl::string_view rest = bytes;
  for (const v1::Codec codec : kCodecs) {
    std::vector<float> decoded(1000);
    ASSERT_OK(DecodeRun(codec, rest, absl::MakeSpan(decoded)));
    if (codec == v1::CODEC_FP32) {
      EXPECT_EQ(decoded, values);
    }
    if (codec == v1::CODEC_BF16 || codec == v1::CODEC_FP16) {
      for (size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(decoded[i], values[i], std::fabs(values[i]) / 256 + 1e-7);
    }
  }
  EXPECT_TRUE(rest.empty());
}

TEST(CodecTest, OnlyCodecsWithErrorFeedbackTouchTheResidual) {
  const std::vector<float> values = RandomValues(1000);
  for (const v1::Codec codec : kCodecs) {
    std::vector<float> residual(1000, 0.25f);
    std::string with, without;
    ASSERT_OK(EncodeRun(codec, values, kRatio, absl::MakeSpan(residual), with));
    ASSERT_OK(EncodeRun(codec, values, kRatio, {}, without));
    EXPECT_EQ(with != without, HasErrorFeedback(codec)) << v1::Codec_Name(codec);
    EXPECT_EQ(residual != std::vector<float>(1000, 0.25f), HasErrorFeedback(codec)) << v1::Codec_Name(codec);
  }
}

TEST(CodecTest, EmptyRuns) {
  for (const v1::Codec codec : kCodecs) {
    std::string bytes;
    ASSERT_OK(EncodeRun(codec, {}, kRatio, {}, bytes));
    EXPECT_EQ(bytes, "");
    absl::string_view rest = bytes;
    EXPECT_OK(DecodeRun(codec, rest, {}));
  }
}

TEST(CodecTest, ValuesThatAreNotFiniteShowInEveryCodec) {
  for (const v1::Codec codec : kCodecs) {
    for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
      std::vector<float> values = RandomValues(10000), residual(10000), decoded(10000);
      values[6789] = bad;
      std::string bytes;
      ASSERT_OK(EncodeRun(codec, values, kRatio, absl::MakeSpan(residual), bytes));
      absl::string_view rest = bytes;
      ASSERT_OK(DecodeRun(codec, rest, absl::MakeSpan(decoded)));
      EXPECT_FALSE(std::isfinite(decoded[6789])) << v1::Codec_Name(codec);
      // The next run is sound again.
      bytes.clear();
      ASSERT_OK(EncodeRun(codec, RandomValues(10000), kRatio, absl::MakeSpan(residual), bytes));
      rest = bytes;
      ASSERT_OK(DecodeRun(codec, rest, absl::MakeSpan(decoded)));
      for (const float value : decoded) ASSERT_TRUE(std::isfinite(value)) << v1::Codec_Name(codec);
    }
  }
}

TEST(CodecTest, ArgumentsThatDoNotFit) {
  std::string bytes;
  std::vector<float> values(10), residual(9);
  absl::string_view none;
  for (const v1::Codec codec : {v1::CODEC_UNSPECIFIED, v1::CODEC_PER_GROUP, static_cast<v1::Codec>(99)}) {
    EXPECT_THAT(EncodeRun(codec, values, 1, {}, bytes),
                StatusIs(absl::StatusCode::kInvalidArgument, "UNSUPPORTED_CODEC"));
    EXPECT_THAT(DecodeRun(codec, none, absl::MakeSpan(values)),
                StatusIs(absl::StatusCode::kInvalidArgument, "UNSUPPORTED_CODEC"));
    EXPECT_EQ(MaxEncodedBytes(codec, 10, 1), 0u);
  }
  EXPECT_THAT(EncodeRun(v1::CODEC_INT8, values, 1, absl::MakeSpan(residual), bytes),
              StatusIs(absl::StatusCode::kInvalidArgument, "PARAM_SHAPE_MISMATCH"));
  EXPECT_EQ(bytes, "");
}

TEST(CodecTest, EveryTruncationIsRefused) {
  const std::vector<float> values = RandomValues(300);
  for (const v1::Codec codec : kCodecs) {
    std::string bytes;
    ASSERT_OK(EncodeRun(codec, values, 0.1, {}, bytes));
    std::vector<float> out(300);
    for (size_t size = 0; size < bytes.size(); ++size) {
      // In a buffer of its own, so that a sanitizer sees a byte read too many.
      const std::vector<char> part(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
      absl::string_view rest(part.data(), part.size());
      ASSERT_THAT(DecodeRun(codec, rest, absl::MakeSpan(out)),
                  StatusIs(absl::StatusCode::kInvalidArgument, "MALFORMED_PAYLOAD"))
          << v1::Codec_Name(codec) << " cut at " << size;
    }
  }
}

// Whatever the bytes: OK or a status, never a byte beyond them, and what is taken is at most what was there.
TEST(CodecTest, MutatedBytesNeverReadOrWriteBeyond) {
  Philox random(TestSeed(), RandomStream::kTest, 1);
  for (const v1::Codec codec : kCodecs) {
    for (const size_t elements : {3, 300, 70000}) {
      std::string good;
      ASSERT_OK(EncodeRun(codec, RandomValues(elements), 0.02, {}, good));
      int refused = 0;
      for (int i = 0; i < 300; ++i) {
        std::vector<char> bytes(good.begin(), good.end());
        for (uint64_t edits = 1 + random.Below(4); edits > 0 && !bytes.empty(); --edits) {
          bytes[random.Below(bytes.size())] = static_cast<char>(random.Next32());
        }
        if (random.Below(3) == 0) bytes.resize(random.Below(bytes.size() + 8));
        std::vector<float> out(elements);
        absl::string_view rest(bytes.data(), bytes.size());
        const absl::Status status = DecodeRun(codec, rest, absl::MakeSpan(out));
        if (!status.ok()) {
          ++refused;
          ASSERT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument, "MALFORMED_PAYLOAD"));
        }
        ASSERT_LE(rest.size(), bytes.size());
      }
      EXPECT_GT(refused, 0) << v1::Codec_Name(codec);
      EXPECT_LT(refused, 300) << v1::Codec_Name(codec);
    }
  }
}

}  // namespace
}  // namespace paramd
