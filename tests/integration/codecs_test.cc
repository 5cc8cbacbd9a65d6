// Jobs whose codecs lose precision: the same bits every time with the same number of workers, and those of the local
// reference, which encodes the same sums.
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_matchers.h"
#include "gtest/gtest.h"
#include "tests/framework/example_jobs.h"
#include "tests/framework/in_process_cluster.h"
#include "tests/framework/local_trainer.h"

namespace paramd {
namespace {

class CodecsTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    absl::StatusOr<std::unique_ptr<InProcessCluster>> cluster = InProcessCluster::Start({.servers = 2, .workers = 3});
    ASSERT_OK(cluster.status());
    cluster_ = cluster->release();
  }
  static void TearDownTestSuite() {
    delete cluster_;
    cluster_ = nullptr;
  }

  static v1::JobSpec Job(v1::Codec push, uint32_t workers) {
    absl::StatusOr<v1::JobSpec> spec = TinyGptJob(cluster_->directory());
    EXPECT_OK(spec.status());
    spec->mutable_training()->set_steps(12);
    spec->mutable_optimizer()->mutable_schedule()->set_decay_steps(12);
    spec->mutable_training()->mutable_sample()->set_tokens(0);
    spec->mutable_communication()->set_push_codec(push);
    spec->mutable_communication()->set_topk_ratio(0.05);
    spec->mutable_resources()->set_workers(workers);
    spec->mutable_resources()->set_servers(2);
    return *std::move(spec);
  }

  // Runs the job and compares with the reference; returns the hash of the weights.
  static std::string ExpectBitsOfReference(const v1::JobSpec& spec) {
    absl::StatusOr<LocalResult> reference = TrainLocally(spec);
    absl::StatusOr<v1::Job> job = cluster_->Run(spec);
    EXPECT_OK(reference.status());
    EXPECT_OK(job.status());
    if (!reference.ok() || !job.ok()) return "";
    EXPECT_EQ(job->state(), v1::JOB_STATE_SUCCEEDED) << job->message();
    EXPECT_EQ(job->final_weights_sha256(), reference->weights_sha256);
    EXPECT_DOUBLE_EQ(job->progress().loss(), reference->losses.back());
    return job->final_weights_sha256();
  }

  static InProcessCluster* cluster_;
};

InProcessCluster* CodecsTest::cluster_ = nullptr;

TEST_F(CodecsTest, EveryCodecHasTheBitsOfTheReference) {
  std::vector<std::string> hashes;
  for (const v1::Codec codec :
       {v1::CODEC_FP32, v1::CODEC_BF16, v1::CODEC_FP16, v1::CODEC_INT8, v1::CODEC_TOPK, v1::CODEC_ONEBIT}) {
    SCOPED_TRACE(v1::Codec_Name(codec));
    const std::string hash = ExpectBitsOfReference(Job(codec, 2));
    for (const std::string& other : hashes) EXPECT_NE(hash, other);
    hashes.push_back(hash);
  }
}

TEST_F(CodecsTest, TheSameJobTwiceHasTheSameBits) {
  const v1::JobSpec spec = Job(v1::CODEC_TOPK, 3);
  ASSERT_OK_AND_ASSIGN(const v1::Job first, cluster_->Run(spec));
  ASSERT_OK_AND_ASSIGN(const v1::Job second, cluster_->Run(spec));
  EXPECT_EQ(first.state(), v1::JOB_STATE_SUCCEEDED) << first.message();
  EXPECT_EQ(first.final_weights_sha256(), second.final_weights_sha256());
}

TEST_F(CodecsTest, WeightsPulledAsBf16) {
  v1::JobSpec spec = Job(v1::CODEC_FP32, 2);
  spec.mutable_communication()->set_pull_codec(v1::CODEC_BF16);
  ExpectBitsOfReference(spec);
}

// Chunks of several codecs, and workers with several subtrees each.
TEST_F(CodecsTest, GroupsAndSlotsThatAreNoPowerOfTwo) {
  v1::JobSpec spec = Job(v1::CODEC_TOPK, 3);
  spec.mutable_communication()->set_pull_codec(v1::CODEC_BF16);
  spec.mutable_training()->set_slots(7);
  v1::ParameterGroup& norms = *spec.mutable_optimizer()->add_groups();
  norms.add_match("*.bias");
  norms.add_match("*ln_*");
  norms.set_push_codec(v1::CODEC_FP32);
  v1::ParameterGroup& embeddings = *spec.mutable_optimizer()->add_groups();
  embeddings.add_match("wte.*");
  embeddings.set_push_codec(v1::CODEC_INT8);
  ExpectBitsOfReference(spec);
}

}  // namespace
}  // namespace paramd
