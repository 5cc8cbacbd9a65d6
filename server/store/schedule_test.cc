#include "server/store/schedule.h"

#include <cmath>
#include <vector>

#include "gtest/gtest.h"

namespace paramd {
namespace {

v1::OptimizerSpec Spec(v1::ScheduleType type, uint32_t warmup, uint32_t decay, double minimum) {
  v1::OptimizerSpec spec;
  spec.set_learning_rate(0.1);
  spec.mutable_schedule()->set_type(type);
  spec.mutable_schedule()->set_warmup_steps(warmup);
  spec.mutable_schedule()->set_decay_steps(decay);
  spec.mutable_schedule()->set_minimum_ratio(minimum);
  return spec;
}

struct Golden {
  v1::ScheduleType type;
  uint32_t warmup, decay;
  double minimum;
  uint64_t step;
  double rate;
};

TEST(ScheduleTest, GoldenValues) {
  const std::vector<Golden> goldens = {
      {v1::SCHEDULE_TYPE_CONSTANT, 0, 0, 0, 0, 0.1},
      {v1::SCHEDULE_TYPE_CONSTANT, 0, 0, 0, 1000000, 0.1},
      {v1::SCHEDULE_TYPE_CONSTANT, 10, 0, 0, 0, 0.01},
      {v1::SCHEDULE_TYPE_CONSTANT, 10, 0, 0, 9, 0.1},
      {v1::SCHEDULE_TYPE_CONSTANT, 10, 0, 0, 10, 0.1},
      {v1::SCHEDULE_TYPE_LINEAR, 0, 100, 0, 0, 0.1},
      {v1::SCHEDULE_TYPE_LINEAR, 0, 100, 0, 25, 0.075},
      {v1::SCHEDULE_TYPE_LINEAR, 0, 100, 0.2, 50, 0.06},
      {v1::SCHEDULE_TYPE_LINEAR, 0, 100, 0.2, 100, 0.02},
      {v1::SCHEDULE_TYPE_LINEAR, 0, 100, 0.2, 5000, 0.02},
      {v1::SCHEDULE_TYPE_LINEAR, 20, 120, 0, 19, 0.1},
      {v1::SCHEDULE_TYPE_LINEAR, 20, 120, 0, 20, 0.1},
      {v1::SCHEDULE_TYPE_LINEAR, 20, 120, 0, 70, 0.05},
      {v1::SCHEDULE_TYPE_LINEAR, 0, 0, 0, 100, 0.05},  // decay_steps unset: the job's 200 steps.
      {v1::SCHEDULE_TYPE_COSINE, 0, 100, 0, 0, 0.1},
      {v1::SCHEDULE_TYPE_COSINE, 0, 100, 0, 50, 0.05},
      {v1::SCHEDULE_TYPE_COSINE, 0, 100, 0.1, 100, 0.01},
      {v1::SCHEDULE_TYPE_COSINE, 0, 100, 0, 25, 0.1 * (1 + std::sqrt(0.5)) / 2},
      {v1::SCHEDULE_TYPE_COSINE, 50, 150, 0.1, 100, 0.055},
      {v1::SCHEDULE_TYPE_INVERSE_SQRT, 0, 0, 0, 0, 0.1},
      {v1::SCHEDULE_TYPE_INVERSE_SQRT, 0, 0, 0, 1, 0.1},
      {v1::SCHEDULE_TYPE_INVERSE_SQRT, 0, 0, 0, 4, 0.05},
      {v1::SCHEDULE_TYPE_INVERSE_SQRT, 25, 0, 0, 4, 0.02},
      {v1::SCHEDULE_TYPE_INVERSE_SQRT, 25, 0, 0, 25, 0.1},
      {v1::SCHEDULE_TYPE_INVERSE_SQRT, 25, 0, 0, 100, 0.05},
  };
  for (const Golden& golden : goldens) {
    const Schedule schedule(Spec(golden.type, golden.warmup, golden.decay, golden.minimum), 200);
    EXPECT_NEAR(schedule.LearningRate(golden.step), golden.rate, 1e-12)
        << v1::ScheduleType_Name(golden.type) << " warmup " << golden.warmup << " step " << golden.step;
  }
}

TEST(ScheduleTest, DecayThatEndsInsideTheWarmupGoesToTheMinimumAtItsEnd) {
  const Schedule schedule(Spec(v1::SCHEDULE_TYPE_COSINE, 50, 20, 0.5), 200);
  EXPECT_NEAR(schedule.LearningRate(49), 0.1, 1e-12);
  EXPECT_NEAR(schedule.LearningRate(50), 0.05, 1e-12);
}

TEST(ScheduleTest, DecaysMonotonically) {
  for (v1::ScheduleType type : {v1::SCHEDULE_TYPE_LINEAR, v1::SCHEDULE_TYPE_COSINE, v1::SCHEDULE_TYPE_INVERSE_SQRT}) {
    const Schedule schedule(Spec(type, 10, 100, 0.1), 200);
    for (uint64_t step = 10; step < 150; ++step) {
      EXPECT_LE(schedule.LearningRate(step + 1), schedule.LearningRate(step)) << v1::ScheduleType_Name(type);
    }
  }
}

}  // namespace
}  // namespace paramd
