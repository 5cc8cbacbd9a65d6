#include "worker/device/cpu/cpu_device.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "oneapi/dnnl/dnnl.h"
#include "worker/device/cpu/attention.h"
#include "worker/device/cpu/kernels.h"
#include "worker/device/cpu/matmul.h"
#include "worker/device/cpu/parallel.h"

namespace paramd {
namespace {

constexpr int64_t kAlignmentBytes = 64;
constexpr int64_t kElementGrain = 16 * 1024;  // Elements worth a thread; a multiple of 64.
constexpr int64_t kColumnGrain = 64;

class CpuBuffer final : public DeviceBuffer {
 public:
  CpuBuffer(float* data, int64_t elements) : data_(data), elements_(elements) {}
  ~CpuBuffer() override { std::free(data_); }
  CpuBuffer(const CpuBuffer&) = delete;
  CpuBuffer& operator=(const CpuBuffer&) = delete;

  float* data() override { return data_; }
  int64_t elements() const override { return elements_; }

 private:
  float* data_;
  int64_t elements_;
};

class CpuDevice final : public Device {
 public:
  explicit CpuDevice(int threads) : threads_(threads), kernels_(BestCpuKernels()) {}

  std::string description() const override {
    return absl::StrCat("cpu ", kernels_.name, " ", threads_, threads_ == 1 ? " thread" : " threads");
  }
  int threads() const override { return threads_; }

  absl::StatusOr<std::unique_ptr<DeviceBuffer>> Allocate(int64_t elements) override;

  absl::Status Fill(float* x, int64_t count, float value) override {
    std::fill_n(x, count, value);
    return absl::OkStatus();
  }
  absl::Status MatMul(const MatMulArgs& args) override {
    SetThreadsOfCaller(threads_);
    return CpuMatMul(args);
  }
  absl::Status AddBias(const AddBiasArgs& args) override {
    return Split(args.rows, RowGrain(args.columns), kernels_.add_bias, args);
  }
  absl::Status SumRows(const SumRowsArgs& args) override {
    return Split(args.columns, kColumnGrain, kernels_.sum_rows, args);
  }
  absl::Status Activation(const ActivationArgs& args) override {
    return Split(args.count, kElementGrain, kernels_.activation, args);
  }
  absl::Status ActivationGradient(const ActivationGradientArgs& args) override {
    return Split(args.count, kElementGrain, kernels_.activation_gradient, args);
  }
  absl::Status LayerNorm(const LayerNormArgs& args) override {
    return Split(args.rows, RowGrain(args.columns), kernels_.layer_norm, args);
  }
  absl::Status LayerNormGradient(const LayerNormGradientArgs& args) override;
  absl::Status Dropout(const DropoutArgs& args) override {
    return Split(args.count, kElementGrain, kernels_.dropout, args);
  }
  absl::Status Embedding(const EmbeddingArgs& args) override;
  absl::Status EmbeddingGradient(const EmbeddingGradientArgs& args) override;
  int64_t AttentionScratchElements(int64_t sequence) const override {
    return paramd::AttentionScratchElements(sequence, threads_);
  }
  absl::Status Attention(const AttentionArgs& args) override {
    SetThreadsOfCaller(threads_);
    return CpuAttention(kernels_, threads_, args);
  }
  absl::Status AttentionGradient(const AttentionGradientArgs& args) override {
    SetThreadsOfCaller(threads_);
    return CpuAttentionGradient(kernels_, threads_, args);
  }
  absl::StatusOr<CrossEntropySums> CrossEntropy(const CrossEntropyArgs& args) override;
  absl::Status CrossEntropyGradient(const CrossEntropyGradientArgs& args) override {
    return Split(args.rows, RowGrain(args.classes), kernels_.cross_entropy_gradient, args);
  }

 private:
  static int64_t RowGrain(int64_t columns) {
    return std::max<int64_t>(1, kElementGrain / std::max<int64_t>(1, columns));
  }

  template <typename Args>
  absl::Status Split(int64_t count, int64_t grain, void (*kernel)(const Args&, int64_t, int64_t), const Args& args) {
    ParallelFor(threads_, count, grain, [&](int64_t begin, int64_t end, int) { kernel(args, begin, end); });
    return absl::OkStatus();
  }

  const int threads_;
  const CpuKernels& kernels_;
};

absl::StatusOr<std::unique_ptr<DeviceBuffer>> CpuDevice::Allocate(int64_t elements) {
  if (elements < 0) return absl::InvalidArgumentError(absl::StrCat("cannot allocate ", elements, " elements"));
  if (elements > (int64_t{1} << 40)) {
    return absl::ResourceExhaustedError(absl::StrCat("cannot allocate ", elements, " fp32 elements"));
  }
  const int64_t bytes =
      (elements * static_cast<int64_t>(sizeof(float)) + kAlignmentBytes) / kAlignmentBytes * kAlignmentBytes;
  auto* data = static_cast<float*>(std::aligned_alloc(kAlignmentBytes, bytes));
  if (data == nullptr) return absl::ResourceExhaustedError(absl::StrCat("cannot allocate ", bytes, " bytes"));
  std::memset(data, 0, bytes);
  return std::make_unique<CpuBuffer>(data, elements);
}

absl::Status CpuDevice::LayerNormGradient(const LayerNormGradientArgs& args) {
  // Parameters first: dx may take the memory of dy.
  (void)Split(args.columns, kColumnGrain, kernels_.layer_norm_gradient_parameters, args);
  if (args.dx == nullptr) return absl::OkStatus();
  return Split(args.rows, RowGrain(args.columns), kernels_.layer_norm_gradient_x, args);
}

absl::Status CpuDevice::Embedding(const EmbeddingArgs& args) {
  ParallelFor(threads_, args.rows, RowGrain(args.width), [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      kernels_.add_rows(args.width, args.token_table + args.tokens[row] * args.width,
                        args.position_table + row % args.sequence * args.width, args.y + row * args.width);
    }
  });
  return absl::OkStatus();
}

// Not split among threads: rows of the same token must be added in order, and this is little work.
absl::Status CpuDevice::EmbeddingGradient(const EmbeddingGradientArgs& args) {
  if (!args.accumulate_tokens) std::fill_n(args.d_token_table, args.token_count * args.width, 0.0f);
  if (!args.accumulate_positions) std::fill_n(args.d_position_table, args.position_count * args.width, 0.0f);
  for (int64_t row = 0; row < args.rows; ++row) {
    const float* dy = args.dy + row * args.width;
    kernels_.add_row(args.width, dy, args.d_token_table + args.tokens[row] * args.width);
    kernels_.add_row(args.width, dy, args.d_position_table + row % args.sequence * args.width);
  }
  return absl::OkStatus();
}

// Whether `target` is the first largest of x[0, n).
bool IsHit(const float* x, int64_t n, int32_t target) {
  const float value = x[target];
  for (int64_t i = 0; i < target; ++i) {
    if (!(x[i] < value)) return false;
  }
  for (int64_t i = target + 1; i < n; ++i) {
    if (!(x[i] <= value)) return false;
  }
  return value == value;
}

absl::StatusOr<CrossEntropySums> CpuDevice::CrossEntropy(const CrossEntropyArgs& args) {
  (void)Split(args.rows, RowGrain(args.classes), kernels_.cross_entropy, args);
  CrossEntropySums sums;
  for (int64_t row = 0; row < args.rows; ++row) {
    if (args.targets[row] < 0) continue;
    sums.loss_sum += args.losses[row];
    ++sums.count;
    sums.correct += IsHit(args.logits + row * args.classes, args.classes, args.targets[row]);
  }
  return sums;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Device>> CreateCpuDevice(const CpuDeviceOptions& options) {
  if (options.threads < 1 || options.threads > 1024) {
    return absl::InvalidArgumentError(absl::StrCat("threads must be in 1..1024, got ", options.threads));
  }
  if (dnnl_set_default_fpmath_mode(dnnl_fpmath_mode_strict) != dnnl_success) {
    return absl::InternalError("oneDNN refused strict fp32 arithmetic");
  }
  return std::make_unique<CpuDevice>(options.threads);
}

}  // namespace paramd
