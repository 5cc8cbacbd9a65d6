// Stale and asynchronous training: it learns, the workers all take part, and every push is applied exactly once.
#include <string>

#include "common/base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/framework/example_jobs.h"
#include "tests/framework/in_process_cluster.h"

namespace paramd {
namespace {

class SyncModesTest : public testing::TestWithParam<v1::SyncMode> {};

TEST_P(SyncModesTest, TwoWorkersAndTwoServersLearnToClassify) {
  ASSERT_OK_AND_ASSIGN(auto cluster, InProcessCluster::Start({.servers = 2, .workers = 2}));
  ASSERT_OK_AND_ASSIGN(v1::JobSpec spec, TinyClassifierJob(cluster->directory()));
  spec.mutable_sync()->set_mode(GetParam());
  spec.mutable_sync()->set_staleness(GetParam() == v1::SYNC_MODE_SSP ? 3 : 0);
  spec.mutable_resources()->set_workers(2);
  spec.mutable_resources()->set_servers(2);
  spec.mutable_training()->set_evaluate_every(50);
  ASSERT_OK_AND_ASSIGN(v1::Job job, cluster->Run(spec));
  ASSERT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED) << job.message();
  EXPECT_EQ(job.progress().step(), spec.training().steps());
  EXPECT_EQ(job.progress().samples(), uint64_t{spec.training().steps()} * 4 * 8);
  EXPECT_GT(job.progress().validation_accuracy(), 0.95);
  EXPECT_EQ(job.progress().validation_step(), spec.training().steps());
  EXPECT_EQ(job.final_weights_sha256().size(), 64u);
}

TEST_P(SyncModesTest, NonFiniteGradientsAreSkippedAndCounted) {
  ASSERT_OK_AND_ASSIGN(auto cluster, InProcessCluster::Start({.servers = 2, .workers = 2}));
  ASSERT_OK_AND_ASSIGN(v1::JobSpec spec, TinyClassifierJob(cluster->directory()));
  spec.mutable_sync()->set_mode(GetParam());
  spec.mutable_resources()->set_workers(2);
  spec.mutable_resources()->set_servers(2);
  spec.mutable_training()->set_steps(30);
  spec.mutable_optimizer()->set_learning_rate(1e38);  // The first step throws the weights out of range.
  spec.mutable_optimizer()->set_non_finite(v1::NON_FINITE_POLICY_SKIP);
  ASSERT_OK_AND_ASSIGN(v1::Job skipped, cluster->Run(spec));
  ASSERT_EQ(skipped.state(), v1::JOB_STATE_SUCCEEDED) << skipped.message();
  EXPECT_GT(skipped.progress().non_finite_skipped(), 0u);

  spec.mutable_optimizer()->set_non_finite(v1::NON_FINITE_POLICY_FAIL);
  ASSERT_OK_AND_ASSIGN(v1::Job failed, cluster->Run(spec));
  EXPECT_EQ(failed.state(), v1::JOB_STATE_FAILED);
  EXPECT_THAT(failed.reason(), testing::StartsWith("NON_FINITE_"));
}

INSTANTIATE_TEST_SUITE_P(Modes, SyncModesTest,
                         testing::Values(v1::SYNC_MODE_SYNC, v1::SYNC_MODE_SSP, v1::SYNC_MODE_ASYNC),
                         [](const auto& info) { return v1::SyncMode_Name(info.param).substr(10); });

}  // namespace
}  // namespace paramd
