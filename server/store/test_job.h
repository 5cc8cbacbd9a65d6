// Jobs and requests for the tests of server/: a small MLP (64-64-10, five chunks of 1024 elements) trained by any
// number of workers on any number of servers.
//
//   v1::JobAssignment assignment = TestAssignment({.mode = v1::SYNC_MODE_SSP, .workers = 2});
//   ASSERT_OK_AND_ASSIGN(auto plan, JobPlan::Create(assignment, 0));
//   ChunkRequest push = TestPush(*plan, {.worker = 1, .chunk = 3, .step = 0}, payload);
#ifndef PARAMD_SERVER_STORE_TEST_JOB_H_
#define PARAMD_SERVER_STORE_TEST_JOB_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/partition/slot_tree.h"
#include "proto/cluster.pb.h"
#include "proto/job.pb.h"
#include "server/store/chunk_request.h"
#include "server/store/job_plan.h"

namespace paramd {

struct TestJobOptions {
  v1::SyncMode mode = v1::SYNC_MODE_SYNC;
  uint32_t staleness = 1;
  uint32_t workers = 1;
  uint32_t servers = 1;
  uint32_t slots = 4;
  uint32_t steps = 10;
  v1::OptimizerType optimizer = v1::OPTIMIZER_TYPE_SGD;
  double learning_rate = 1;
  double clip_norm = 0;
  v1::NonFinitePolicy non_finite = v1::NON_FINITE_POLICY_FAIL;
  v1::Codec push_codec = v1::CODEC_FP32;
};

inline constexpr uint64_t kTestGeneration = 3;
// Incarnation of the test's worker `index`.
inline uint64_t TestIncarnation(uint32_t index) { return 1000 + index; }

// Job "job-1", generation 3; chunk c is on server c % servers. Server addresses are empty.
v1::JobAssignment TestAssignment(const TestJobOptions& options = {});

struct TestRequest {
  uint64_t id = 1;
  uint64_t stream = 1;
  uint32_t worker = 0;
  uint32_t chunk = 0;
  uint64_t step = 0;
  Subtree subtree = {};  // sync: the slots; other modes push the worker's own.
  bool pull = false;     // A push that pulls, too.
  uint64_t min_version = 0;
  uint64_t min_clock = 0;
};

// The payload is not copied.
ChunkRequest TestPush(const JobPlan& plan, const TestRequest& request, absl::string_view payload);
ChunkRequest TestPull(const JobPlan& plan, const TestRequest& request);

// `elements` small integers that depend on (slot, step, chunk): sums of them are exact in fp32.
std::vector<float> TestGradient(int64_t elements, uint32_t slot, uint64_t step, uint32_t chunk);
// The sum of those of all slots, in tree order.
std::vector<float> TestGradientSum(int64_t elements, uint32_t first_slot, uint32_t slots, uint64_t step,
                                   uint32_t chunk);

}  // namespace paramd

#endif  // PARAMD_SERVER_STORE_TEST_JOB_H_
