// The reference for `sync`: the same training in one process, on one thread, without chunks, ledgers or RPC.
//
//   ASSERT_OK_AND_ASSIGN(LocalResult result, TrainLocally(spec));
//   EXPECT_EQ(result.weights_sha256, job.final_weights_sha256());
//
// It shares with the daemons what defines a job's numbers (data, model, optimizer arithmetic, schedule, initial
// weights) and does by itself what they distribute: it adds the slots' gradients by plain recursion over the slot tree,
// takes the norm and updates each parameter in one go. With codecs that lose precision, what a job's weights are
// depends on how many workers it has; the trainer then encodes and decodes the sums that each of them would push, and
// keeps their residuals.
#ifndef PARAMD_TESTS_FRAMEWORK_LOCAL_TRAINER_H_
#define PARAMD_TESTS_FRAMEWORK_LOCAL_TRAINER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "proto/job.pb.h"

namespace paramd {

struct LocalOptions {
  uint32_t workers = 0;   // Whose pushes are encoded; 0: resources.workers.
  bool evaluate = false;  // On the whole held-out split, at the end.
};

struct LocalResult {
  std::vector<float> arena;  // Final weights.
  std::string weights_sha256;
  std::vector<double> losses;  // Mean over the slots, per step.
  double validation_loss = 0;  // When asked for: mean over the held-out predictions.
  int64_t pushed_bytes = 0;    // As encoded, of all workers.
  int64_t raw_bytes = 0;       // The same as fp32.
};

// Trains a filled spec of mode `sync` to its last step. Errors of data, model and codecs are passed on.
absl::StatusOr<LocalResult> TrainLocally(const v1::JobSpec& spec, const LocalOptions& options = {});

}  // namespace paramd

#endif  // PARAMD_TESTS_FRAMEWORK_LOCAL_TRAINER_H_
