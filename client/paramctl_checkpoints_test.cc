// Command lines about checkpoints, and those that stop and continue a job, against a fake cluster.
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/exit_code.h"
#include "client/paramctl_fixture.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr v1::CheckpointState kWriting = v1::CHECKPOINT_STATE_WRITING;
constexpr v1::CheckpointState kCommitted = v1::CHECKPOINT_STATE_COMMITTED;

v1::ListCheckpointsResponse Checkpoints(const std::vector<std::pair<uint64_t, v1::CheckpointState>>& checkpoints,
                                        const std::string& message = "") {
  v1::ListCheckpointsResponse list;
  for (const auto& [step, state] : checkpoints) {
    v1::Checkpoint& checkpoint = *list.add_checkpoints();
    checkpoint.set_step(step);
    checkpoint.set_state(state);
    checkpoint.set_bytes(2048);
    checkpoint.set_directory(absl::StrCat("/out/a-1/checkpoints/", step));
    checkpoint.set_message(message);
  }
  return list;
}

class ParamctlCheckpointsTest : public ParamctlFixture {};

TEST_F(ParamctlCheckpointsTest, CheckpointsAreWaitedFor) {
  cluster_.SetCheckpoints({Checkpoints({{10, kCommitted}, {15, kWriting}}),
                           Checkpoints({{10, kCommitted}, {17, kWriting}}),
                           Checkpoints({{10, kCommitted}, {17, kCommitted}})});
  Outcome created = Run({"checkpoint", "create", "a-1"});
  EXPECT_EQ(created.code, kExitOk) << created.err;
  EXPECT_THAT(created.out, AllOf(HasSubstr("17    COMMITTED  2.0 KiB"), HasSubstr("/out/a-1/checkpoints/17")));
  cluster_.SetCheckpoints({Checkpoints({{17, v1::CHECKPOINT_STATE_FAILED}}, "disk full")});
  created = Run({"checkpoint", "create", "a-1"});
  EXPECT_EQ(created.code, kExitUnavailable);
  EXPECT_THAT(created.err, HasSubstr("disk full"));
  created = Run({"checkpoint", "create", "a-1", "--no-wait"});
  EXPECT_EQ(created.code, kExitOk);
  EXPECT_THAT(created.out, HasSubstr("15    WRITING"));
  cluster_.SetCheckpoints({Checkpoints({{15, kWriting}})});
  created = Run({"checkpoint", "create", "a-1", "--timeout", "10ms"});
  EXPECT_EQ(created.code, kExitUnavailable);
  EXPECT_EQ(Run({"checkpoint", "list", "a-1"}).out.substr(0, 4), "STEP");
}

TEST_F(ParamctlCheckpointsTest, CheckpointsAreVerifiedAndDeleted) {
  cluster_.SetCheckpoints({Checkpoints({{20, v1::CHECKPOINT_STATE_VERIFYING}}), Checkpoints({{20, kCommitted}})});
  EXPECT_EQ(Run({"checkpoint", "verify", "a-1"}).code, kExitOk);
  cluster_.SetCheckpoints({Checkpoints({{20, v1::CHECKPOINT_STATE_CORRUPT}}, "chunk 3")});
  const Outcome corrupt = Run({"checkpoint", "verify", "a-1", "20"});
  EXPECT_EQ(corrupt.code, kExitError);
  EXPECT_THAT(corrupt.err, HasSubstr("chunk 3"));
  cluster_.SetCheckpoints({Checkpoints({{20, v1::CHECKPOINT_STATE_DELETING}}), Checkpoints({})});
  EXPECT_EQ(Run({"checkpoint", "delete", "a-1", "20", "--force"}).code, kExitOk);
  EXPECT_EQ(Run({"checkpoint", "delete", "a-1"}).code, kExitUsage);
  EXPECT_EQ(Run({"checkpoint", "verify", "a-1", "0"}).code, kExitUsage);
  EXPECT_EQ(Run({"checkpoint"}).code, kExitUsage);
  EXPECT_THAT(cluster_.checkpoint_calls(), ElementsAre("verify 0", "verify 20", "delete 20 force"));
}

TEST_F(ParamctlCheckpointsTest, PauseResumeAndRestore) {
  cluster_.SetJob(MakeJob("a-1", v1::JOB_STATE_PAUSED));
  EXPECT_EQ(Run({"pause", "a-1"}).out, "job a-1 PAUSED (UNSPECIFIED)\n");
  EXPECT_EQ(Run({"resume", "a-1"}).code, kExitOk);
  EXPECT_EQ(Run({"checkpoint", "restore", "a-1", "20"}).code, kExitOk);
  EXPECT_EQ(Run({"resume", "b-2"}).code, kExitNotFound);
  EXPECT_THAT(cluster_.checkpoint_calls(), ElementsAre("pause", "resume 0", "resume 20", "resume 0"));
  EXPECT_EQ(Run({"submit", "-f", "-", "--restore-from", "/out/a-1"}, kSpec).code, kExitOk);
  EXPECT_EQ(cluster_.last_submit().restore_from(), "/out/a-1");
}

}  // namespace
}  // namespace paramd
