#include "tests/framework/local_trainer.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/sha256.h"
#include "common/base/status_macros.h"
#include "common/model/initialize.h"
#include "common/model/parameter_layout.h"
#include "common/partition/arena_plan.h"
#include "server/store/optimizer/optimizer.h"
#include "server/store/parameter_groups.h"
#include "server/store/schedule.h"
#include "tests/framework/local_wire.h"
#include "worker/data/dataset.h"
#include "worker/data/open_dataset.h"
#include "worker/data/sampler.h"
#include "worker/device/cpu/cpu_device.h"
#include "worker/models/model_program.h"
#include "worker/train/evaluator.h"

namespace paramd {
namespace {

class NoGate final : public ParameterGate {
  absl::Status WaitForParameter(int) override { return absl::OkStatus(); }
};

class NoSink final : public GradientSink {
  absl::Status GradientFinal(int) override { return absl::OkStatus(); }
};

class LocalTrainer {
 public:
  static absl::StatusOr<std::unique_ptr<LocalTrainer>> Create(const v1::JobSpec& spec, const LocalOptions& options) {
    ASSIGN_OR_RETURN(std::vector<ParameterSpec> layout, ParameterLayout(spec.model()));
    ASSIGN_OR_RETURN(ArenaPlan plan, ArenaPlan::Create(layout, spec.resources().chunk_elements()));
    ASSIGN_OR_RETURN(std::unique_ptr<Dataset> data, OpenDataset(spec));
    ASSIGN_OR_RETURN(Sampler sampler, Sampler::Create(spec, data->train_samples()));
    ASSIGN_OR_RETURN(std::unique_ptr<Device> device, CreateCpuDevice({.threads = 1}));
    ASSIGN_OR_RETURN(std::unique_ptr<ModelProgram> program,
                     CompileModel(*device, spec.model(), plan, {.batch_size = spec.training().micro_batch()}));
    ASSIGN_OR_RETURN(std::unique_ptr<const Optimizer> optimizer, CreateOptimizer(spec.optimizer()));
    const uint32_t workers = options.workers > 0 ? options.workers : spec.resources().workers();
    ASSIGN_OR_RETURN(LocalWire wire, LocalWire::Create(spec, plan, workers));
    return std::unique_ptr<LocalTrainer>(new LocalTrainer(spec, std::move(plan), std::move(data), std::move(sampler),
                                                          std::move(device), std::move(program), std::move(optimizer),
                                                          std::move(wire)));
  }

  absl::StatusOr<LocalResult> Train(const LocalOptions& options) {
    LocalResult result;
    for (uint64_t step = 0; step < spec_.training().steps(); ++step) {
      loss_ = 0;
      uint32_t width = 1;
      while (width < spec_.training().slots()) width *= 2;
      wire_.Pull(weights_, absl::MakeSpan(pulled_));
      ASSIGN_OR_RETURN(std::vector<float> sum, SumOfSlots(step, 0, width, /*pushed=*/false));
      RETURN_IF_ERROR(Apply(step, sum));
      result.losses.push_back(loss_ / spec_.training().slots());
    }
    result.weights_sha256 = WeightsHash();
    result.arena = weights_;
    result.pushed_bytes = wire_.pushed_bytes();
    result.raw_bytes = wire_.raw_bytes();
    if (options.evaluate) {
      ASSIGN_OR_RETURN(result.validation_loss, ValidationLoss());
    }
    return result;
  }

 private:
  LocalTrainer(const v1::JobSpec& spec, ArenaPlan plan, std::unique_ptr<Dataset> data, Sampler sampler,
               std::unique_ptr<Device> device, std::unique_ptr<ModelProgram> program,
               std::unique_ptr<const Optimizer> optimizer, LocalWire wire)
      : spec_(spec),
        plan_(std::move(plan)),
        data_(std::move(data)),
        sampler_(std::move(sampler)),
        device_(std::move(device)),
        program_(std::move(program)),
        optimizer_(std::move(optimizer)),
        wire_(std::move(wire)),
        weights_(plan_.arena_elements()),
        pulled_(plan_.arena_elements()),
        state_(plan_.arena_elements() * optimizer_->state_count()) {
    InitializeArenaRange(plan_, spec_.seed(), 0, absl::MakeSpan(weights_));
  }

  // Gradient sum of slots [first, first + width) that exist, as the servers know it: what lies at or below a subtree
  // that some worker pushes (`pushed`: this is below one) has been through its codec. `width` is a power of two and
  // `first` a multiple of it.
  absl::StatusOr<std::vector<float>> SumOfSlots(uint64_t step, uint32_t first, uint32_t width, bool pushed) {
    const int push = pushed ? -1 : wire_.PushOf(first, width);
    ASSIGN_OR_RETURN(std::vector<float> sum, MergedSlots(step, first, width, pushed || push >= 0));
    if (push >= 0) RETURN_IF_ERROR(wire_.Push(push, absl::MakeSpan(sum)));
    return sum;
  }

  absl::StatusOr<std::vector<float>> MergedSlots(uint64_t step, uint32_t first, uint32_t width, bool pushed) {
    if (width == 1) return SlotGradient(step, first);
    ASSIGN_OR_RETURN(std::vector<float> left, SumOfSlots(step, first, width / 2, pushed));
    if (first + width / 2 >= spec_.training().slots()) return left;
    ASSIGN_OR_RETURN(std::vector<float> right, SumOfSlots(step, first + width / 2, width / 2, pushed));
    for (size_t i = 0; i < left.size(); ++i) left[i] += right[i];
    return left;
  }

  absl::StatusOr<std::vector<float>> SlotGradient(uint64_t step, uint32_t slot) {
    std::vector<int64_t> samples;
    sampler_.SamplesOf(step, slot, samples);
    Batch batch;
    RETURN_IF_ERROR(data_->Fill(Dataset::Split::kTrain, samples, batch));
    std::vector<float> gradient(plan_.arena_elements());
    NoGate gate;
    NoSink sink;
    ASSIGN_OR_RETURN(LossSums sums, program_->ForwardBackward(batch, {.seed = spec_.seed(), .step = step, .slot = slot},
                                                              pulled_, absl::MakeSpan(gradient), gate, sink));
    loss_ += sums.loss_sum / std::max<int64_t>(sums.count, 1);
    return gradient;
  }

  // The squared norm as the servers define it: per chunk in 16 lanes of fp64 that are added as a binary tree, the
  // chunks in order.
  double SquaredNorm(const std::vector<float>& sum, float average) const {
    double total = 0;
    for (int chunk = 0; chunk < plan_.chunk_count(); ++chunk) {
      const ElementRange range = plan_.ChunkRange(chunk);
      double lanes[16] = {};
      for (int64_t i = 0; i < range.size(); ++i) {
        const double value = sum[range.begin + i] * average;
        lanes[i % 16] += value * value;
      }
      for (int half = 8; half > 0; half /= 2) {
        for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
      }
      total += lanes[0];
    }
    return total;
  }

  absl::Status Apply(uint64_t step, const std::vector<float>& sum) {
    const float average = 1.0f / spec_.training().slots();
    float clip = 1;
    if (spec_.optimizer().clip_norm() > 0) {
      const double norm = std::sqrt(SquaredNorm(sum, average));
      clip = static_cast<float>(std::min(1.0, spec_.optimizer().clip_norm() / (norm + 1e-6)));
    }
    const double rate = Schedule(spec_.optimizer(), spec_.training().steps()).LearningRate(step);
    const std::vector<ParameterSettings> settings = ResolveParameterGroups(spec_.optimizer(), plan_.parameters());
    for (size_t p = 0; p < plan_.parameters().size(); ++p) {
      const ElementRange range = plan_.ParameterRange(static_cast<int>(p));
      const auto part = [&](auto& values) { return absl::MakeSpan(values).subspan(range.begin, range.size()); };
      optimizer_->Update({.gradient = part(sum),
                          .average = average,
                          .clip = clip,
                          .weights = part(weights_),
                          .new_weights = part(weights_),
                          .state = state_.data() + range.begin,
                          .state_stride = plan_.arena_elements(),
                          .learning_rate = rate * settings[p].learning_rate_scale,
                          .weight_decay = settings[p].weight_decay,
                          .update = step + 1});
    }
    return absl::OkStatus();
  }

  absl::StatusOr<double> ValidationLoss() {
    wire_.Pull(weights_, absl::MakeSpan(pulled_));
    const EvaluatorOptions options = {.batch_size = spec_.training().micro_batch()};
    ASSIGN_OR_RETURN(const v1::Evaluation sums, Evaluate(options, spec_.training().steps(), *data_, *program_, pulled_,
                                                         [] { return absl::OkStatus(); }));
    return sums.loss_sum() / static_cast<double>(std::max<uint64_t>(sums.count(), 1));
  }

  std::string WeightsHash() const {
    Sha256 hash;
    for (size_t p = 0; p < plan_.parameters().size(); ++p) {
      const ElementRange range = plan_.ParameterRange(static_cast<int>(p));
      hash.Update(absl::string_view(reinterpret_cast<const char*>(weights_.data() + range.begin),
                                    range.size() * sizeof(float)));
    }
    return hash.FinishHex();
  }

  const v1::JobSpec spec_;
  const ArenaPlan plan_;
  const std::unique_ptr<Dataset> data_;
  const Sampler sampler_;
  const std::unique_ptr<Device> device_;
  const std::unique_ptr<ModelProgram> program_;
  const std::unique_ptr<const Optimizer> optimizer_;
  LocalWire wire_;
  std::vector<float> weights_;
  std::vector<float> pulled_;  // As the workers have them.
  std::vector<float> state_;
  double loss_ = 0;
};

}  // namespace

absl::StatusOr<LocalResult> TrainLocally(const v1::JobSpec& spec, const LocalOptions& options) {
  if (spec.sync().mode() != v1::SYNC_MODE_SYNC) {
    return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_SPEC",
                     absl::StrCat("local training is synchronous, got ", v1::SyncMode_Name(spec.sync().mode())));
  }
  ASSIGN_OR_RETURN(std::unique_ptr<LocalTrainer> trainer, LocalTrainer::Create(spec, options));
  return trainer->Train(options);
}

}  // namespace paramd
