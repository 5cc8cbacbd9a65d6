// The reference for `sync`: the same training in one process, on one thread, without chunks, ledgers or RPC.
//
//   ASSERT_OK_AND_ASSIGN(LocalResult result, TrainLocally(spec));
//   EXPECT_EQ(result.weights_sha256, job.final_weights_sha256());
//
// It shares with the daemons what defines a job's numbers (data, model, optimizer arithmetic, schedule, initial
// weights) and does by itself what they distribute: it adds the slots' gradients by plain recursion over the slot tree,
// takes the norm and updates each parameter in one go.
#ifndef PARAMD_TESTS_FRAMEWORK_LOCAL_TRAINER_H_
#define PARAMD_TESTS_FRAMEWORK_LOCAL_TRAINER_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "proto/job.pb.h"

namespace paramd {

struct LocalResult {
  std::vector<float> arena;  // Final weights.
  std::string weights_sha256;
  std::vector<double> losses;  // Mean over the slots, per step.
};

// Trains a filled spec of mode `sync` to its last step. Errors of data and model are passed on.
absl::StatusOr<LocalResult> TrainLocally(const v1::JobSpec& spec);

}  // namespace paramd

#endif  // PARAMD_TESTS_FRAMEWORK_LOCAL_TRAINER_H_
