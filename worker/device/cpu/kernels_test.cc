// The kernels against plain double-precision loops, and their promise: the same bits for all instruction sets and
// splits.
#include "worker/device/cpu/kernels.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "common/base/philox.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

using Tensor = std::vector<float>;

Tensor Random(uint32_t stream, int64_t count, float scale = 1) {
  Philox random(1, RandomStream::kTest, stream);
  Tensor values(count);
  for (float& value : values) value = random.Normal() * scale;
  return values;
}

// Runs every kernel on a [rows, columns] problem in two parts and appends all results.
class AllKernels {
 public:
  AllKernels(const CpuKernels& kernels, int64_t rows, int64_t columns)
      : k_(kernels), rows_(rows), columns_(columns), n_(rows * columns) {}

  Tensor Run(int64_t row_split, int64_t column_split) {
    row_split_ = std::min(row_split, rows_);
    column_split_ = std::min(column_split, columns_);
    const Tensor x = Random(1, n_, 3), dy = Random(2, n_), gamma = Random(3, columns_), beta = Random(4, columns_);
    ElementWise(x, dy);
    Norms(x, dy, gamma, beta);
    Softmaxes(x, dy);
    return result_;
  }

 private:
  template <typename Kernel, typename Args>
  void Rows(Kernel kernel, const Args& args) {
    kernel(args, 0, row_split_);
    kernel(args, row_split_, rows_);
  }
  template <typename Kernel, typename Args>
  void Columns(Kernel kernel, const Args& args) {
    kernel(args, 0, column_split_);
    kernel(args, column_split_, columns_);
  }
  template <typename Kernel, typename Args>
  void Elements(Kernel kernel, const Args& args) {
    const int64_t split = std::min(n_, row_split_ * 64);
    kernel(args, 0, split);
    kernel(args, split, n_);
  }
  void Take(const Tensor& values) { result_.insert(result_.end(), values.begin(), values.end()); }

  void ElementWise(const Tensor& x, const Tensor& dy);
  void Norms(const Tensor& x, const Tensor& dy, const Tensor& gamma, const Tensor& beta);
  void Softmaxes(const Tensor& x, const Tensor& dy);

  const CpuKernels& k_;
  const int64_t rows_, columns_, n_;
  int64_t row_split_ = 0, column_split_ = 0;
  Tensor result_;
};

void AllKernels::ElementWise(const Tensor& x, const Tensor& dy) {
  for (ActivationKind kind : {ActivationKind::kRelu, ActivationKind::kGeluTanh, ActivationKind::kGeluErf}) {
    Tensor y(n_), dx = dy;
    Elements(k_.activation, ActivationArgs{.kind = kind, .count = n_, .x = x.data(), .y = y.data()});
    Elements(k_.activation_gradient,
             ActivationGradientArgs{
                 .kind = kind, .count = n_, .x = x.data(), .dy = dy.data(), .dx = dx.data(), .accumulate = true});
    Take(y);
    Take(dx);
  }
  Tensor dropped = x;
  Elements(k_.dropout, DropoutArgs{.count = n_,
                                   .rate = 0.2f,
                                   .key = {.seed = 1ull << 33, .step = 2, .slot = 3, .op = 4},
                                   .x = dy.data(),
                                   .addend = dropped.data(),
                                   .y = dropped.data()});
  Take(dropped);
  Tensor biased = x, sums(columns_, 1), added(n_);
  Rows(k_.add_bias, AddBiasArgs{.rows = rows_, .columns = columns_, .bias = dy.data(), .x = biased.data()});
  Columns(k_.sum_rows,
          SumRowsArgs{.rows = rows_, .columns = columns_, .x = x.data(), .out = sums.data(), .accumulate = true});
  k_.add_rows(n_, x.data(), dy.data(), added.data());
  k_.add_row(n_, x.data(), added.data());
  Take(biased);
  Take(sums);
  Take(added);
}

void AllKernels::Norms(const Tensor& x, const Tensor& dy, const Tensor& gamma, const Tensor& beta) {
  Tensor y(n_), mean(rows_), rstd(rows_), dx(n_, 1), d_gamma(columns_), d_beta(columns_);
  Rows(k_.layer_norm, LayerNormArgs{.rows = rows_,
                                    .columns = columns_,
                                    .epsilon = 1e-5f,
                                    .x = x.data(),
                                    .gamma = gamma.data(),
                                    .beta = beta.data(),
                                    .y = y.data(),
                                    .mean = mean.data(),
                                    .rstd = rstd.data()});
  const LayerNormGradientArgs gradient = {.rows = rows_,
                                          .columns = columns_,
                                          .x = x.data(),
                                          .gamma = gamma.data(),
                                          .mean = mean.data(),
                                          .rstd = rstd.data(),
                                          .dy = dy.data(),
                                          .dx = dx.data(),
                                          .accumulate_dx = true,
                                          .d_gamma = d_gamma.data(),
                                          .d_beta = d_beta.data()};
  Rows(k_.layer_norm_gradient_x, gradient);
  Columns(k_.layer_norm_gradient_parameters, gradient);
  for (const Tensor* t : {&y, &mean, &rstd, &dx, &d_gamma, &d_beta}) Take(*t);
}

void AllKernels::Softmaxes(const Tensor& x, const Tensor& dy) {
  std::vector<int32_t> targets(rows_);
  for (int64_t i = 0; i < rows_; ++i) targets[i] = i % 5 == 4 ? -1 : i % columns_;
  Tensor log_sum_exp(rows_), losses(rows_), d_logits(n_);
  Rows(k_.cross_entropy, CrossEntropyArgs{.rows = rows_,
                                          .classes = columns_,
                                          .logits = x.data(),
                                          .targets = targets.data(),
                                          .log_sum_exp = log_sum_exp.data(),
                                          .losses = losses.data()});
  Rows(k_.cross_entropy_gradient, CrossEntropyGradientArgs{.rows = rows_,
                                                           .classes = columns_,
                                                           .logits = x.data(),
                                                           .targets = targets.data(),
                                                           .log_sum_exp = log_sum_exp.data(),
                                                           .scale = 0.1f,
                                                           .d_logits = d_logits.data()});
  for (const Tensor* t : {&log_sum_exp, &losses, &d_logits}) Take(*t);
  const int64_t rows = std::min(rows_, columns_);
  Tensor p = x, dropped(n_), d_p = dy, dropped_again(n_);
  k_.causal_softmax({.first_row = columns_ - rows,
                     .rows = rows,
                     .columns = columns_,
                     .stride = columns_,
                     .scores = p.data(),
                     .dropped = dropped.data(),
                     .dropout = 0.3f,
                     .key = {.seed = 1},
                     .mask_row = 3,
                     .mask_stride = 128});
  k_.causal_softmax_gradient({.first_row = columns_ - rows,
                              .rows = rows,
                              .columns = columns_,
                              .stride = columns_,
                              .probabilities = p.data(),
                              .d_p = d_p.data(),
                              .dropped = dropped_again.data(),
                              .scale = 1 / 0.7f});
  EXPECT_EQ(dropped, dropped_again);
  for (const Tensor* t : {&p, &dropped, &d_p}) Take(*t);
}

TEST(KernelsTest, AllInstructionSetsAndSplitsGiveTheSameBits) {
  for (const auto& [rows, columns] : {std::pair<int64_t, int64_t>{1, 1}, {3, 31}, {19, 16}, {7, 100}, {33, 130}}) {
    const Tensor want = AllKernels(BaselineKernels(), rows, columns).Run(rows, columns);
    for (const CpuKernels* kernels : SupportedCpuKernels()) {
      for (const auto& [row_split, column_split] : {std::pair<int64_t, int64_t>{0, 0}, {2, 16}, {5, 64}}) {
        const Tensor got = AllKernels(*kernels, rows, columns).Run(row_split, column_split);
        ASSERT_EQ(want.size(), got.size());
        for (size_t i = 0; i < want.size(); ++i) {
          ASSERT_EQ(std::memcmp(&want[i], &got[i], sizeof(float)), 0)
              << kernels->name << " " << rows << "x" << columns << " result " << i << ": " << want[i] << " " << got[i];
        }
      }
    }
  }
}

TEST(KernelsTest, DropoutMaskIsPhilox) {
  const int64_t n = 1000;
  const RandomKey key = {.seed = 0x123456789abcdef0, .step = 77, .slot = 5, .op = 9};
  const Tensor ones(n, 1);
  for (const CpuKernels* kernels : SupportedCpuKernels()) {
    Tensor y(n);
    kernels->dropout({.count = n, .rate = 0.4f, .key = key, .x = ones.data(), .y = y.data()}, 0, n);
    for (int64_t i = 0; i < n; ++i) {
      const uint32_t stream = static_cast<uint32_t>(RandomStream::kDropout) + 256 * key.op;
      const uint32_t word = PhiloxBlock(key.seed, {.stream = static_cast<RandomStream>(stream),
                                                   .a = 77,
                                                   .b = 5,
                                                   .index = static_cast<uint32_t>(i / 64 * 16 + i % 16)})[i / 16 % 4];
      const bool drop = (word >> 1) < 0.4f * 2147483648.0;
      ASSERT_EQ(y[i], drop ? 0.0f : 1.0f / (1.0f - 0.4f)) << i;
    }
  }
}

double Reference(ActivationKind kind, double x) {
  switch (kind) {
    case ActivationKind::kRelu:
      return std::max(0.0, x);
    case ActivationKind::kGeluTanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case ActivationKind::kGeluErf:
      return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
  }
  return 0;
}

TEST(KernelsTest, ActivationsAreAccurateFarOutToo) {
  Tensor x;
  for (float value = -30; value < 30; value += 0.0037f) x.push_back(value);
  for (float value : {-1e30f, -1e4f, -100.0f, -0.0f, 0.0f, 1e-30f, 100.0f, 1e4f, 1e30f}) x.push_back(value);
  const int64_t n = x.size();
  Tensor y(n), dx(n), ones(n, 1);
  for (ActivationKind kind : {ActivationKind::kRelu, ActivationKind::kGeluTanh, ActivationKind::kGeluErf}) {
    BestCpuKernels().activation({.kind = kind, .count = n, .x = x.data(), .y = y.data()}, 0, n);
    BestCpuKernels().activation_gradient({.kind = kind, .count = n, .x = x.data(), .dy = ones.data(), .dx = dx.data()},
                                         0, n);
    for (int64_t i = 0; i < n; ++i) {
      ASSERT_NEAR(Reference(kind, x[i]), y[i], 1e-6 * std::max(1.0f, std::abs(x[i]))) << x[i];
      if (std::abs(x[i]) > 40 || std::abs(x[i]) < 1e-3) continue;
      const double slope = (Reference(kind, x[i] + 1e-5) - Reference(kind, x[i] - 1e-5)) / 2e-5;
      ASSERT_NEAR(slope, dx[i], 3e-6) << x[i];
    }
  }
}

TEST(KernelsTest, NanStaysNan) {
  const int64_t n = 20;
  Tensor x(n, 1), y(n), mean(1), rstd(1), gamma(n, 1), beta(n, 0);
  x[3] = NAN;
  for (ActivationKind kind : {ActivationKind::kRelu, ActivationKind::kGeluTanh, ActivationKind::kGeluErf}) {
    BestCpuKernels().activation({.kind = kind, .count = n, .x = x.data(), .y = y.data()}, 0, n);
    EXPECT_TRUE(std::isnan(y[3]));
  }
  BestCpuKernels().layer_norm({.rows = 1,
                               .columns = n,
                               .epsilon = 1e-5f,
                               .x = x.data(),
                               .gamma = gamma.data(),
                               .beta = beta.data(),
                               .y = y.data(),
                               .mean = mean.data(),
                               .rstd = rstd.data()},
                              0, 1);
  EXPECT_TRUE(std::isnan(y[0]));
  const int32_t target = 0;
  Tensor log_sum_exp(1), losses(1);
  BestCpuKernels().cross_entropy({.rows = 1,
                                  .classes = n,
                                  .logits = x.data(),
                                  .targets = &target,
                                  .log_sum_exp = log_sum_exp.data(),
                                  .losses = losses.data()},
                                 0, 1);
  EXPECT_TRUE(std::isnan(losses[0]));
}

TEST(KernelsTest, CrossEntropyOfHugeLogitsIsFinite) {
  const Tensor x = {1e4f, -1e4f, 0};
  const int32_t target = 1;
  Tensor log_sum_exp(1), losses(1), dx(3);
  BestCpuKernels().cross_entropy({.rows = 1,
                                  .classes = 3,
                                  .logits = x.data(),
                                  .targets = &target,
                                  .log_sum_exp = log_sum_exp.data(),
                                  .losses = losses.data()},
                                 0, 1);
  EXPECT_EQ(losses[0], 2e4f);
  BestCpuKernels().cross_entropy_gradient({.rows = 1,
                                           .classes = 3,
                                           .logits = x.data(),
                                           .targets = &target,
                                           .log_sum_exp = log_sum_exp.data(),
                                           .scale = 1,
                                           .d_logits = dx.data()},
                                          0, 1);
  EXPECT_FLOAT_EQ(dx[0], 1);
  EXPECT_FLOAT_EQ(dx[1], -1);
  EXPECT_NEAR(dx[2], 0, 1e-30);
}

}  // namespace
}  // namespace paramd
