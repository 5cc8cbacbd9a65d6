#include "common/config/job_spec.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/error.h"
#include "google/protobuf/util/message_differencer.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

constexpr char kTestData[] = "common/config/testdata";

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
}

std::vector<std::string> FilesWith(const std::string& part) {
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(kTestData)) {
    if (absl::StrContains(entry.path().filename().string(), part)) files.push_back(entry.path().string());
  }
  std::sort(files.begin(), files.end());
  return files;
}

absl::StatusOr<v1::JobSpec> Load(const std::string& text) {
  absl::StatusOr<v1::JobSpec> spec = ParseJobSpec(text);
  if (!spec.ok()) return spec;
  if (absl::Status status = FillDefaultsAndValidate(*spec); !status.ok()) return status;
  return spec;
}

v1::JobSpec LoadFile(const std::string& name) {
  absl::StatusOr<v1::JobSpec> spec = Load(ReadFile(absl::StrCat(kTestData, "/", name)));
  EXPECT_TRUE(spec.ok()) << spec.status();
  return spec.ok() ? *spec : v1::JobSpec();
}

bool Equal(const v1::JobSpec& a, const v1::JobSpec& b) {
  return google::protobuf::util::MessageDifferencer::Equals(a, b);
}

TEST(JobSpecTest, EveryGoodFileIsTakenAndStaysTheSame) {
  const std::vector<std::string> files = FilesWith(".good.");
  ASSERT_GE(files.size(), 5u);
  for (const std::string& file : files) {
    SCOPED_TRACE(file);
    absl::StatusOr<v1::JobSpec> spec = Load(ReadFile(file));
    ASSERT_TRUE(spec.ok()) << spec.status();
    v1::JobSpec again = *spec;
    EXPECT_TRUE(FillDefaultsAndValidate(again).ok());
    EXPECT_TRUE(Equal(*spec, again)) << "filling defaults in must be idempotent";

    const std::string yaml = JobSpecToYaml(*spec);
    absl::StatusOr<v1::JobSpec> back = ParseJobSpec(yaml);
    ASSERT_TRUE(back.ok()) << back.status() << "\n" << yaml;
    EXPECT_TRUE(Equal(*spec, *back)) << yaml;
    EXPECT_EQ(JobSpecToYaml(*back), yaml);
  }
}

TEST(JobSpecTest, EveryBadFileIsRefusedForItsFault) {
  const std::vector<std::string> files = FilesWith(".bad.");
  ASSERT_GE(files.size(), 40u);
  for (const std::string& file : files) {
    SCOPED_TRACE(file);
    const std::string text = ReadFile(file);
    absl::string_view want = absl::string_view(text).substr(0, text.find('\n'));
    ASSERT_TRUE(absl::ConsumePrefix(&want, "# want: ")) << "the first line must name the expected error";
    const absl::Status status = Load(text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(ErrorReason(status), "INVALID_SPEC");
    const std::string message(status.message());
    EXPECT_TRUE(absl::StrContains(message, want)) << "want " << want << "\ngot  " << message;
    EXPECT_FALSE(GetErrorMetadata(status).empty());
  }
}

TEST(JobSpecTest, DefaultsOfALanguageModel) {
  const v1::JobSpec spec = LoadFile("gpt2-minimal.good.yaml");
  EXPECT_EQ(spec.name(), "gpt2");
  EXPECT_EQ(spec.seed(), 1u);
  EXPECT_EQ(spec.model().gpt2().vocab_size(), 256u);
  EXPECT_EQ(spec.model().gpt2().ffn_hidden(), 256u);
  EXPECT_EQ(spec.model().gpt2().activation(), v1::ACTIVATION_GELU_TANH);
  EXPECT_EQ(spec.model().gpt2().layer_norm_epsilon(), 1e-5f);
  EXPECT_EQ(spec.data().order(), v1::SAMPLE_ORDER_SHUFFLED);
  EXPECT_EQ(spec.data().division(), v1::SAMPLE_DIVISION_BY_EXAMPLE);
  EXPECT_EQ(spec.data().text().tokenizer(), v1::TOKENIZER_BYTES);
  EXPECT_EQ(spec.data().text().validation_fraction(), 0.05f);
  EXPECT_EQ(spec.data().text().stride(), 32u);
  EXPECT_EQ(spec.training().slots(), 4u);
  EXPECT_EQ(spec.training().micro_batch(), 8u);
  EXPECT_EQ(spec.training().report_every(), 1u);
  EXPECT_EQ(spec.sync().mode(), v1::SYNC_MODE_SYNC);
  EXPECT_EQ(spec.optimizer().type(), v1::OPTIMIZER_TYPE_ADAMW);
  EXPECT_EQ(spec.optimizer().beta1(), 0.9);
  EXPECT_EQ(spec.optimizer().beta2(), 0.999);
  EXPECT_EQ(spec.optimizer().epsilon(), 1e-8);
  EXPECT_EQ(spec.optimizer().weight_decay(), 0.01);
  EXPECT_EQ(spec.optimizer().non_finite(), v1::NON_FINITE_POLICY_FAIL);
  EXPECT_EQ(spec.optimizer().schedule().type(), v1::SCHEDULE_TYPE_CONSTANT);
  EXPECT_EQ(spec.resources().workers(), 1u);
  EXPECT_EQ(spec.resources().servers(), 1u);
  EXPECT_EQ(spec.resources().chunk_elements(), 262144u);
  EXPECT_EQ(spec.communication().push_codec(), v1::CODEC_FP32);
  EXPECT_EQ(spec.communication().pull_codec(), v1::CODEC_FP32);
  EXPECT_EQ(spec.communication().topk_ratio(), 0.01);
  EXPECT_EQ(spec.checkpoint().every_steps(), 0u);
  EXPECT_EQ(spec.checkpoint().keep(), 3u);
}

TEST(JobSpecTest, Codecs) {
  v1::JobSpec spec = LoadFile("codecs.good.yaml");
  EXPECT_EQ(spec.communication().push_codec(), v1::CODEC_TOPK);
  EXPECT_EQ(spec.communication().pull_codec(), v1::CODEC_BF16);
  EXPECT_EQ(spec.communication().topk_ratio(), 0.02);
  EXPECT_EQ(spec.optimizer().groups(0).push_codec(), v1::CODEC_FP32);
  EXPECT_EQ(spec.optimizer().groups(1).push_codec(), v1::CODEC_INT8);
  EXPECT_EQ(LoadFile("gpt2-full.good.yaml").optimizer().groups(0).push_codec(), v1::CODEC_UNSPECIFIED);
  // What text cannot hold.
  spec.mutable_communication()->set_push_codec(v1::CODEC_PER_GROUP);
  spec.mutable_optimizer()->mutable_groups(0)->set_push_codec(v1::CODEC_PER_GROUP);
  const ErrorMetadata metadata = GetErrorMetadata(FillDefaultsAndValidate(spec));
  constexpr char kRule[] = "must be one of fp32, bf16, fp16, int8, topk, onebit; got per_group";
  EXPECT_EQ(metadata.at("spec.communication.push_codec"), kRule);
  EXPECT_EQ(metadata.at("spec.optimizer.groups[0].push_codec"), kRule);
}

TEST(JobSpecTest, ExplicitZerosAreKept) {
  const v1::JobSpec spec = LoadFile("gpt2-full.good.yaml");
  EXPECT_EQ(spec.training().sample().temperature(), 0);
  EXPECT_EQ(spec.data().text().validation_fraction(), 0);
  EXPECT_EQ(spec.sync().staleness(), 0u);
  EXPECT_EQ(spec.optimizer().weight_decay(), 0);
  EXPECT_TRUE(spec.optimizer().groups(0).has_weight_decay());
  EXPECT_EQ(spec.optimizer().groups(0).learning_rate_scale(), 1);
  EXPECT_EQ(spec.optimizer().groups(1).learning_rate_scale(), 0);
  EXPECT_EQ(spec.training().sample().prompt(), "It is a truth: \"universally\"\n");
  EXPECT_EQ(spec.labels().at("true"), "123");
}

TEST(JobSpecTest, AbsentKeysGetDefaultsThatZeroWouldHide) {
  std::string text = ReadFile(absl::StrCat(kTestData, "/gpt2-minimal.good.yaml"));
  text += "sync: {mode: ssp}\n";
  text.replace(text.find("steps: 100"), 10, "{steps: 100, sample: {tokens: 5}}");
  const absl::StatusOr<v1::JobSpec> spec = Load(text);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->sync().staleness(), 3u);
  EXPECT_EQ(spec->training().sample().temperature(), 0.8f);
  EXPECT_EQ(spec->training().sample().prompt(), "\n");
}

TEST(JobSpecTest, DefaultsFollowTheOptimizer) {
  EXPECT_EQ(LoadFile("mlp.good.json").optimizer().momentum(), 0.9);
  EXPECT_EQ(LoadFile("optimizer-nesterov.good.yaml").optimizer().momentum(), 0.9);
  EXPECT_EQ(LoadFile("optimizer-nesterov.good.yaml").optimizer().schedule().decay_steps(), 10u);
  EXPECT_EQ(LoadFile("optimizer-adagrad.good.yaml").optimizer().epsilon(), 1e-10);
  EXPECT_EQ(LoadFile("optimizer-sgd.good.yaml").optimizer().epsilon(), 0);
  EXPECT_EQ(LoadFile("optimizer-adam.good.yaml").optimizer().weight_decay(), 0);
  const v1::OptimizerSpec rmsprop = LoadFile("nulls-and-aliases.good.yaml").optimizer();
  EXPECT_EQ(rmsprop.rho(), 0.99);
  EXPECT_EQ(rmsprop.momentum(), 0);
}

TEST(JobSpecTest, ReportsAllViolationsAtOnce) {
  v1::JobSpec spec;
  spec.set_name("BAD");
  spec.mutable_model()->mutable_gpt2();
  spec.mutable_optimizer()->set_learning_rate(-1);
  const absl::Status status = FillDefaultsAndValidate(spec);
  const ErrorMetadata metadata = GetErrorMetadata(status);
  for (const char* path : {"spec.name", "spec.model.gpt2.layers", "spec.model.gpt2.heads", "spec.model.gpt2.hidden",
                           "spec.model.gpt2.context", "spec.data", "spec.training", "spec.optimizer.learning_rate"}) {
    EXPECT_TRUE(metadata.contains(path)) << path << "\n" << status;
  }
  const std::vector<std::string> lines = absl::StrSplit(std::string(status.message()), '\n');
  EXPECT_EQ(lines.size(), metadata.size());
  EXPECT_EQ(metadata.at("spec.optimizer.learning_rate"), "must be > 0, got -1");
}

TEST(JobSpecTest, ValuesThatOnlyMessagesCanHold) {
  v1::JobSpec spec = LoadFile("gpt2-full.good.yaml");
  spec.mutable_optimizer()->set_clip_norm(std::numeric_limits<double>::quiet_NaN());
  spec.mutable_optimizer()->mutable_groups(0)->set_weight_decay(std::numeric_limits<double>::infinity());
  spec.mutable_model()->mutable_gpt2()->set_dropout(std::numeric_limits<float>::quiet_NaN());
  spec.mutable_sync()->set_mode(static_cast<v1::SyncMode>(99));
  const ErrorMetadata metadata = GetErrorMetadata(FillDefaultsAndValidate(spec));
  EXPECT_EQ(metadata.at("spec.optimizer.clip_norm"), "must be finite, got nan");
  EXPECT_EQ(metadata.at("spec.optimizer.groups[0].weight_decay"), "must be finite, got inf");
  EXPECT_EQ(metadata.at("spec.model.gpt2.dropout"), "must be finite, got nan");
  EXPECT_EQ(metadata.at("spec.sync.mode"), "unknown value of its enum, got 99");
}

}  // namespace
}  // namespace paramd
