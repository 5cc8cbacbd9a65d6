#include "tests/bench/paramd_job.h"

#include <utility>

#include "absl/numeric/bits.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/config/job_spec.h"
#include "common/model/initialize.h"
#include "common/model/parameter_layout.h"
#include "common/partition/chunk_map.h"
#include "common/tensor/codec.h"
#include "tests/bench/data_plane_node.h"

namespace paramd {
namespace {

constexpr uint32_t kSteps = 1u << 30;  // More than are ever run.

// A linear layer of n inputs and m outputs has (n + 1) * m parameters: exactly `elements` for n = elements / m - 1.
absl::Status SetModel(int64_t elements, v1::ModelSpec& model) {
  if (elements < 256 || !absl::has_single_bit(static_cast<uint64_t>(elements))) {
    return absl::InvalidArgumentError(absl::StrCat("a model of ", elements, " elements: not a power of two >= 256"));
  }
  int64_t outputs = 16;
  while (outputs * outputs < elements) outputs *= 2;
  model.mutable_mlp()->add_widths(static_cast<uint32_t>(elements / outputs - 1));
  model.mutable_mlp()->add_widths(static_cast<uint32_t>(outputs));
  return absl::OkStatus();
}

absl::StatusOr<v1::JobSpec> MakeSpec(const DataPlaneCase& measured, const DataPlaneSettings& settings) {
  v1::JobSpec spec;
  spec.set_name("data-plane");
  const int64_t bytes = measured.small ? kSmallMessageBytes : settings.model_bytes;
  RETURN_IF_ERROR(SetModel(bytes / static_cast<int64_t>(sizeof(float)), *spec.mutable_model()));
  spec.mutable_data()->mutable_idx()->set_train_images("/none");  // Nobody opens them.
  spec.mutable_data()->mutable_idx()->set_train_labels("/none");
  spec.mutable_training()->set_steps(kSteps);
  spec.mutable_training()->set_slots(measured.workers);
  // Small messages are pushes of one chunk, many at a time: what a synchronous step does not allow.
  spec.mutable_sync()->set_mode(measured.small ? v1::SYNC_MODE_ASYNC : v1::SYNC_MODE_SYNC);
  spec.mutable_optimizer()->set_type(v1::OPTIMIZER_TYPE_SGD);
  spec.mutable_optimizer()->set_learning_rate(kLearningRate);
  spec.mutable_resources()->set_workers(measured.workers);
  spec.mutable_resources()->set_servers(measured.servers);
  spec.mutable_resources()->set_chunk_elements(
      static_cast<uint32_t>(measured.chunk_bytes / static_cast<int64_t>(sizeof(float))));
  v1::Codec push = v1::CODEC_UNSPECIFIED;
  if (!v1::Codec_Parse(absl::StrCat("CODEC_", absl::AsciiStrToUpper(measured.codec)), &push)) {
    return absl::InvalidArgumentError(absl::StrCat("no codec ", measured.codec));
  }
  spec.mutable_communication()->set_push_codec(push);
  spec.mutable_communication()->set_pull_codec(push == v1::CODEC_FP32 ? v1::CODEC_FP32 : v1::CODEC_BF16);
  RETURN_IF_ERROR(FillDefaultsAndValidate(spec));
  return spec;
}

}  // namespace

absl::StatusOr<BenchJob> BenchJob::Create(const DataPlaneCase& measured, const DataPlaneSettings& settings) {
  BenchJob job;
  ASSIGN_OR_RETURN(v1::JobSpec spec, MakeSpec(measured, settings));
  ASSIGN_OR_RETURN(std::vector<ParameterSpec> layout, ParameterLayout(spec.model()));
  ASSIGN_OR_RETURN(job.plan_, ArenaPlan::Create(std::move(layout), spec.resources().chunk_elements()));
  ASSIGN_OR_RETURN(job.codecs_, CodecPlan::Create(spec, job.plan_));
  job.assignment_.set_job_id("data-plane");
  job.assignment_.set_generation(kBenchGeneration);
  *job.assignment_.mutable_spec() = std::move(spec);
  v1::Placement& placement = *job.assignment_.mutable_placement();
  placement.set_arena_elements(job.plan_.arena_elements());
  for (int chunk = 0; chunk < job.plan_.chunk_count(); ++chunk) placement.add_chunk_server(chunk % measured.servers);
  uint32_t index = 0;
  for (const SlotRange& slots : DealSlots(measured.workers, measured.workers)) {
    v1::WorkerPlacement& worker = *placement.add_workers();
    worker.set_node_id(absl::StrCat("worker-", index));
    worker.set_incarnation(BenchIncarnation(index++));
    worker.set_first_slot(slots.first);
    worker.set_slot_count(slots.count);
  }
  return job;
}

void BenchJob::Place(absl::Span<const ServerAddress> servers) {
  v1::Placement& placement = *assignment_.mutable_placement();
  placement.clear_servers();
  for (size_t i = 0; i < servers.size(); ++i) {
    v1::ServerPlacement& server = *placement.add_servers();
    server.set_node_id(absl::StrCat("server-", i));
    server.set_address(servers[i].tcp);
    server.set_local_address(servers[i].local);
    server.set_host_id(servers[i].host_id);
  }
}

absl::StatusOr<std::vector<float>> BenchJob::ExpectedChunk(int chunk, int steps,
                                                           absl::Span<const absl::Span<const float>> gradients) const {
  const ElementRange range = plan_.ChunkRange(chunk);
  std::vector<float> weights(range.size()), sum(range.size()), decoded(range.size());
  InitializeArenaRange(plan_, assignment_.spec().seed(), range.begin, absl::MakeSpan(weights));
  const float rate = kLearningRate / static_cast<float>(gradients.size());
  std::vector<std::vector<float>> residuals(gradients.size(), std::vector<float>(range.size()));
  std::string bytes;
  for (int step = 0; step < steps; ++step) {
    for (size_t w = 0; w < gradients.size(); ++w) {
      absl::Span<const float> gradient = gradients[w].subspan(range.begin, range.size());
      if (!lossless()) {
        bytes.clear();
        RETURN_IF_ERROR(EncodeChunk(codecs_, chunk, gradient, absl::MakeSpan(residuals[w]), bytes));
        RETURN_IF_ERROR(DecodeChunk(codecs_, chunk, codecs_.CodecOf(chunk), bytes, absl::MakeSpan(decoded)));
        gradient = decoded;
      }
      for (size_t i = 0; i < sum.size(); ++i) sum[i] = w == 0 ? gradient[i] : sum[i] + gradient[i];
    }
    for (size_t i = 0; i < sum.size(); ++i) weights[i] -= rate * sum[i];
  }
  if (codecs_.pull_codec() == v1::CODEC_FP32) return weights;
  bytes.clear();
  RETURN_IF_ERROR(EncodeRun(v1::CODEC_BF16, weights, 1, {}, bytes));
  absl::string_view rest = bytes;
  RETURN_IF_ERROR(DecodeRun(v1::CODEC_BF16, rest, absl::MakeSpan(weights)));
  return weights;
}

}  // namespace paramd
