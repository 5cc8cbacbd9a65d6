// The CPU backend's own loops, compiled once per instruction set from kernels.inc, and the choice among them.
//
//   const CpuKernels& kernels = BestCpuKernels();
//   kernels.layer_norm(args, row_begin, row_end);
//
// Functions work on a part [begin, end) of rows (or elements, or columns, as stated), so that callers can split the
// work among threads; the result does not depend on the split. Sums run in 16 lanes whatever the register width, so all
// instruction sets give the same bits. Everything is stateless and thread safe.
#ifndef PARAMD_WORKER_DEVICE_CPU_KERNELS_H_
#define PARAMD_WORKER_DEVICE_CPU_KERNELS_H_

#include <cstdint>
#include <vector>

#include "worker/device/ops.h"

namespace paramd {

// Rows [first_row, first_row + rows) of one head's score matrix, entries [0, columns); row i counts columns 0..i.
struct CausalSoftmaxArgs {
  int64_t first_row = 0;
  int64_t rows = 0;
  int64_t columns = 0;       // >= first_row + rows.
  int64_t stride = 0;        // Elements between rows of `scores`.
  float* scores = nullptr;   // In: scores. Out: probabilities, 0 above the diagonal, sign bit set where dropped.
  float* dropped = nullptr;  // With dropout: [rows, columns] probabilities, 0 where dropped (not scaled). Else nullptr.
  float dropout = 0;
  RandomKey key;
  int64_t mask_row = 0;     // Index of first_row among all rows of all heads.
  int64_t mask_stride = 0;  // Mask elements a row, a multiple of 64.
};

// The backward of the same rows: from d_p = gradient of the dropped, unscaled probabilities, in place to the gradient
// of scores.
struct CausalSoftmaxGradientArgs {
  int64_t first_row = 0;
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t stride = 0;
  const float* probabilities = nullptr;
  float* d_p = nullptr;      // [rows, columns]
  float* dropped = nullptr;  // With dropout: filled as above. Else nullptr.
  float scale = 1;           // 1 / (1 - dropout).
};

struct CpuKernels {
  const char* name;
  void (*add_bias)(const AddBiasArgs&, int64_t row_begin, int64_t row_end);
  void (*sum_rows)(const SumRowsArgs&, int64_t column_begin, int64_t column_end);
  void (*activation)(const ActivationArgs&, int64_t begin, int64_t end);
  void (*activation_gradient)(const ActivationGradientArgs&, int64_t begin, int64_t end);
  void (*layer_norm)(const LayerNormArgs&, int64_t row_begin, int64_t row_end);
  void (*layer_norm_gradient_x)(const LayerNormGradientArgs&, int64_t row_begin, int64_t row_end);
  void (*layer_norm_gradient_parameters)(const LayerNormGradientArgs&, int64_t column_begin, int64_t column_end);
  void (*dropout)(const DropoutArgs&, int64_t begin, int64_t end);  // begin: a multiple of 64.
  void (*add_row)(int64_t count, const float* x, float* y);         // y += x
  void (*add_rows)(int64_t count, const float* a, const float* b, float* y);
  void (*causal_softmax)(const CausalSoftmaxArgs&);
  void (*causal_softmax_gradient)(const CausalSoftmaxGradientArgs&);
  void (*cross_entropy)(const CrossEntropyArgs&, int64_t row_begin, int64_t row_end);
  void (*cross_entropy_gradient)(const CrossEntropyGradientArgs&, int64_t row_begin, int64_t row_end);
};

// The fastest that this processor runs.
const CpuKernels& BestCpuKernels();
// All that this processor runs, the fastest first.
std::vector<const CpuKernels*> SupportedCpuKernels();

// One per translation unit; call only what SupportedCpuKernels names.
const CpuKernels& BaselineKernels();
const CpuKernels& Avx2Kernels();
const CpuKernels& Avx512Kernels();

}  // namespace paramd

#endif  // PARAMD_WORKER_DEVICE_CPU_KERNELS_H_
