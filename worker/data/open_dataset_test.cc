#include "worker/data/open_dataset.h"

#include <string>

#include "common/base/status_matchers.h"
#include "gtest/gtest.h"
#include "worker/data/test_files.h"

namespace paramd {
namespace {

v1::JobSpec TextSpec(const std::string& path) {
  v1::JobSpec spec;
  spec.mutable_model()->mutable_gpt2()->set_context(4);
  spec.mutable_data()->mutable_text()->add_files(path);
  return spec;
}

v1::JobSpec IdxSpec() {
  v1::JobSpec spec;
  spec.mutable_model()->mutable_mlp()->add_widths(2);
  spec.mutable_model()->mutable_mlp()->add_widths(3);
  v1::IdxSource& idx = *spec.mutable_data()->mutable_idx();
  idx.set_train_images(WriteTestFile("images", IdxImages(2, 2, 1, {1, 2, 3, 4})));
  idx.set_train_labels(WriteTestFile("labels", IdxLabels(2, {0, 2})));
  return spec;
}

TEST(OpenDatasetTest, TextTakesContextAsStrideByDefault) {
  v1::JobSpec spec = TextSpec(WriteTestFile("text", "0123456789abcdef"));
  ASSERT_OK_AND_ASSIGN(auto data, OpenDataset(spec));
  EXPECT_EQ(data->train_samples(), 3);
  spec.mutable_data()->mutable_text()->set_stride(1);
  ASSERT_OK_AND_ASSIGN(auto dense, OpenDataset(spec));
  EXPECT_EQ(dense->train_samples(), 12);
  spec.mutable_model()->mutable_gpt2()->set_vocab_size(50);
  EXPECT_THAT(OpenDataset(spec), StatusIs(absl::StatusCode::kInvalidArgument, "DATA_INVALID"));
}

TEST(OpenDatasetTest, Idx) {
  v1::JobSpec spec = IdxSpec();
  ASSERT_OK_AND_ASSIGN(auto data, OpenDataset(spec));
  EXPECT_EQ(data->train_samples(), 2);
  spec.mutable_model()->mutable_mlp()->set_widths(1, 2);
  EXPECT_THAT(OpenDataset(spec), StatusIs(absl::StatusCode::kInvalidArgument, "DATA_INVALID"));
}

TEST(OpenDatasetTest, RefusesDataThatTheModelCannotUse) {
  v1::JobSpec text = TextSpec("/nowhere");
  EXPECT_THAT(OpenDataset(text), StatusIs(absl::StatusCode::kNotFound, "DATA_NOT_FOUND"));
  *text.mutable_model() = IdxSpec().model();
  EXPECT_THAT(OpenDataset(text), StatusIs(absl::StatusCode::kInvalidArgument, "DATA_INVALID"));
  v1::JobSpec idx = IdxSpec();
  *idx.mutable_model() = TextSpec("").model();
  EXPECT_THAT(OpenDataset(idx), StatusIs(absl::StatusCode::kInvalidArgument, "DATA_INVALID"));
  EXPECT_THAT(OpenDataset(v1::JobSpec()), StatusIs(absl::StatusCode::kInvalidArgument, "DATA_INVALID"));
}

}  // namespace
}  // namespace paramd
