#include "worker/device/cpu/cpu_device.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "common/base/philox.h"
#include "common/base/status_matchers.h"
#include "gtest/gtest.h"
#include "worker/device/cpu/parallel.h"

namespace paramd {
namespace {

using Tensor = std::vector<float>;

Tensor Random(uint32_t stream, int64_t count) {
  Philox random(1, RandomStream::kTest, stream);
  Tensor values(count);
  for (float& value : values) value = random.Normal();
  return values;
}

struct MatMulCase {
  int64_t m, n, k;
  bool transpose_a, transpose_b, accumulate;
};

// op(A)[i, l] in a matrix with rows of `stride` elements.
double At(const Tensor& x, bool transpose, int64_t stride, int64_t i, int64_t l) {
  return transpose ? x[l * stride + i] : x[i * stride + l];
}

void CheckMatMul(Device& device, const MatMulCase& c) {
  const int64_t pad = 3;  // Rows are longer than the matrix.
  const int64_t lda = (c.transpose_a ? c.m : c.k) + pad, ldb = (c.transpose_b ? c.k : c.n) + pad, ldc = c.n + pad;
  const Tensor a = Random(1, (c.transpose_a ? c.k : c.m) * lda), b = Random(2, (c.transpose_b ? c.n : c.k) * ldb);
  const Tensor before = Random(3, c.m * ldc);
  Tensor got = before;
  ASSERT_OK(device.MatMul({.m = c.m,
                           .n = c.n,
                           .k = c.k,
                           .a = a.data(),
                           .lda = lda,
                           .transpose_a = c.transpose_a,
                           .b = b.data(),
                           .ldb = ldb,
                           .transpose_b = c.transpose_b,
                           .c = got.data(),
                           .ldc = ldc,
                           .alpha = 0.5f,
                           .accumulate = c.accumulate}));
  for (int64_t i = 0; i < c.m; ++i) {
    for (int64_t j = 0; j < ldc; ++j) {
      double want = j >= c.n || c.accumulate ? before[i * ldc + j] : 0;
      for (int64_t l = 0; j < c.n && l < c.k; ++l) {
        want += 0.5 * At(a, c.transpose_a, lda, i, l) * At(b, c.transpose_b, ldb, l, j);
      }
      ASSERT_NEAR(want, got[i * ldc + j], 1e-5 * (1 + std::sqrt(static_cast<double>(c.k))))
          << c.m << "x" << c.n << "x" << c.k << " at " << i << "," << j;
    }
  }
}

TEST(CpuDeviceTest, MatMulAgreesWithPlainLoops) {
  for (int threads : {1, 2}) {
    auto device = CreateCpuDevice({.threads = threads}).value();
    for (const auto& [m, n, k] : {std::tuple<int64_t, int64_t, int64_t>{1, 1, 1},
                                  {5, 3, 7},
                                  {31, 64, 33},
                                  {128, 48, 300},
                                  {0, 3, 2},
                                  {3, 0, 2},
                                  {3, 2, 0}}) {
      for (int flags = 0; flags < 8; ++flags) {
        CheckMatMul(*device, {m, n, k, (flags & 1) != 0, (flags & 2) != 0, (flags & 4) != 0});
      }
    }
  }
}

// Everything but MatMul gives the same bits for any thread count; these are large enough to be split.
TEST(CpuDeviceTest, ResultsDoNotDependOnThreads) {
  const int64_t rows = 301, columns = 257, n = rows * columns;
  const Tensor x = Random(1, n), dy = Random(2, n), gamma = Random(3, columns);
  std::vector<std::vector<Tensor>> results;
  for (int threads : {1, 2, 5}) {
    auto device = CreateCpuDevice({.threads = threads}).value();
    Tensor y(n), dx(n), mean(rows), rstd(rows), d_gamma(columns), d_beta(columns), sums(columns), dropped(n), gelu(n);
    EXPECT_OK(device->LayerNorm({.rows = rows,
                                 .columns = columns,
                                 .epsilon = 1e-5f,
                                 .x = x.data(),
                                 .gamma = gamma.data(),
                                 .beta = gamma.data(),
                                 .y = y.data(),
                                 .mean = mean.data(),
                                 .rstd = rstd.data()}));
    EXPECT_OK(device->LayerNormGradient({.rows = rows,
                                         .columns = columns,
                                         .x = x.data(),
                                         .gamma = gamma.data(),
                                         .mean = mean.data(),
                                         .rstd = rstd.data(),
                                         .dy = dy.data(),
                                         .dx = dx.data(),
                                         .d_gamma = d_gamma.data(),
                                         .d_beta = d_beta.data()}));
    EXPECT_OK(device->SumRows({.rows = rows, .columns = columns, .x = x.data(), .out = sums.data()}));
    EXPECT_OK(device->Dropout({.count = n, .rate = 0.5f, .key = {.seed = 5}, .x = x.data(), .y = dropped.data()}));
    EXPECT_OK(device->Activation({.kind = ActivationKind::kGeluTanh, .count = n, .x = x.data(), .y = gelu.data()}));
    results.push_back({y, dx, mean, rstd, d_gamma, d_beta, sums, dropped, gelu});
  }
  EXPECT_EQ(results[0], results[1]);
  EXPECT_EQ(results[0], results[2]);
}

TEST(CpuDeviceTest, CrossEntropyCountsFirstLargestLogitAsHit) {
  auto device = CreateCpuDevice({.threads = 1}).value();
  const Tensor logits = {1, 3, 3, /**/ 1, 3, 3, /**/ 5, 0, 0, /**/ NAN, 0, 0, /**/ 9, 0, 0};
  const std::vector<int32_t> targets = {1, 2, 0, 0, -1};
  Tensor log_sum_exp(5), losses(5);
  const auto sums = device->CrossEntropy({.rows = 4,
                                          .classes = 3,
                                          .logits = logits.data(),
                                          .targets = targets.data(),
                                          .log_sum_exp = log_sum_exp.data(),
                                          .losses = losses.data()});
  ASSERT_OK(sums);
  EXPECT_EQ(sums->count, 4);
  EXPECT_EQ(sums->correct, 2);  // Rows 0 and 2.
  const auto none = device->CrossEntropy({.rows = 1,
                                          .classes = 3,
                                          .logits = logits.data() + 12,
                                          .targets = targets.data() + 4,
                                          .log_sum_exp = log_sum_exp.data(),
                                          .losses = losses.data()});
  EXPECT_EQ(none->count, 0);
  EXPECT_EQ(none->loss_sum, 0);
}

TEST(CpuDeviceTest, BuffersAreAlignedAndZero) {
  auto device = CreateCpuDevice({.threads = 1}).value();
  for (int64_t elements : {0, 1, 31, 1023, 1000007}) {
    auto buffer = device->Allocate(elements);
    ASSERT_OK(buffer);
    EXPECT_EQ((*buffer)->elements(), elements);
    EXPECT_EQ(reinterpret_cast<uintptr_t>((*buffer)->data()) % 64, 0u);
    for (int64_t i = 0; i < elements; ++i) ASSERT_EQ((*buffer)->data()[i], 0);
  }
  EXPECT_EQ(device->Allocate(-1).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(device->Allocate(int64_t{1} << 50).status().code(), absl::StatusCode::kResourceExhausted);
}

TEST(CpuDeviceTest, RefusesBadThreadCounts) {
  for (int threads : {-1, 0, 1025}) {
    EXPECT_EQ(CreateCpuDevice({.threads = threads}).status().code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(CreateCpuDevice({.threads = 3}).value()->threads(), 3);
}

TEST(ParallelForTest, CoversEverythingOnceInAlignedParts) {
  for (int threads : {1, 2, 3, 8}) {
    for (int64_t count : {0, 1, 16, 17, 100, 1000}) {
      std::vector<int> hits(count, 0);
      ParallelFor(threads, count, 16, [&](int64_t begin, int64_t end, int thread) {
        EXPECT_EQ(begin % 16, 0);
        EXPECT_LT(thread, threads);
        for (int64_t i = begin; i < end; ++i) ++hits[i];
      });
      EXPECT_EQ(hits, std::vector<int>(count, 1));
    }
  }
}

}  // namespace
}  // namespace paramd
