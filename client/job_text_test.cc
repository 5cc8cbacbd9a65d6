#include "client/job_text.h"

#include <string>

#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

const absl::Time kNow = absl::FromUnixSeconds(1000000);

google::protobuf::Timestamp Ago(int64_t seconds) {
  google::protobuf::Timestamp time;
  time.set_seconds(1000000 - seconds);
  return time;
}

TEST(Age, UsesTheLargestUnitThatSaysEnough) {
  EXPECT_EQ(Age(Ago(5), kNow), "5s");
  EXPECT_EQ(Age(Ago(119), kNow), "119s");
  EXPECT_EQ(Age(Ago(300), kNow), "5m");
  EXPECT_EQ(Age(Ago(3 * 3600), kNow), "3h");
  EXPECT_EQ(Age(Ago(5 * 86400), kNow), "5d");
  EXPECT_EQ(Age(Ago(-10), kNow), "0s") << "a clock that runs ahead";
  EXPECT_EQ(Age({}, kNow), "-");
}

TEST(ShortDuration, TwoUnits) {
  EXPECT_EQ(ShortDuration(absl::Seconds(42)), "42s");
  EXPECT_EQ(ShortDuration(absl::Seconds(80)), "1m20s");
  EXPECT_EQ(ShortDuration(absl::Seconds(3 * 3600 + 300)), "3h05m");
}

TEST(ByteCount, Units) {
  EXPECT_EQ(ByteCount(0), "0 B");
  EXPECT_EQ(ByteCount(1023), "1023 B");
  EXPECT_EQ(ByteCount(1536), "1.5 KiB");
  EXPECT_EQ(ByteCount(uint64_t{5} << 40), "5.0 TiB");
}

v1::Job FinishedJob() {
  v1::Job job;
  job.set_job_id("gpt-1");
  job.set_state(v1::JOB_STATE_SUCCEEDED);
  job.set_phase(v1::JOB_PHASE_DONE);
  *job.mutable_create_time() = Ago(300);
  job.mutable_progress()->set_step(100);
  job.mutable_progress()->set_total_steps(100);
  job.mutable_progress()->set_first_loss(5.5);
  job.mutable_progress()->set_loss(2.5);
  job.mutable_progress()->set_validation_loss(2.25);
  job.mutable_progress()->set_tokens_per_second(1234.4);
  job.set_output_directory("/out/gpt-1");
  job.set_final_weights_sha256("abc");
  return job;
}

TEST(JobTable, Golden) {
  v1::Job waiting;
  waiting.set_job_id("mlp-with-a-long-name");
  waiting.set_state(v1::JOB_STATE_PENDING);
  waiting.set_phase(v1::JOB_PHASE_QUEUED);
  waiting.mutable_progress()->set_total_steps(7);
  EXPECT_EQ(JobTable({FinishedJob(), waiting}, kNow),
            "JOB                   STATE      PHASE   STEP     LOSS    VAL_LOSS  RATE           AGE\n"
            "gpt-1                 SUCCEEDED  DONE    100/100  2.5000  2.2500    1234 tokens/s  5m\n"
            "mlp-with-a-long-name  PENDING    QUEUED  0/7      -       -         -              -\n");
}

TEST(Summary, Golden) {
  EXPECT_EQ(Summary(FinishedJob()),
            "job gpt-1 SUCCEEDED\n"
            "  step 100/100  loss 5.5000 -> 2.5000  validation loss 2.2500  1234 tokens/s\n"
            "  weights /out/gpt-1/model.safetensors  sha256 abc\n");
  v1::Job failed;
  failed.set_job_id("gpt-2");
  failed.set_state(v1::JOB_STATE_FAILED);
  failed.set_message("worker w-1 was lost");
  EXPECT_EQ(Summary(failed), "job gpt-2 FAILED: worker w-1 was lost\n");
}

TEST(EventLine, MarksWarnings) {
  v1::JobEvent event;
  *event.mutable_time() = Ago(0);
  event.set_reason("STARTED");
  event.set_message("training");
  EXPECT_EQ(EventLine(event, absl::UTCTimeZone()), "13:46:40   STARTED              training");
  event.set_warning(true);
  EXPECT_EQ(EventLine(event, absl::UTCTimeZone()), "13:46:40 ! STARTED              training");
}

TEST(Describe, TellsPlacementAndEndsWithEvents) {
  v1::Job job = FinishedJob();
  job.set_sample_text("It is a truth\nuniversally");
  v1::ServerPlacement& server = *job.mutable_placement()->add_servers();
  server.set_node_id("s-1");
  server.set_address("h:1");
  server.set_memory_bytes(2048);
  v1::WorkerPlacement& worker = *job.mutable_placement()->add_workers();
  worker.set_node_id("w-1");
  worker.set_first_slot(2);
  worker.set_slot_count(2);
  v1::JobEvent event;
  event.set_reason("SUBMITTED");
  const std::string text = Describe(job, {event}, kNow, absl::UTCTimeZone());
  EXPECT_THAT(text, ::testing::HasSubstr("State:            SUCCEEDED (DONE)\n"));
  EXPECT_THAT(text, ::testing::HasSubstr("Server:           s-1 at h:1, 2.0 KiB\n"));
  EXPECT_THAT(text, ::testing::HasSubstr("Worker:           w-1, slots 2 to 3\n"));
  EXPECT_THAT(text, ::testing::HasSubstr("Sample:\n  It is a truth\n  universally\n"));
  EXPECT_THAT(text, ::testing::EndsWith("Events:\n  00:00:00   SUBMITTED            \n"));
}

}  // namespace
}  // namespace paramd
