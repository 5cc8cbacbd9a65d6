#include "common/tensor/safetensors.h"

#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/philox.h"
#include "common/base/status_matchers.h"
#include "common/base/test_seed.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

using absl::StatusCode;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;
using ::testing::StartsWith;

std::string Length(uint64_t n) {
  std::string out;
  for (int i = 0; i < 8; ++i) out.push_back(static_cast<char>(n >> (8 * i)));
  return out;
}

// Writes `bytes` to a file of the test and opens it.
absl::StatusOr<SafetensorsReader> OpenBytes(const std::string& bytes) {
  const std::string path = testing::TempDir() + "/bytes.safetensors";
  RETURN_IF_ERROR(AtomicWriteFile(path, bytes));
  return SafetensorsReader::Open(path);
}

absl::StatusOr<SafetensorsReader> OpenJson(const std::string& json, size_t data_bytes) {
  return OpenBytes(Length(json.size()) + json + std::string(data_bytes, '\0'));
}

TEST(SafetensorsTest, GoldenHeaders) {
  ASSERT_OK_AND_ASSIGN(const std::string empty, SerializeSafetensorsHeader({}, {}));
  EXPECT_EQ(empty, Length(8) + "{}      ");
  ASSERT_OK_AND_ASSIGN(const std::string one, SerializeSafetensorsHeader({{{"attn.0", DType::kF32, {1, 2, 3}}}}, {}));
  EXPECT_EQ(one, Length(64) + R"({"attn.0":{"dtype":"F32","shape":[1,2,3],"data_offsets":[0,24]}})");
  ASSERT_OK_AND_ASSIGN(const std::string padded,
                       SerializeSafetensorsHeader({{{"attn0", DType::kF32, {1, 1, 2, 3}}}}, {}));
  EXPECT_EQ(padded, Length(72) + R"({"attn0":{"dtype":"F32","shape":[1,1,2,3],"data_offsets":[0,24]}})" + "       ");
  ASSERT_OK_AND_ASSIGN(const std::string metadata,
                       SerializeSafetensorsHeader({{{"s", DType::kBF16, {}}, {"a\"b", DType::kI64, {0, 2}}}},
                                                  {{"format", "pt"}, {"k", "\n"}}));
  EXPECT_THAT(
      metadata.substr(8),
      StartsWith(R"({"__metadata__":{"format":"pt","k":"\n"},"s":{"dtype":"BF16","shape":[],"data_offsets":[0,2]},)"
                 R"("a\"b":{"dtype":"I64","shape":[0,2],"data_offsets":[2,2]}})"));
}

TEST(SafetensorsTest, WritesAndReadsBack) {
  const std::string path = testing::TempDir() + "/round.safetensors";
  const std::vector<float> w = {1, -2.5f, 3e-9f, 4, 5, 6};
  ASSERT_OK_AND_ASSIGN(SafetensorsWriter writer, SafetensorsWriter::Create(path,
                                                                           {{"w", DType::kF32, {2, 3}},
                                                                            {"none", DType::kF32, {0}},
                                                                            {"half", DType::kF16, {2}},
                                                                            {"brain", DType::kBF16, {}},
                                                                            {"id", DType::kI64, {1}}},
                                                                           {{"step", "7"}}));
  const absl::string_view bytes(reinterpret_cast<const char*>(w.data()), 24);
  ASSERT_OK(writer.Append(bytes.substr(0, 5)));
  ASSERT_OK(writer.Append(bytes.substr(5)));
  EXPECT_THAT(writer.Finish(), StatusIs(StatusCode::kFailedPrecondition));
  ASSERT_OK(writer.Append(absl::string_view("\x00\x3c\x00\xc0\x80\x3f\x01\0\0\0\0\0\0\0", 14)));
  EXPECT_THAT(writer.Append("x"), StatusIs(StatusCode::kFailedPrecondition));
  ASSERT_OK(writer.Finish());

  ASSERT_OK_AND_ASSIGN(const SafetensorsReader reader, SafetensorsReader::Open(path));
  EXPECT_THAT(reader.metadata(), ElementsAre(Pair("format", "pt"), Pair("step", "7")));
  ASSERT_EQ(reader.tensors().size(), 5u);
  ASSERT_OK_AND_ASSIGN(const SafetensorsTensor* tensor, reader.Find("w"));
  EXPECT_THAT(tensor->shape, ElementsAre(2, 3));
  std::vector<float> read(6);
  ASSERT_OK(reader.ReadFloats(*tensor, absl::MakeSpan(read)));
  EXPECT_EQ(read, w);
  ASSERT_OK_AND_ASSIGN(const SafetensorsTensor* half, reader.Find("half"));
  std::vector<float> two(2);
  ASSERT_OK(reader.ReadFloats(*half, absl::MakeSpan(two)));
  EXPECT_THAT(two, ElementsAre(1, -2));
  ASSERT_OK_AND_ASSIGN(const SafetensorsTensor* brain, reader.Find("brain"));
  ASSERT_OK(reader.ReadFloats(*brain, absl::MakeSpan(two).subspan(0, 1)));
  EXPECT_EQ(two[0], 1);
  ASSERT_OK_AND_ASSIGN(const SafetensorsTensor* none, reader.Find("none"));
  EXPECT_OK(reader.ReadFloats(*none, {}));
  ASSERT_OK_AND_ASSIGN(const SafetensorsTensor* id, reader.Find("id"));

  EXPECT_THAT(reader.Find("x"), StatusIs(StatusCode::kNotFound, "TENSOR_NOT_FOUND"));
  EXPECT_THAT(reader.ReadFloats(*tensor, absl::MakeSpan(two)),
              StatusIs(StatusCode::kInvalidArgument, "PARAM_SHAPE_MISMATCH"));
  EXPECT_THAT(reader.ReadFloats(*id, absl::MakeSpan(two).subspan(0, 1)),
              StatusIs(StatusCode::kInvalidArgument, "PARAM_SHAPE_MISMATCH"));
  char raw[8];
  ASSERT_OK(reader.ReadBytes(*tensor, 16, absl::MakeSpan(raw)));
  EXPECT_EQ(std::memcmp(raw, &w[4], 8), 0);
  for (const int64_t offset : {int64_t{-1}, int64_t{17}, int64_t{25}, INT64_MAX, INT64_MIN}) {
    EXPECT_THAT(reader.ReadBytes(*tensor, offset, absl::MakeSpan(raw)), StatusIs(StatusCode::kOutOfRange)) << offset;
  }
}

TEST(SafetensorsTest, LargeHalfTensorIsReadInPieces) {
  constexpr size_t kSize = 200001;
  std::vector<uint16_t> bits(kSize);
  for (size_t i = 0; i < kSize; ++i) bits[i] = static_cast<uint16_t>(i % 30000);
  const std::string path = testing::TempDir() + "/half.safetensors";
  ASSERT_OK_AND_ASSIGN(SafetensorsWriter writer, SafetensorsWriter::Create(path, {{"h", DType::kF16, {kSize}}}));
  ASSERT_OK(writer.Append(absl::string_view(reinterpret_cast<const char*>(bits.data()), 2 * kSize)));
  ASSERT_OK(writer.Finish());
  ASSERT_OK_AND_ASSIGN(const SafetensorsReader reader, SafetensorsReader::Open(path));
  std::vector<float> values(kSize);
  ASSERT_OK(reader.ReadFloats(reader.tensors()[0], absl::MakeSpan(values)));
  for (size_t i = 0; i < kSize; ++i) ASSERT_EQ(values[i], Float16ToFloat(bits[i])) << i;
}

TEST(SafetensorsTest, AcceptsWhatTheFormatAllows) {
  EXPECT_OK(OpenJson("{}", 0));
  EXPECT_OK(OpenJson("{}     ", 0));
  EXPECT_OK(OpenJson(R"({"__metadata__":{}})", 0));
  // Any order of entries and of fields; zero-size tensors; scalars.
  ASSERT_OK_AND_ASSIGN(const SafetensorsReader reader,
                       OpenJson(R"({"b":{"data_offsets":[4,6],"shape":[2],"dtype":"U8"},)"
                                R"("z":{"dtype":"F64","shape":[3,0],"data_offsets":[4,4]},)"
                                R"( "a" : {"dtype":"F32","shape":[],"data_offsets":[0,4]} } )",
                                6));
  std::vector<std::string> names;
  for (const SafetensorsTensor& tensor : reader.tensors()) names.push_back(tensor.name);
  EXPECT_THAT(names, ElementsAre("a", "z", "b"));
}

TEST(SafetensorsTest, RefusesMalformedHeaders) {
  const std::string good = R"("dtype":"U8","shape":[2],"data_offsets":[0,2])";
  const struct {
    std::string json;
    size_t data;
    const char* message;
  } kCases[] = {
      {"", 0, "start with '{'"},
      {" {}", 0, "start with '{'"},
      {"[]", 0, "start with '{'"},
      {"\xef\xbb\xbf{}", 0, "start with '{'"},
      {"{}\n", 0, "end with '}'"},
      {std::string("{}\0", 3), 0, "end with '}'"},
      {std::string("{}\0}", 4), 0, "end with '}'"},
      {"{} }", 0, "JSON"},
      {"{}{}", 0, "JSON"},
      {"{\"a\":}", 0, "JSON"},
      {"{\"a\xff\":{}}", 0, "JSON"},
      {"{'a':{}}", 0, "JSON"},
      {"{" + std::string(50, '{') + "}", 0, "JSON"},
      {R"({"a":1})", 0, "must be an object"},
      {R"({"a":[]})", 0, "must be an object"},
      {R"({"a":null})", 0, "must be an object"},
      {R"({"a":"x"})", 0, "must be an object"},
      {R"({"a":{}})", 0, "no dtype"},
      {R"({"a":{"dtype":"U8"}})", 0, "no shape"},
      {R"({"a":{"dtype":"U8","shape":[2]}})", 2, "must have data_offsets"},
      {R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0]}})", 2, "must have data_offsets"},
      {R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2,3]}})", 2, "more than 2"},
      {R"({"a":{"dtype":"U7","shape":[2],"data_offsets":[0,2]}})", 2, "unknown dtype \"U7\""},
      {R"({"a":{"dtype":8,"shape":[2],"data_offsets":[0,2]}})", 2, "a number"},
      {R"({"a":{"dtype":["U8"],"shape":[2],"data_offsets":[0,2]}})", 2, "an array"},
      {R"({"a":{"dtype":"U8","shape":2,"data_offsets":[0,2]}})", 2, "a number"},
      {R"({"a":{"dtype":"U8","shape":"2","data_offsets":[0,2]}})", 2, "a string"},
      {R"({"a":{"dtype":"U8","shape":[[2]],"data_offsets":[0,2]}})", 2, "an array"},
      {R"({"a":{"dtype":"U8","shape":[{}],"data_offsets":[0,2]}})", 2, "an object"},
      {R"({"a":{"dtype":"U8","shape":["2"],"data_offsets":[0,2]}})", 2, "a string"},
      {R"({"a":{"dtype":"U8","shape":[true],"data_offsets":[0,2]}})", 2, "a boolean"},
      {R"({"a":{"dtype":"U8","shape":[-2],"data_offsets":[0,2]}})", 2, "negative"},
      {R"({"a":{"dtype":"U8","shape":[2.0],"data_offsets":[0,2]}})", 2, "no integer"},
      {R"({"a":{"dtype":"U8","shape":[99999999999999999999],"data_offsets":[0,2]}})", 2, "too large"},
      {R"({"a":{"dtype":"U8","shape":[9223372036854775808],"data_offsets":[0,2]}})", 2, "above 2^63"},
      {R"({"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0, "overflows"},
      {R"({"a":{"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]}})", 0, "overflows"},
      {R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2],"x":1}})", 2, "unknown field \"x\""},
      {R"({"a":{"dtype":"U8","dtype":"U8","shape":[2],"data_offsets":[0,2]}})", 2, "dtype twice"},
      {R"({"a":{"dtype":"U8","shape":[2],"shape":[2],"data_offsets":[0,2]}})", 2, "shape twice"},
      {R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2],"data_offsets":[0,2]}})", 2, "data_offsets twice"},
      {"{\"a\":{" + good + "},\"a\":{" + good + "}}", 2, "duplicate name \"a\""},
      {R"({"__metadata__":{},"__metadata__":{}})", 0, "duplicate name"},
      {R"({"__metadata__":{"k":"v","k":"v"}})", 0, "duplicate metadata key"},
      {R"({"__metadata__":{"k":1}})", 0, "a number"},
      {R"({"__metadata__":{"k":{}}})", 0, "an object"},
      {R"({"__metadata__":{"k":["v"]}})", 0, "an array"},
      {"{\"a\":{" + good + "}}", 1, "the tensors end at 2, but the file has 1"},
      {"{\"a\":{" + good + "}}", 3, "the tensors end at 2, but the file has 3"},
      {"{}", 1, "the tensors end at 0"},
      {R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})", 3, "a hole"},
      {R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[2,0]}})", 2, "data_offsets [2, 0]"},
      {R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,2]}})", 2, "has 3 bytes"},
      {"{\"a\":{" + good + "},\"b\":{" + good + "}}", 2, "inside the one before"},
      {"{\"a\":{" + good + R"(},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})", 3, "inside the one before"},
      {"{\"a\":{" + good + R"(},"b":{"dtype":"U8","shape":[2],"data_offsets":[3,5]}})", 5, "a hole"},
  };
  for (const auto& c : kCases) {
    const auto reader = OpenJson(c.json, c.data);
    EXPECT_THAT(reader, StatusIs(StatusCode::kInvalidArgument, "INVALID_SAFETENSORS")) << c.json;
    EXPECT_THAT(std::string(reader.status().message()), HasSubstr(c.message)) << c.json;
  }
}

TEST(SafetensorsTest, RefusesMalformedFiles) {
  const struct {
    std::string bytes;
    const char* message;
  } kCases[] = {
      {"", "too short"},
      {"1234567", "too short"},
      {Length(3) + "{}", "reaches beyond"},
      {Length(100'000'001) + "{}", "above the limit"},
      {Length(UINT64_MAX) + "{}", "above the limit"},
      {Length(UINT64_MAX - 7) + "{}", "above the limit"},
      {Length(0), "start with '{'"},
  };
  for (const auto& c : kCases) {
    const auto reader = OpenBytes(c.bytes);
    EXPECT_THAT(reader, StatusIs(StatusCode::kInvalidArgument, "INVALID_SAFETENSORS")) << c.message;
    EXPECT_THAT(std::string(reader.status().message()), HasSubstr(c.message));
  }
  EXPECT_THAT(SafetensorsReader::Open(testing::TempDir() + "/none"), StatusIs(StatusCode::kNotFound, "FILE_NOT_FOUND"));
}

TEST(SafetensorsTest, FileThatShrinksIsDataLoss) {
  const std::string json = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  ASSERT_OK_AND_ASSIGN(const SafetensorsReader reader, OpenJson(json, 8));
  ASSERT_OK_AND_ASSIGN(OutputFile same, OutputFile::Create(testing::TempDir() + "/bytes.safetensors"));  // Empties it.
  std::vector<float> out(2);
  EXPECT_THAT(reader.ReadFloats(reader.tensors()[0], absl::MakeSpan(out)),
              StatusIs(StatusCode::kDataLoss, "FILE_TRUNCATED"));
}

TEST(SafetensorsTest, WriterRefusals) {
  const std::vector<std::vector<SafetensorsSpec>> bad = {
      {{"a", DType::kF32, {1}}, {"a", DType::kF32, {1}}},
      {{"__metadata__", DType::kF32, {1}}},
      {{"a\xff", DType::kF32, {1}}},
      {{"a", DType::kF32, {-1}}},
      {{"a", DType::kF32, {INT64_MAX}}},
      {{"a", DType::kU8, {INT64_MAX}}, {"b", DType::kU8, {1}}},
  };
  for (const auto& specs : bad) {
    EXPECT_THAT(SafetensorsWriter::Create(testing::TempDir() + "/bad", specs),
                StatusIs(StatusCode::kInvalidArgument, "INVALID_SAFETENSORS"));
  }
  EXPECT_THAT(SafetensorsWriter::Create(testing::TempDir() + "/no/f", {}), StatusIs(StatusCode::kNotFound));
  EXPECT_THAT(SerializeSafetensorsHeader({}, {{"k", "\xc3"}}), StatusIs(StatusCode::kInvalidArgument));
}

// Ten thousand random edits of a good file: never a crash, and what is accepted obeys the format's rules.
TEST(SafetensorsTest, RandomEditsAreRefusedOrSound) {
  ASSERT_OK_AND_ASSIGN(
      const std::string start,
      SerializeSafetensorsHeader({{{"a.weight", DType::kF32, {3, 2}}, {"b", DType::kU8, {5}}}}, {{"format", "pt"}}));
  const std::string json = start.substr(8);
  const std::vector<std::string> pieces = {"{",
                                           "}",
                                           "[",
                                           "]",
                                           ",",
                                           ":",
                                           "\"",
                                           "\"a\"",
                                           "0",
                                           "-1",
                                           "1e9",
                                           "18446744073709551615",
                                           "\\u0000",
                                           "__metadata__",
                                           "data_offsets",
                                           "shape",
                                           "null",
                                           " ",
                                           "[[[["};
  Philox random(TestSeed(), RandomStream::kTest);
  int accepted = 0;
  for (int i = 0; i < 10000; ++i) {
    std::string text = json;
    for (uint64_t edits = 1 + random.Below(3); edits > 0; --edits) {
      const size_t at = random.Below(text.size());
      switch (random.Below(4)) {
        case 0:
          text[at] = static_cast<char>(random.Next32());
          break;
        case 1:
          text.insert(at, pieces[random.Below(pieces.size())]);
          break;
        case 2:
          text.erase(at, 1 + random.Below(8));
          break;
        default:
          text.insert(at, text.substr(random.Below(text.size()), random.Below(40)));
          break;
      }
      if (text.empty()) text = " ";
    }
    const auto header = ParseSafetensorsHeader(text, 29);
    if (!header.ok()) {
      ASSERT_THAT(header, StatusIs(StatusCode::kInvalidArgument, "INVALID_SAFETENSORS"));
      continue;
    }
    ++accepted;
    int64_t at = 0;
    for (const SafetensorsTensor& tensor : header->tensors) {
      ASSERT_EQ(tensor.begin, at);
      int64_t size = DTypeSize(tensor.dtype);
      for (const int64_t extent : tensor.shape) size *= extent;
      ASSERT_EQ(tensor.end - tensor.begin, size);
      at = tensor.end;
    }
    ASSERT_EQ(at, 29);
  }
  EXPECT_GT(accepted, 100);  // Edits inside names.
  EXPECT_LT(accepted, 5000);
}

}  // namespace
}  // namespace paramd
