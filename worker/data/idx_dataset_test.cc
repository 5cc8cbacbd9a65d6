#include "worker/data/idx_dataset.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_matchers.h"
#include "gtest/gtest.h"
#include "worker/data/test_files.h"

namespace paramd {
namespace {

using testing::ElementsAre;
using testing::FloatNear;
using testing::HasSubstr;
using Split = Dataset::Split;

const std::vector<uint8_t> kPixels = {0, 255, 51, 102, 204, 153};

std::string GoodImages() { return IdxImages(3, 1, 2, kPixels); }
std::string GoodLabels() { return IdxLabels(3, {2, 0, 1}); }

absl::StatusOr<std::unique_ptr<Dataset>> OpenBytes(const std::string& images, const std::string& labels,
                                                   const std::string& suffix = "") {
  return IdxDataset::Open({.train_images = WriteTestFile("images" + suffix, images),
                           .train_labels = WriteTestFile("labels" + suffix, labels),
                           .inputs = 2,
                           .classes = 3});
}

TEST(IdxDatasetTest, ReadsNormalisedPixelsAndLabels) {
  for (bool gzip : {false, true}) {
    ASSERT_OK_AND_ASSIGN(auto data, gzip ? OpenBytes(Gzip(GoodImages()), Gzip(GoodLabels()), ".gz")
                                         : OpenBytes(GoodImages(), GoodLabels()));
    EXPECT_EQ(data->train_samples(), 3);
    EXPECT_EQ(data->validation_samples(), 0);
    EXPECT_EQ(data->predictions_per_sample(), 1);
    Batch batch;
    ASSERT_OK(data->Fill(Split::kTrain, {2, 0}, batch));
    EXPECT_EQ(batch.examples, 2);
    EXPECT_THAT(batch.targets, ElementsAre(1, 2));
    EXPECT_THAT(batch.features, ElementsAre(FloatNear(0.6f, 1e-6), FloatNear(0.2f, 1e-6), -1.0f, 1.0f));
    EXPECT_THAT(data->Fill(Split::kTrain, {3}, batch), StatusIs(absl::StatusCode::kOutOfRange));
  }
}

TEST(IdxDatasetTest, HeldOutSplitIsItsOwnFile) {
  const std::string images = WriteTestFile("train_images", GoodImages());
  const std::string labels = WriteTestFile("train_labels", GoodLabels());
  IdxDatasetOptions options = {.train_images = images,
                               .train_labels = labels,
                               .test_images = WriteTestFile("test_images", IdxImages(1, 2, 1, {255, 0})),
                               .test_labels = WriteTestFile("test_labels", IdxLabels(1, {1})),
                               .inputs = 2,
                               .classes = 3};
  ASSERT_OK_AND_ASSIGN(auto data, IdxDataset::Open(options));
  EXPECT_EQ(data->validation_samples(), 1);
  Batch batch;
  ASSERT_OK(data->Fill(Split::kValidation, {0}, batch));
  EXPECT_THAT(batch.features, ElementsAre(1.0f, -1.0f));
  options.test_labels.clear();
  EXPECT_THAT(IdxDataset::Open(options), StatusIs(absl::StatusCode::kInvalidArgument, "DATA_INVALID"));
}

TEST(IdxDatasetTest, EveryTruncationIsRefused) {
  for (size_t bytes = 0; bytes < GoodImages().size(); ++bytes) {
    EXPECT_THAT(OpenBytes(GoodImages().substr(0, bytes), GoodLabels()),
                StatusIs(absl::StatusCode::kInvalidArgument, "DATA_INVALID"))
        << bytes;
  }
  for (size_t bytes = 0; bytes < GoodLabels().size(); ++bytes) {
    EXPECT_THAT(OpenBytes(GoodImages(), GoodLabels().substr(0, bytes)),
                StatusIs(absl::StatusCode::kInvalidArgument, "DATA_INVALID"))
        << bytes;
  }
  const std::string gzip = Gzip(GoodImages());
  for (size_t bytes = 0; bytes < gzip.size(); ++bytes) {
    EXPECT_THAT(OpenBytes(gzip.substr(0, bytes), Gzip(GoodLabels()), ".gz"),
                StatusIs(absl::StatusCode::kInvalidArgument, "DATA_INVALID"))
        << bytes;
  }
}

TEST(IdxDatasetTest, EveryFlippedGzipByteIsRefusedOrHarmless) {
  const std::string gzip = Gzip(GoodImages());
  Batch expected;
  ASSERT_OK_AND_ASSIGN(auto good, OpenBytes(GoodImages(), GoodLabels()));
  ASSERT_OK(good->Fill(Split::kTrain, {0, 1, 2}, expected));
  size_t refused = 0;
  for (size_t i = 0; i < gzip.size(); ++i) {
    std::string damaged = gzip;
    damaged[i] ^= 0x20;
    const auto result = OpenBytes(damaged, Gzip(GoodLabels()), ".gz");
    if (!result.ok()) {
      EXPECT_THAT(result, StatusIs(absl::StatusCode::kInvalidArgument, "DATA_INVALID")) << i;
      ++refused;
      continue;
    }
    // Time stamp, operating system and fill bits may change; the data may not.
    Batch batch;
    ASSERT_OK((*result)->Fill(Split::kTrain, {0, 1, 2}, batch));
    EXPECT_EQ(batch.features, expected.features) << i;
  }
  EXPECT_GT(refused, gzip.size() / 2);
}

struct BadIdx {
  std::string name;
  std::string images;
  std::string labels;
  std::string says;
};

TEST(IdxDatasetTest, RefusesBadFiles) {
  std::string wrong_magic = GoodImages();
  wrong_magic[3] = 1;
  const std::vector<BadIdx> cases = {
      {"magic of images", wrong_magic, GoodLabels(), "magic 0x00000801, expected 0x00000803"},
      {"magic of labels", GoodImages(), GoodImages(), "magic 0x00000803, expected 0x00000801"},
      {"labels as images", GoodLabels(), GoodLabels(), "truncated in the IDX header: 11 of 16"},
      {"no items", IdxImages(0, 1, 2, {}), GoodLabels(), "no items"},
      {"width", IdxImages(2, 1, 3, kPixels), IdxLabels(2, {0, 1}), "1 x 3 pixels do not fit the model's 2 inputs"},
      {"zero rows", IdxImages(3, 0, 2, {}), GoodLabels(), "0 x 2 pixels"},
      {"overflowing extents", IdxImages(3, 0xffffffff, 0xffffffff, kPixels), GoodLabels(), "do not fit"},
      {"more than announced", IdxImages(2, 1, 2, kPixels), IdxLabels(2, {0, 1}), "more data than"},
      {"more labels than announced", GoodImages(), IdxLabels(3, {0, 1, 2, 0}), "more data than"},
      {"counts differ", GoodImages(), IdxLabels(2, {0, 1}), "2 labels for the 3 images"},
      {"label out of range", GoodImages(), IdxLabels(3, {0, 3, 1}), "label 3 of item 1"},
  };
  for (const BadIdx& bad : cases) {
    const auto result = OpenBytes(bad.images, bad.labels);
    EXPECT_THAT(result, StatusIs(absl::StatusCode::kInvalidArgument, "DATA_INVALID")) << bad.name;
    EXPECT_THAT(std::string(result.status().message()), HasSubstr(bad.says)) << bad.name;
    EXPECT_THAT(std::string(result.status().message()), HasSubstr(testing::TempDir())) << bad.name;
  }
}

TEST(IdxDatasetTest, HugeCountIsRefusedBeforeAnythingIsAllocated) {
  EXPECT_THAT(OpenBytes(IdxImages(0xffffffff, 1, 2, kPixels), GoodLabels()),
              StatusIs(absl::StatusCode::kResourceExhausted, "DATA_TOO_LARGE"));
}

TEST(IdxDatasetTest, MissingFile) {
  const auto result = IdxDataset::Open(
      {.train_images = "/nowhere/images", .train_labels = "/nowhere/labels", .inputs = 2, .classes = 3});
  EXPECT_THAT(result, StatusIs(absl::StatusCode::kNotFound, "DATA_NOT_FOUND"));
  EXPECT_THAT(std::string(result.status().message()), HasSubstr("/nowhere/images"));
}

}  // namespace
}  // namespace paramd
