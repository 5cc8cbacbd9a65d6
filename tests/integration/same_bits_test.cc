// The canonical reduction, end to end: whatever the numbers of workers and servers, a synchronous job ends with the
// same weights, to the bit, and they are those of the same training in one process.
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"
#include "common/config/job_spec.h"
#include "gtest/gtest.h"
#include "tests/framework/example_jobs.h"
#include "tests/framework/in_process_cluster.h"
#include "tests/framework/local_trainer.h"

namespace paramd {
namespace {

constexpr int kMaxServers = 3;
constexpr int kMaxWorkers = 4;

class SameBitsTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    absl::StatusOr<std::unique_ptr<InProcessCluster>> cluster =
        InProcessCluster::Start({.servers = kMaxServers, .workers = kMaxWorkers});
    ASSERT_OK(cluster.status());
    cluster_ = cluster->release();
  }
  static void TearDownTestSuite() {
    delete cluster_;
    cluster_ = nullptr;
  }

  // Runs the job with every number of workers and servers, and compares with the local reference.
  void ExpectSameBits(v1::JobSpec spec) {
    ASSERT_OK_AND_ASSIGN(LocalResult reference, TrainLocally(spec));
    ASSERT_LT(reference.losses.back(), reference.losses.front());
    for (uint32_t servers = 1; servers <= kMaxServers; ++servers) {
      for (uint32_t workers = 1; workers <= kMaxWorkers; ++workers) {
        SCOPED_TRACE(absl::StrCat(workers, " workers, ", servers, " servers"));
        spec.mutable_resources()->set_servers(servers);
        spec.mutable_resources()->set_workers(workers);
        ASSERT_OK_AND_ASSIGN(v1::Job job, cluster_->Run(spec));
        ASSERT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.message();
        EXPECT_EQ(job.final_weights_sha256(), reference.weights_sha256);
        EXPECT_DOUBLE_EQ(job.progress().first_loss(), reference.losses.front());
        EXPECT_DOUBLE_EQ(job.progress().loss(), reference.losses.back());
      }
    }
  }

  static InProcessCluster* cluster_;
};

InProcessCluster* SameBitsTest::cluster_ = nullptr;

TEST_F(SameBitsTest, GptWithDropoutAndClipping) {
  ASSERT_OK_AND_ASSIGN(v1::JobSpec spec, TinyGptJob(cluster_->directory()));
  ExpectSameBits(spec);
}

TEST_F(SameBitsTest, SlotsThatAreNoPowerOfTwo) {
  ASSERT_OK_AND_ASSIGN(v1::JobSpec spec, TinyGptJob(cluster_->directory()));
  spec.mutable_training()->set_slots(7);
  ExpectSameBits(spec);
}

TEST_F(SameBitsTest, ClassifierWithoutClippingInEveryDivision) {
  ASSERT_OK_AND_ASSIGN(v1::JobSpec spec, TinyClassifierJob(cluster_->directory()));
  spec.mutable_training()->set_steps(40);
  for (v1::SampleDivision division :
       {v1::SAMPLE_DIVISION_BY_EXAMPLE, v1::SAMPLE_DIVISION_BY_BATCH, v1::SAMPLE_DIVISION_CONTIGUOUS}) {
    SCOPED_TRACE(v1::SampleDivision_Name(division));
    spec.mutable_data()->set_division(division);
    ExpectSameBits(spec);
  }
}

TEST_F(SameBitsTest, AnotherSeedGivesOtherBits) {
  ASSERT_OK_AND_ASSIGN(v1::JobSpec spec, TinyGptJob(cluster_->directory()));
  ASSERT_OK_AND_ASSIGN(v1::Job first, cluster_->Run(spec));
  spec.set_seed(spec.seed() + 1);
  ASSERT_OK_AND_ASSIGN(v1::Job second, cluster_->Run(spec));
  EXPECT_NE(first.final_weights_sha256(), second.final_weights_sha256());
}

TEST_F(SameBitsTest, SavedFilesHoldTheWeightsAndTheSpec) {
  ASSERT_OK_AND_ASSIGN(v1::JobSpec spec, TinyGptJob(cluster_->directory()));
  ASSERT_OK_AND_ASSIGN(LocalResult reference, TrainLocally(spec));
  ASSERT_OK_AND_ASSIGN(v1::Job job, cluster_->Run(spec));
  ASSERT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.message();
  EXPECT_FALSE(job.sample_text().empty());
  ASSERT_OK_AND_ASSIGN(std::string saved, ReadFile(job.output_directory() + "/job.json", 1 << 20));
  ASSERT_OK_AND_ASSIGN(v1::JobSpec saved_spec, ParseJobSpec(saved));
  EXPECT_EQ(saved_spec.SerializeAsString(), job.spec().SerializeAsString());
  ASSERT_OK_AND_ASSIGN(std::string weights, ReadFile(job.output_directory() + "/model.safetensors", 1 << 24));
  // wte.weight is the first parameter of the arena: its bytes must stand in the file.
  const std::string first(reinterpret_cast<const char*>(reference.arena.data()), 256 * 24 * sizeof(float));
  EXPECT_NE(weights.find(first), std::string::npos);
}

}  // namespace
}  // namespace paramd
