#include "worker/data/text_dataset.h"

#include <sys/stat.h>

#include <numeric>
#include <string>
#include <vector>

#include "common/base/status_matchers.h"
#include "gtest/gtest.h"
#include "worker/data/test_files.h"

namespace paramd {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Split = Dataset::Split;

std::string Letters(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text.push_back(static_cast<char>('a' + i % 26));
  return text;
}

TEST(TextDatasetTest, CutsSamplesWithTargetsShiftedByOne) {
  ASSERT_OK_AND_ASSIGN(
      auto data,
      TextDataset::Open(
          {.files = {WriteTestFile("one", "abc"), WriteTestFile("two", "defghij")}, .context = 3, .stride = 2}));
  // Ten tokens: samples of 3 + 1 start at 0, 2, 4, 6.
  EXPECT_EQ(data->train_samples(), 4);
  EXPECT_EQ(data->validation_samples(), 0);
  EXPECT_EQ(data->predictions_per_sample(), 3);
  Batch batch;
  ASSERT_OK(data->Fill(Split::kTrain, {3, 0}, batch));
  EXPECT_EQ(batch.examples, 2);
  EXPECT_THAT(batch.tokens, ElementsAre('g', 'h', 'i', 'a', 'b', 'c'));
  EXPECT_THAT(batch.targets, ElementsAre('h', 'i', 'j', 'b', 'c', 'd'));
  EXPECT_THAT(data->Fill(Split::kTrain, {4}, batch), StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_THAT(data->Fill(Split::kTrain, {-1}, batch), StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_THAT(data->Fill(Split::kValidation, {0}, batch), StatusIs(absl::StatusCode::kOutOfRange));
}

TEST(TextDatasetTest, HoldsOutTheLastPartAndNeverMixesIt) {
  std::string text(80, 'T');
  text += std::string(20, 'V');
  ASSERT_OK_AND_ASSIGN(
      auto data, TextDataset::Open(
                     {.files = {WriteTestFile("split", text)}, .context = 5, .stride = 1, .validation_fraction = 0.2}));
  EXPECT_EQ(data->train_samples(), 75);
  EXPECT_EQ(data->validation_samples(), 3);  // 20 tokens hold starts 0, 5, 10.
  Batch batch;
  for (int64_t i = 0; i < data->train_samples(); ++i) {
    ASSERT_OK(data->Fill(Split::kTrain, {i}, batch));
    EXPECT_THAT(batch.tokens, testing::Each('T'));
    EXPECT_THAT(batch.targets, testing::Each('T'));
  }
  for (int64_t i = 0; i < data->validation_samples(); ++i) {
    ASSERT_OK(data->Fill(Split::kValidation, {i}, batch));
    EXPECT_THAT(batch.tokens, testing::Each('V'));
  }
}

TEST(TextDatasetTest, BytesAboveAsciiAreTokens) {
  ASSERT_OK_AND_ASSIGN(
      auto data, TextDataset::Open({.files = {WriteTestFile("high", "\xff\x80\x01")}, .context = 2, .stride = 1}));
  Batch batch;
  ASSERT_OK(data->Fill(Split::kTrain, {0}, batch));
  EXPECT_THAT(batch.tokens, ElementsAre(255, 128));
  EXPECT_THAT(batch.targets, ElementsAre(128, 1));
}

TEST(TextDatasetTest, ReadsGzip) {
  ASSERT_OK_AND_ASSIGN(
      auto data,
      TextDataset::Open({.files = {WriteTestFile("text.gz", Gzip(Letters(1000)))}, .context = 10, .stride = 10}));
  EXPECT_EQ(data->train_samples(), 99);
}

struct BadText {
  std::string name;
  TextDatasetOptions options;
  absl::StatusCode code;
  std::string reason;
  std::string says;
};

TEST(TextDatasetTest, RefusesBadFiles) {
  const std::string good = WriteTestFile("good", Letters(100));
  const std::string empty = WriteTestFile("empty", "");
  const std::string fifo = testing::TempDir() + "/fifo";
  mkfifo(fifo.c_str(), 0600);
  const std::string cut = Gzip(Letters(1000)).substr(0, 40);
  using enum absl::StatusCode;
  const std::vector<BadText> cases = {
      {"missing",
       {.files = {good, "/nowhere/x"}, .context = 4, .stride = 4},
       kNotFound,
       "DATA_NOT_FOUND",
       "/nowhere/x"},
      {"no files", {.files = {}, .context = 4, .stride = 4}, kInvalidArgument, "DATA_INVALID", "at least one file"},
      {"empty",
       {.files = {good, empty}, .context = 4, .stride = 4},
       kInvalidArgument,
       "DATA_INVALID",
       "/empty is empty"},
      {"directory",
       {.files = {testing::TempDir()}, .context = 4, .stride = 4},
       kInvalidArgument,
       "DATA_INVALID",
       "not a regular file"},
      {"fifo", {.files = {fifo}, .context = 4, .stride = 4}, kInvalidArgument, "DATA_INVALID", "not a regular file"},
      {"too short", {.files = {good}, .context = 100, .stride = 4}, kInvalidArgument, "DATA_INVALID", "too short"},
      {"short held-out part",
       {.files = {good}, .context = 10, .stride = 4, .validation_fraction = 0.1},
       kInvalidArgument,
       "DATA_INVALID",
       "validation_fraction"},
      {"too large",
       {.files = {good}, .context = 4, .stride = 4, .max_bytes = 99},
       kResourceExhausted,
       "DATA_TOO_LARGE",
       "larger than 99 bytes"},
      {"vocabulary",
       {.files = {good}, .context = 4, .stride = 4, .vocab_size = 'd'},
       kInvalidArgument,
       "DATA_INVALID",
       "byte 100 at offset 3"},
      {"context", {.files = {good}, .context = 0, .stride = 4}, kInvalidArgument, "DATA_INVALID", "context 0"},
      {"not gzip",
       {.files = {WriteTestFile("plain.gz", Letters(50))}, .context = 4, .stride = 4},
       kInvalidArgument,
       "DATA_INVALID",
       "does not hold gzip"},
      {"cut gzip",
       {.files = {WriteTestFile("cut.gz", cut)}, .context = 4, .stride = 4},
       kInvalidArgument,
       "DATA_INVALID",
       "cut.gz"},
  };
  for (const BadText& bad : cases) {
    const auto result = TextDataset::Open(bad.options);
    EXPECT_THAT(result, StatusIs(bad.code, bad.reason)) << bad.name;
    EXPECT_THAT(std::string(result.status().message()), HasSubstr(bad.says)) << bad.name;
  }
}

TEST(TextDatasetTest, ExactlyMaxBytesIsAllowed) {
  EXPECT_OK(
      TextDataset::Open({.files = {WriteTestFile("exact", Letters(99))}, .context = 4, .stride = 4, .max_bytes = 99}));
}

}  // namespace
}  // namespace paramd
