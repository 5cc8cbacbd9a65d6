#include "server/store/test_job.h"

#include <cstdlib>
#include <memory>

#include "absl/strings/str_cat.h"
#include "common/partition/arena_plan.h"
#include "common/partition/chunk_map.h"

namespace paramd {

namespace {

constexpr uint32_t kChunkElements = 1024;

ChunkRequest Header(const JobPlan& plan, const TestRequest& request) {
  ChunkRequest header;
  header.key = {.stream = request.stream, .request_id = request.id};
  header.generation = kTestGeneration;
  header.worker = request.worker;
  header.worker_incarnation = TestIncarnation(request.worker);
  header.chunk = request.chunk;
  header.min_version = request.min_version;
  header.min_clock = request.min_clock;
  return header;
}

v1::JobSpec TestSpec(const TestJobOptions& options) {
  v1::JobSpec spec;
  spec.set_name("test");
  spec.set_seed(7);
  for (uint32_t width : {64, 64, 10}) spec.mutable_model()->mutable_mlp()->add_widths(width);
  spec.mutable_model()->mutable_mlp()->set_activation(v1::ACTIVATION_RELU);
  spec.mutable_training()->set_steps(options.steps);
  spec.mutable_training()->set_slots(options.slots);
  spec.mutable_training()->set_micro_batch(1);
  spec.mutable_sync()->set_mode(options.mode);
  spec.mutable_sync()->set_staleness(options.staleness);
  v1::OptimizerSpec& optimizer = *spec.mutable_optimizer();
  optimizer.set_type(options.optimizer);
  optimizer.set_learning_rate(options.learning_rate);
  optimizer.set_momentum(0.9);
  optimizer.set_beta1(0.9);
  optimizer.set_beta2(0.999);
  optimizer.set_epsilon(1e-8);
  optimizer.set_rho(0.99);
  optimizer.set_clip_norm(options.clip_norm);
  optimizer.set_non_finite(options.non_finite);
  spec.mutable_communication()->set_push_codec(options.push_codec);
  spec.mutable_communication()->set_topk_ratio(0.01);
  spec.mutable_resources()->set_workers(options.workers);
  spec.mutable_resources()->set_servers(options.servers);
  spec.mutable_resources()->set_chunk_elements(kChunkElements);
  return spec;
}

}  // namespace

v1::JobAssignment TestAssignment(const TestJobOptions& options) {
  v1::JobAssignment assignment;
  assignment.set_job_id("job-1");
  assignment.set_generation(kTestGeneration);
  *assignment.mutable_spec() = TestSpec(options);
  const auto layout = ParameterLayout(assignment.spec().model());
  const auto arena = ArenaPlan::Create(*layout, kChunkElements);
  v1::Placement& placement = *assignment.mutable_placement();
  placement.set_arena_elements(arena->arena_elements());
  for (int chunk = 0; chunk < arena->chunk_count(); ++chunk) placement.add_chunk_server(chunk % options.servers);
  for (uint32_t server = 0; server < options.servers; ++server) {
    placement.add_servers()->set_node_id(absl::StrCat("server-", server));
  }
  uint32_t index = 0;
  for (const SlotRange& range : DealSlots(options.slots, options.workers)) {
    v1::WorkerPlacement& worker = *placement.add_workers();
    worker.set_node_id(absl::StrCat("worker-", index));
    worker.set_incarnation(TestIncarnation(index++));
    worker.set_first_slot(range.first);
    worker.set_slot_count(range.count);
  }
  return assignment;
}

ChunkRequest TestPush(const JobPlan& plan, const TestRequest& request, absl::string_view payload) {
  ChunkRequest push = Header(plan, request);
  push.push = true;
  push.pull = request.pull;
  push.step = request.step;
  push.subtree = request.subtree;
  push.slot_count = plan.synchronous() ? (plan.tree.Valid(request.subtree) ? plan.tree.SlotsIn(request.subtree) : 1)
                                       : plan.placement.workers(request.worker).slot_count();
  push.payload = PayloadView(payload);
  return push;
}

ChunkRequest TestPull(const JobPlan& plan, const TestRequest& request) {
  ChunkRequest pull = Header(plan, request);
  pull.pull = true;
  return pull;
}

std::vector<float> TestGradient(int64_t elements, uint32_t slot, uint64_t step, uint32_t chunk) {
  std::vector<float> gradient(elements);
  for (int64_t i = 0; i < elements; ++i) {
    gradient[i] = static_cast<float>(static_cast<int64_t>((i * 7 + slot * 13 + step * 31 + chunk * 3) % 17) - 8);
  }
  return gradient;
}

std::vector<float> TestGradientSum(int64_t elements, uint32_t first_slot, uint32_t slots, uint64_t step,
                                   uint32_t chunk) {
  std::vector<float> sum(elements, 0.0f);  // Integers: any order gives the same.
  for (uint32_t slot = first_slot; slot < first_slot + slots; ++slot) {
    const std::vector<float> gradient = TestGradient(elements, slot, step, chunk);
    for (int64_t i = 0; i < elements; ++i) sum[i] += gradient[i];
  }
  return sum;
}

}  // namespace paramd
