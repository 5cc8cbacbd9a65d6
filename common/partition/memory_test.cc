#include "common/partition/memory.h"

#include "gtest/gtest.h"

namespace paramd {
namespace {

v1::JobSpec Spec(v1::SyncMode mode, uint32_t slots, uint32_t workers) {
  v1::JobSpec spec;
  spec.mutable_sync()->set_mode(mode);
  spec.mutable_training()->set_slots(slots);
  spec.mutable_resources()->set_workers(workers);
  spec.mutable_optimizer()->set_type(v1::OPTIMIZER_TYPE_SGD);
  return spec;
}

TEST(MemoryTest, StatesPerOptimizer) {
  const struct {
    v1::OptimizerType type;
    int states;
  } kCases[] = {
      {v1::OPTIMIZER_TYPE_UNSPECIFIED, 2}, {v1::OPTIMIZER_TYPE_SGD, 0},     {v1::OPTIMIZER_TYPE_MOMENTUM, 1},
      {v1::OPTIMIZER_TYPE_NESTEROV, 1},    {v1::OPTIMIZER_TYPE_ADAGRAD, 1}, {v1::OPTIMIZER_TYPE_RMSPROP, 2},
      {v1::OPTIMIZER_TYPE_ADAM, 2},        {v1::OPTIMIZER_TYPE_ADAMW, 2},
  };
  v1::JobSpec spec = Spec(v1::SYNC_MODE_ASYNC, 1, 1);
  for (const auto& c : kCases) {
    spec.mutable_optimizer()->set_type(c.type);
    EXPECT_EQ(OptimizerStateCount(c.type), c.states) << v1::OptimizerType_Name(c.type);
    EXPECT_EQ(ServerBytesPerElement(spec), 8 + 4 * c.states) << v1::OptimizerType_Name(c.type);
  }
}

TEST(MemoryTest, LedgerSums) {
  const struct {
    v1::SyncMode mode;
    uint32_t slots, workers;
    int sums;
  } kCases[] = {
      {v1::SYNC_MODE_SYNC, 1, 1, 0},  {v1::SYNC_MODE_SYNC, 4, 1, 0}, {v1::SYNC_MODE_SYNC, 4, 2, 1},
      {v1::SYNC_MODE_SYNC, 4, 4, 2},  {v1::SYNC_MODE_SYNC, 7, 7, 4}, {v1::SYNC_MODE_SYNC, 64, 64, 32},
      {v1::SYNC_MODE_SYNC, 8, 3, 3},  // Of {0,1} | {2,1} {4,0} | {5,0} {6,1}: {0,1}, {4,0} and {6,1}.
      {v1::SYNC_MODE_ASYNC, 4, 4, 0}, {v1::SYNC_MODE_SSP, 4, 2, 0},
  };
  for (const auto& c : kCases) {
    v1::JobSpec spec = Spec(c.mode, c.slots, c.workers);
    EXPECT_EQ(LedgerSums(spec), c.sums) << c.slots << " slots, " << c.workers << " workers";
    EXPECT_EQ(ServerBytesPerElement(spec), 8 + 4 * c.sums);
    spec.mutable_optimizer()->set_clip_norm(1);
    const bool one_push = c.mode == v1::SYNC_MODE_SYNC && c.workers == 1;
    EXPECT_EQ(LedgerSums(spec), one_push ? 1 : c.sums) << c.slots << " slots, " << c.workers << " workers, clipped";
  }
}

TEST(MemoryTest, CheckpointsThatAreTakenAsTheJobGoesOn) {
  v1::JobSpec spec = Spec(v1::SYNC_MODE_ASYNC, 1, 1);
  spec.mutable_optimizer()->set_type(v1::OPTIMIZER_TYPE_ADAM);
  spec.mutable_checkpoint()->set_keep(3);
  EXPECT_EQ(ServerBytesPerElement(spec), 16);
  spec.mutable_checkpoint()->set_every_steps(10);
  EXPECT_EQ(ServerBytesPerElement(spec), 28);
}

TEST(MemoryTest, NarrowCopiesOfBothVersions) {
  v1::JobSpec spec = Spec(v1::SYNC_MODE_ASYNC, 1, 1);
  spec.mutable_communication()->set_pull_codec(v1::CODEC_BF16);
  EXPECT_EQ(ServerBytesPerElement(spec), 12);
}

}  // namespace
}  // namespace paramd
