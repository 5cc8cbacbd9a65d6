// The learning rate of every step of a job, as a pure function of the step.
//
//   Schedule schedule(spec.optimizer(), spec.training().steps());
//   double rate = schedule.LearningRate(step);   // step 0, 1, ...
//
// With W = warmup_steps, D = decay_steps (default: the job's steps), m = minimum_ratio, lr = learning_rate:
//   step < W      lr * (step + 1) / W, whatever the type; step W - 1 has the full rate
//   CONSTANT      lr
//   LINEAR        lr * (1 - (1 - m) * p)                    p = clamp((step - W) / (D - W), 0, 1); 1 when D <= W
//   COSINE        lr * (m + (1 - m) * (1 + cos(pi * p)) / 2)
//   INVERSE_SQRT  lr * sqrt(max(W, 1) / max(step, W, 1))
//
// Immutable, thread safe.
#ifndef PARAMD_SERVER_STORE_SCHEDULE_H_
#define PARAMD_SERVER_STORE_SCHEDULE_H_

#include <cstdint>

#include "proto/job.pb.h"

namespace paramd {

class Schedule {
 public:
  // `total_steps` stands in for decay_steps when that is 0.
  Schedule(const v1::OptimizerSpec& optimizer, uint64_t total_steps);

  double LearningRate(uint64_t step) const;

 private:
  // Share of the decay that is done at `step` >= warmup_, 0..1.
  double Progress(uint64_t step) const;

  v1::ScheduleType type_;
  double learning_rate_;
  double minimum_ratio_;
  uint64_t warmup_;
  uint64_t decay_;
};

}  // namespace paramd

#endif  // PARAMD_SERVER_STORE_SCHEDULE_H_
