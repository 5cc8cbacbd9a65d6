// Measures the servers' arithmetic against what the memory allows: the pass in which a step's last push is applied (sum
// with the ledger, norm, averaging, optimizer, new weights), for each optimizer, and the sum of two pushes.
//
//   bazel run -c opt //tests/bench:optimizers -- [--json] [--rounds 7] [--mib 64]
//
// One thread; weights in chunks of 1 MiB, all of them far more than the caches hold, and the last snapshots are kept as
// slow readers would keep them. The bound of a row is a plain loop over as many arrays of the same size: it reads
// payload, ledger, weights and states and writes new weights and states, and adds where the optimizer computes. Each
// round runs both, one after the other; medians count. Bytes per parameter are those read and written by the loops;
// fetching a line before it is overwritten comes on top, in both.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_format.h"
#include "common/base/cpu_info.h"
#include "common/base/status_macros.h"
#include "common/model/parameter_layout.h"
#include "common/partition/arena_plan.h"
#include "common/tensor/reduce.h"
#include "nlohmann/json.hpp"
#include "server/store/buffer_pool.h"
#include "server/store/job_shard.h"
#include "server/store/ledger.h"
#include "tests/bench/median.h"

namespace paramd {
namespace {

constexpr int64_t kChunkElements = 262144;
constexpr uint32_t kSteps = 1 << 20;  // Never reached.

struct Flags {
  bool json = false;
  int rounds = 7;
  int mib = 64;
};

struct Row {
  std::string name;
  int streams_read = 0;
  int streams_written = 0;
  std::vector<double> seconds, bound_seconds;

  double bytes_per_parameter() const { return 4.0 * (streams_read + streams_written); }
};

template <typename Work>
double SecondsOf(const Work& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Every element different, none a power of two times another; small, so that thousands of steps stay finite.
void Fill(absl::Span<float> values) {
  for (size_t i = 0; i < values.size(); ++i) values[i] = 1e-4f * (static_cast<float>(i * 7919 % 10007) - 5000);
}

// -- bounds --

// Chunks of fp32 from a pool, as the server holds them.
class Chunks {
 public:
  Chunks(BufferPool& pool, int count) {
    for (int i = 0; i < count; ++i) {
      buffers_.push_back(pool.Take(kChunkElements));
      Fill(buffers_.back().span());
    }
  }
  float* at(int chunk) { return buffers_[chunk].data(); }
  absl::string_view bytes(int chunk) { return AsBytes(buffers_[chunk].span()); }

 private:
  std::vector<Buffer> buffers_;
};

#define PARAMD_BOUND_LOOP __attribute__((noinline, optimize("O3"), target_clones("avx512f", "avx2", "default")))

PARAMD_BOUND_LOOP void AddLoop(const float* __restrict payload, float* __restrict ledger) {
  for (int64_t i = 0; i < kChunkElements; ++i) ledger[i] += payload[i];
}

PARAMD_BOUND_LOOP void StatelessLoop(const float* __restrict payload, const float* __restrict ledger,
                                     const float* __restrict weights, float* __restrict new_weights) {
  for (int64_t i = 0; i < kChunkElements; ++i) new_weights[i] = weights[i] + (payload[i] + ledger[i]);
}

PARAMD_BOUND_LOOP void OneStateLoop(const float* __restrict payload, const float* __restrict ledger,
                                    const float* __restrict weights, float* __restrict new_weights,
                                    float* __restrict state) {
  for (int64_t i = 0; i < kChunkElements; ++i) {
    state[i] += payload[i] + ledger[i];
    new_weights[i] = weights[i] + state[i];
  }
}

PARAMD_BOUND_LOOP void TwoStatesLoop(const float* __restrict payload, const float* __restrict ledger,
                                     const float* __restrict weights, float* __restrict new_weights,
                                     float* __restrict first, float* __restrict second) {
  for (int64_t i = 0; i < kChunkElements; ++i) {
    first[i] += payload[i] + ledger[i];
    second[i] += first[i];
    new_weights[i] = weights[i] + second[i];
  }
}

// The arrays of the loops above, and a pass over all of them.
class Bound {
 public:
  Bound(int chunks, int states) : pool_(BufferPool::Create()), chunks_(chunks), states_(states) {
    for (int array = 0; array < 4 + states; ++array) arrays_.emplace_back(*pool_, chunks);
  }

  void RunSum() {
    for (int chunk = 0; chunk < chunks_; ++chunk) AddLoop(arrays_[0].at(chunk), arrays_[1].at(chunk));
  }
  void RunStep() {
    for (int chunk = 0; chunk < chunks_; ++chunk) {
      float* array[6] = {};
      for (size_t i = 0; i < arrays_.size(); ++i) array[i] = arrays_[i].at(chunk);
      if (states_ == 0) StatelessLoop(array[0], array[1], array[2], array[3]);
      if (states_ == 1) OneStateLoop(array[0], array[1], array[2], array[3], array[4]);
      if (states_ == 2) TwoStatesLoop(array[0], array[1], array[2], array[3], array[4], array[5]);
    }
  }

 private:
  const std::shared_ptr<BufferPool> pool_;
  const int chunks_;
  const int states_;
  std::vector<Chunks> arrays_;  // Payload, ledger, weights, new weights, states.
};

// -- what the server does --

// Two workers of one slot each, `mib` chunks of an MLP.
v1::JobAssignment Assignment(v1::OptimizerType type, int mib) {
  v1::JobAssignment assignment;
  assignment.set_job_id("bench");
  v1::JobSpec& spec = *assignment.mutable_spec();
  spec.mutable_model()->mutable_mlp()->add_widths(4096);
  spec.mutable_model()->mutable_mlp()->add_widths(static_cast<uint32_t>(mib) * (kChunkElements / 4096) - 1);
  spec.mutable_training()->set_steps(kSteps);
  spec.mutable_training()->set_slots(2);
  spec.mutable_sync()->set_mode(v1::SYNC_MODE_SYNC);
  v1::OptimizerSpec& optimizer = *spec.mutable_optimizer();
  optimizer.set_type(type);
  optimizer.set_learning_rate(1e-4);
  optimizer.set_weight_decay(0.01);
  optimizer.set_momentum(0.9);
  optimizer.set_beta1(0.9);
  optimizer.set_beta2(0.999);
  optimizer.set_epsilon(1e-8);
  optimizer.set_rho(0.99);
  spec.mutable_resources()->set_chunk_elements(kChunkElements);
  v1::Placement& placement = *assignment.mutable_placement();
  placement.add_servers();
  for (uint32_t worker = 0; worker < 2; ++worker) {
    v1::WorkerPlacement& placed = *placement.add_workers();
    placed.set_first_slot(worker);
    placed.set_slot_count(1);
  }
  return assignment;
}

absl::StatusOr<std::unique_ptr<JobShard>> MakeShard(v1::OptimizerType type, int mib) {
  v1::JobAssignment assignment = Assignment(type, mib);
  ASSIGN_OR_RETURN(std::vector<ParameterSpec> layout, ParameterLayout(assignment.spec().model()));
  ASSIGN_OR_RETURN(const ArenaPlan arena, ArenaPlan::Create(std::move(layout), kChunkElements));
  assignment.mutable_placement()->set_arena_elements(arena.arena_elements());
  for (int chunk = 0; chunk < arena.chunk_count(); ++chunk) assignment.mutable_placement()->add_chunk_server(0);
  ASSIGN_OR_RETURN(std::shared_ptr<const JobPlan> plan, JobPlan::Create(assignment, 0));
  auto shard = std::make_unique<JobShard>(std::move(plan));
  for (const auto& chunk : shard->chunks()) chunk->Initialize();
  return shard;
}

// One worker's pushes of a step to all chunks.
absl::Status PushAll(JobShard& shard, uint32_t worker, uint64_t step, Chunks& payloads) {
  ChunkActions actions;
  for (const auto& chunk : shard.chunks()) {
    ChunkRequest request = {.worker = worker,
                            .chunk = static_cast<uint32_t>(chunk->index()),
                            .push = true,
                            .step = step,
                            .subtree = {.first_slot = worker},
                            .slot_count = 1};
    request.payload = PayloadView(payloads.bytes(chunk->index()).substr(0, chunk->elements() * sizeof(float)));
    actions.Clear();
    chunk->Handle(request, actions);
    RETURN_IF_ERROR(actions.failure);
    RETURN_IF_ERROR(actions.answers.back().status);
  }
  return absl::OkStatus();
}

absl::StatusOr<Row> MeasureOptimizer(v1::OptimizerType type, const Flags& flags) {
  ASSIGN_OR_RETURN(const std::unique_ptr<JobShard> shard, MakeShard(type, flags.mib));
  const int states = shard->plan().optimizer->state_count();
  Row row = {.name = OptimizerName(type), .streams_read = 3 + states, .streams_written = 1 + states};
  Bound bound(flags.mib, states);
  const std::shared_ptr<BufferPool> pool = BufferPool::Create();
  Chunks payloads(*pool, flags.mib);
  std::vector<SnapshotPointer> kept(shard->chunks().size());
  for (int round = -1; round < flags.rounds; ++round) {  // The first one warms up.
    const uint64_t step = static_cast<uint64_t>(round + 1);
    RETURN_IF_ERROR(PushAll(*shard, 0, step, payloads));
    for (size_t i = 0; i < kept.size(); ++i) kept[i] = shard->chunks()[i]->snapshot();
    absl::Status status;
    const double seconds = SecondsOf([&] { status = PushAll(*shard, 1, step, payloads); });
    RETURN_IF_ERROR(status);
    const double bound_seconds = SecondsOf([&] { bound.RunStep(); });
    if (round < 0) continue;
    row.seconds.push_back(seconds);
    row.bound_seconds.push_back(bound_seconds);
  }
  return row;
}

// The second of four slots arrives: payload + ledger stays in the ledger.
absl::StatusOr<Row> MeasureSum(const Flags& flags) {
  Row row = {.name = "sum", .streams_read = 2, .streams_written = 1};
  Bound bound(flags.mib, 0);
  const std::shared_ptr<BufferPool> pool = BufferPool::Create();
  Chunks payloads(*pool, flags.mib);
  std::vector<std::unique_ptr<Ledger>> ledgers;
  for (int i = 0; i < flags.mib; ++i) ledgers.push_back(std::make_unique<Ledger>(SlotTree(4), kChunkElements, *pool));
  const auto store_all = [&](uint32_t slot) -> absl::Status {
    for (int i = 0; i < flags.mib; ++i) {
      ASSIGN_OR_RETURN(const Ledger::Place place, ledgers[i]->Find({.first_slot = slot}));
      ledgers[i]->Store(place, {PayloadView(payloads.bytes(i))});
    }
    return absl::OkStatus();
  };
  for (int round = -1; round < flags.rounds; ++round) {
    for (const auto& ledger : ledgers) ledger->Reset();
    RETURN_IF_ERROR(store_all(0));
    absl::Status status;
    const double seconds = SecondsOf([&] { status = store_all(1); });
    RETURN_IF_ERROR(status);
    const double bound_seconds = SecondsOf([&] { bound.RunSum(); });
    if (round < 0) continue;
    row.seconds.push_back(seconds);
    row.bound_seconds.push_back(bound_seconds);
  }
  return row;
}

// -- report --

nlohmann::json ToJson(const Row& row, int mib) {
  const double gigabytes = row.bytes_per_parameter() * mib * kChunkElements / 1e9;
  const double seconds = Median(row.seconds), bound = Median(row.bound_seconds);
  return {{"name", row.name},
          {"streams_read", row.streams_read},
          {"streams_written", row.streams_written},
          {"bytes_per_parameter", row.bytes_per_parameter()},
          {"milliseconds", seconds * 1e3},
          {"gb_per_s", gigabytes / seconds},
          {"bound_gb_per_s", gigabytes / bound},
          {"ratio", bound / seconds}};
}

void PrintTable(const nlohmann::json& report) {
  absl::PrintF("%d MiB of weights in chunks of 1 MiB, one thread, %s, medians of %d rounds\n", report["mib"].get<int>(),
               report["isa"].get<std::string>(), report["rounds"].get<int>());
  absl::PrintF("%-10s %8s %10s %9s %9s %7s\n", "step", "B/param", "ms", "GB/s", "bound", "ratio");
  for (const nlohmann::json& row : report["rows"]) {
    absl::PrintF("%-10s %8.0f %10.2f %9.2f %9.2f %7.3f\n", row["name"].get<std::string>(),
                 row["bytes_per_parameter"].get<double>(), row["milliseconds"].get<double>(),
                 row["gb_per_s"].get<double>(), row["bound_gb_per_s"].get<double>(), row["ratio"].get<double>());
  }
}

absl::Status Run(const Flags& flags) {
  nlohmann::json report = {{"mib", flags.mib},
                           {"rounds", flags.rounds},
                           {"isa", std::string(IsaName(DetectIsa()))},
                           {"rows", nlohmann::json::array()}};
  ASSIGN_OR_RETURN(const Row sum, MeasureSum(flags));
  report["rows"].push_back(ToJson(sum, flags.mib));
  for (int type = v1::OPTIMIZER_TYPE_SGD; type <= v1::OptimizerType_MAX; ++type) {
    ASSIGN_OR_RETURN(const Row row, MeasureOptimizer(static_cast<v1::OptimizerType>(type), flags));
    report["rows"].push_back(ToJson(row, flags.mib));
  }
  if (flags.json) {
    absl::PrintF("%s\n", report.dump());
  } else {
    PrintTable(report);
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace paramd

int main(int argc, char** argv) {
  paramd::Flags flags;
  CLI::App app("Fused optimizer steps against the memory bound.");
  app.option_defaults()->always_capture_default();
  app.add_flag("--json", flags.json, "print one JSON object");
  app.add_option("--rounds", flags.rounds, "interleaved rounds; medians are printed")->check(CLI::Range(1, 1000));
  app.add_option("--mib", flags.mib, "weights in MiB")->check(CLI::Range(1, 4096));
  CLI11_PARSE(app, argc, argv);
  const absl::Status status = paramd::Run(flags);
  if (!status.ok()) std::fprintf(stderr, "optimizers: %s\n", std::string(status.message()).c_str());
  return status.ok() ? 0 : 1;
}
