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
#include "worker/data/dataset.h"
#include "worker/data/open_dataset.h"
#include "worker/data/sampler.h"
#include "worker/device/cpu/cpu_device.h"
#include "worker/models/model_program.h"

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
  static absl::StatusOr<std::unique_ptr<LocalTrainer>> Create(const v1::JobSpec& spec) {
    ASSIGN_OR_RETURN(std::vector<ParameterSpec> layout, ParameterLayout(spec.model()));
    ASSIGN_OR_RETURN(ArenaPlan plan, ArenaPlan::Create(layout, spec.resources().chunk_elements()));
    ASSIGN_OR_RETURN(std::unique_ptr<Dataset> data, OpenDataset(spec));
    ASSIGN_OR_RETURN(Sampler sampler, Sampler::Create(spec, data->train_samples()));
    ASSIGN_OR_RETURN(std::unique_ptr<Device> device, CreateCpuDevice({.threads = 1}));
    ASSIGN_OR_RETURN(std::unique_ptr<ModelProgram> program,
                     CompileModel(*device, spec.model(), plan, {.batch_size = spec.training().micro_batch()}));
    ASSIGN_OR_RETURN(std::unique_ptr<const Optimizer> optimizer, CreateOptimizer(spec.optimizer()));
    return std::unique_ptr<LocalTrainer>(new LocalTrainer(spec, std::move(plan), std::move(data), std::move(sampler),
                                                          std::move(device), std::move(program), std::move(optimizer)));
  }

  absl::StatusOr<LocalResult> Train() {
    LocalResult result;
    for (uint64_t step = 0; step < spec_.training().steps(); ++step) {
      loss_ = 0;
      uint32_t width = 1;
      while (width < spec_.training().slots()) width *= 2;
      ASSIGN_OR_RETURN(std::vector<float> sum, SumOfSlots(step, 0, width));
      RETURN_IF_ERROR(Apply(step, sum));
      result.losses.push_back(loss_ / spec_.training().slots());
    }
    result.weights_sha256 = WeightsHash();
    result.arena = weights_;
    return result;
  }

 private:
  LocalTrainer(const v1::JobSpec& spec, ArenaPlan plan, std::unique_ptr<Dataset> data, Sampler sampler,
               std::unique_ptr<Device> device, std::unique_ptr<ModelProgram> program,
               std::unique_ptr<const Optimizer> optimizer)
      : spec_(spec),
        plan_(std::move(plan)),
        data_(std::move(data)),
        sampler_(std::move(sampler)),
        device_(std::move(device)),
        program_(std::move(program)),
        optimizer_(std::move(optimizer)),
        weights_(plan_.arena_elements()),
        state_(plan_.arena_elements() * optimizer_->state_count()) {
    InitializeArenaRange(plan_, spec_.seed(), 0, absl::MakeSpan(weights_));
  }

  // Gradient sum of slots [first, first + width) that exist; `width` is a power of two and `first` a multiple of it.
  absl::StatusOr<std::vector<float>> SumOfSlots(uint64_t step, uint32_t first, uint32_t width) {
    if (width == 1) return SlotGradient(step, first);
    ASSIGN_OR_RETURN(std::vector<float> left, SumOfSlots(step, first, width / 2));
    if (first + width / 2 >= spec_.training().slots()) return left;
    ASSIGN_OR_RETURN(std::vector<float> right, SumOfSlots(step, first + width / 2, width / 2));
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
                                                              weights_, absl::MakeSpan(gradient), gate, sink));
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
  std::vector<float> weights_;
  std::vector<float> state_;
  double loss_ = 0;
};

}  // namespace

absl::StatusOr<LocalResult> TrainLocally(const v1::JobSpec& spec) {
  if (spec.sync().mode() != v1::SYNC_MODE_SYNC) {
    return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_SPEC",
                     absl::StrCat("local training is synchronous, got ", v1::SyncMode_Name(spec.sync().mode())));
  }
  ASSIGN_OR_RETURN(std::unique_ptr<LocalTrainer> trainer, LocalTrainer::Create(spec));
  return trainer->Train();
}

}  // namespace paramd
