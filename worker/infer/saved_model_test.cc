#include "worker/infer/saved_model.h"

#include <sys/stat.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"
#include "common/config/job_spec.h"
#include "common/model/parameter_layout.h"
#include "common/tensor/safetensors.h"
#include "google/protobuf/util/json_util.h"
#include "gtest/gtest.h"
#include "worker/train/toy_program.h"

namespace paramd {
namespace {

using testing::HasSubstr;

v1::JobSpec TestSpec() {
  v1::JobSpec spec;
  v1::Gpt2Model& model = *spec.mutable_model()->mutable_gpt2();
  model.set_layers(1);
  model.set_heads(1);
  model.set_hidden(4);
  model.set_context(8);
  spec.mutable_data()->mutable_text()->add_files("/data/text");
  spec.mutable_training()->set_steps(1);
  spec.mutable_optimizer()->set_learning_rate(0.1);
  EXPECT_OK(FillDefaultsAndValidate(spec));
  return spec;
}

class SavedModelTest : public testing::Test {
 protected:
  SavedModelTest()
      : spec_(TestSpec()),
        plan_(ArenaPlan::Create(ParameterLayout(spec_.model()).value(), spec_.resources().chunk_elements()).value()) {
    const std::string name = testing::UnitTest::GetInstance()->current_test_info()->name();
    directory_ = absl::StrCat(testing::TempDir(), "/", name);
    mkdir(directory_.c_str(), 0700);
    for (const ParameterSpec& parameter : plan_.parameters()) {
      tensors_.push_back({.name = parameter.name, .dtype = DType::kF32, .shape = parameter.shape});
    }
    SaveSpec(spec_);
    SaveWeights();
  }

  void SaveSpec(const v1::JobSpec& spec) {
    std::string json;
    ASSERT_TRUE(google::protobuf::util::MessageToJsonString(spec, &json).ok());
    SaveSpecText(json);
  }
  void SaveSpecText(const std::string& text) {
    ASSERT_OK(AtomicWriteFile(absl::StrCat(directory_, "/", kSavedSpecFile), text));
  }
  // Element i of every tensor is i.
  void SaveWeights() {
    ASSERT_OK_AND_ASSIGN(SafetensorsWriter writer,
                         SafetensorsWriter::Create(absl::StrCat(directory_, "/", kSavedWeightsFile), tensors_));
    for (const SafetensorsSpec& tensor : tensors_) {
      std::vector<float> values(ElementCount(tensor.shape));
      for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
      ASSERT_OK(writer.Append(
          absl::string_view(reinterpret_cast<const char*>(values.data()), values.size() * DTypeSize(tensor.dtype))));
    }
    ASSERT_OK(writer.Finish());
  }

  absl::StatusOr<std::unique_ptr<LoadedModel>> Load() {
    return LoadSavedModel(
        directory_,
        [](const v1::ModelSpec& model, const ArenaPlan& plan, int64_t batch_size) -> absl::StatusOr<CompiledModel> {
          return CompiledModel{.program = std::make_unique<ToyProgram>(plan)};
        });
  }
  void ExpectInvalid(const std::string& says) {
    const auto result = Load();
    EXPECT_THAT(result, StatusIs(absl::StatusCode::kInvalidArgument, "MODEL_INVALID"));
    EXPECT_THAT(std::string(result.status().message()), HasSubstr(says));
    EXPECT_THAT(std::string(result.status().message()), HasSubstr(directory_));
  }

  const v1::JobSpec spec_;
  const ArenaPlan plan_;
  std::string directory_;
  std::vector<SafetensorsSpec> tensors_;
};

TEST_F(SavedModelTest, LoadsWeightsIntoTheArena) {
  ASSERT_OK_AND_ASSIGN(const auto model, Load());
  ASSERT_EQ(static_cast<int64_t>(model->weights().size()), plan_.arena_elements());
  std::vector<float> expected(plan_.arena_elements(), 0.0f);
  for (size_t p = 0; p < plan_.parameters().size(); ++p) {
    const ElementRange range = plan_.ParameterRange(static_cast<int>(p));
    for (int64_t i = 0; i < range.size(); ++i) expected[range.begin + i] = static_cast<float>(i);
  }
  EXPECT_EQ(std::vector<float>(model->weights().begin(), model->weights().end()), expected);
  EXPECT_EQ(model->shape().context, 8);
  EXPECT_EQ(model->shape().vocab_size, 256);
}

TEST_F(SavedModelTest, MissingFiles) {
  unlink(absl::StrCat(directory_, "/", kSavedWeightsFile).c_str());
  EXPECT_THAT(Load(), StatusIs(absl::StatusCode::kNotFound, "MODEL_NOT_FOUND"));
  unlink(absl::StrCat(directory_, "/", kSavedSpecFile).c_str());
  EXPECT_THAT(Load(), StatusIs(absl::StatusCode::kNotFound, "MODEL_NOT_FOUND"));
}

TEST_F(SavedModelTest, BadSpecs) {
  SaveSpecText("{");
  ExpectInvalid("job.json");
  SaveSpecText("{\"surprise\": 1}");
  ExpectInvalid("surprise");
  SaveSpecText("{}");
  ExpectInvalid("job.json");
  v1::JobSpec mlp = spec_;
  mlp.mutable_model()->mutable_mlp()->add_widths(4);
  mlp.mutable_model()->mutable_mlp()->add_widths(2);
  mlp.mutable_data()->mutable_idx()->set_train_images("/data/images");
  mlp.mutable_data()->mutable_idx()->set_train_labels("/data/labels");
  SaveSpec(mlp);
  ExpectInvalid("not a language model");
}

TEST_F(SavedModelTest, BadWeights) {
  const std::vector<SafetensorsSpec> good = tensors_;
  tensors_[0].name = "other";
  SaveWeights();
  ExpectInvalid(absl::StrCat("tensor ", good[0].name, " is missing"));
  tensors_ = good;
  tensors_[0].shape = {4, 256};
  SaveWeights();
  ExpectInvalid("the model needs [256, 4]");
  tensors_ = good;
  tensors_.push_back({.name = "extra", .dtype = DType::kF32, .shape = {1}});
  SaveWeights();
  ExpectInvalid("tensor extra is not the model's");
  tensors_ = good;
  tensors_[1].dtype = DType::kI32;
  SaveWeights();
  ExpectInvalid(absl::StrCat("tensor ", good[1].name));
  ASSERT_OK(AtomicWriteFile(absl::StrCat(directory_, "/", kSavedWeightsFile), "no tensors"));
  ExpectInvalid("model.safetensors");
}

}  // namespace
}  // namespace paramd
