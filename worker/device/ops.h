// Arguments of the operations that a Device offers. All tensors are row-major fp32 in the device's memory; "rows" are
// the flattened batch (examples * sequence) unless an op says otherwise.
//
// Conventions: `accumulate` adds to the destination instead of overwriting it. Sizes are in elements and may be 0.
// Input and output may be the same memory only where the op says so. A gradient is named d_<what>.
#ifndef PARAMD_WORKER_DEVICE_OPS_H_
#define PARAMD_WORKER_DEVICE_OPS_H_

#include <cstdint>

namespace paramd {

// C[m,n] = alpha * op(A)[m,k] * op(B)[k,n] (+ C). A transposed operand is stored [k,m] resp. [n,k]. ld*: elements
// between stored rows.
struct MatMulArgs {
  int64_t m = 0;
  int64_t n = 0;
  int64_t k = 0;
  const float* a = nullptr;
  int64_t lda = 0;
  bool transpose_a = false;
  const float* b = nullptr;
  int64_t ldb = 0;
  bool transpose_b = false;
  float* c = nullptr;
  int64_t ldc = 0;
  float alpha = 1;
  bool accumulate = false;
};

// x[r, c] += bias[c].
struct AddBiasArgs {
  int64_t rows = 0;
  int64_t columns = 0;
  const float* bias = nullptr;
  float* x = nullptr;
};

// out[c] (+)= sum over r of x[r, c], r ascending.
struct SumRowsArgs {
  int64_t rows = 0;
  int64_t columns = 0;
  const float* x = nullptr;
  float* out = nullptr;
  bool accumulate = false;
};

enum class ActivationKind {
  kRelu,
  kGeluTanh,  // 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
  kGeluErf,   // 0.5 x (1 + erf(x / sqrt(2)))
};

// y = f(x). y may be x.
struct ActivationArgs {
  ActivationKind kind = ActivationKind::kRelu;
  int64_t count = 0;
  const float* x = nullptr;
  float* y = nullptr;
};

// dx (+)= dy * f'(x). dx may be dy when not accumulating.
struct ActivationGradientArgs {
  ActivationKind kind = ActivationKind::kRelu;
  int64_t count = 0;
  const float* x = nullptr;
  const float* dy = nullptr;
  float* dx = nullptr;
  bool accumulate = false;
};

// y = (x - mean) * rstd * gamma + beta per row; keeps mean and rstd = 1 / sqrt(variance + epsilon), one value a row.
struct LayerNormArgs {
  int64_t rows = 0;
  int64_t columns = 0;
  float epsilon = 0;
  const float* x = nullptr;
  const float* gamma = nullptr;
  const float* beta = nullptr;
  float* y = nullptr;
  float* mean = nullptr;
  float* rstd = nullptr;
};

struct LayerNormGradientArgs {
  int64_t rows = 0;
  int64_t columns = 0;
  const float* x = nullptr;
  const float* gamma = nullptr;
  const float* mean = nullptr;
  const float* rstd = nullptr;
  const float* dy = nullptr;
  float* dx = nullptr;  // nullptr: not wanted.
  bool accumulate_dx = false;
  float* d_gamma = nullptr;
  float* d_beta = nullptr;
  bool accumulate_parameters = false;
};

// What a random mask is a function of, besides the element's index.
struct RandomKey {
  uint64_t seed = 0;
  uint64_t step = 0;  // The low 32 bits count.
  uint32_t slot = 0;
  uint32_t op = 0;  // Below 2^24.
};

// y = addend + mask(x) / (1 - rate); an element is dropped with probability `rate`, 0 <= rate < 1. addend may be
// nullptr (0). y may be x or addend. Element i is dropped iff (word >> 1) < round(rate * 2^31), where word is word (i /
// 16) % 4 of Philox4x32-10 with counter {(i / 64) * 16 + i % 16, slot, step, RandomStream::kDropout + 256 * op} and key
// `seed` (common/base/philox.h).
struct DropoutArgs {
  int64_t count = 0;
  float rate = 0;
  RandomKey key;
  const float* x = nullptr;
  const float* addend = nullptr;
  float* y = nullptr;
};

// y[r] = token_table[tokens[r]] + position_table[r % sequence]. Tokens must be in range.
struct EmbeddingArgs {
  int64_t rows = 0;
  int64_t sequence = 0;
  int64_t width = 0;
  const int32_t* tokens = nullptr;  // Host memory.
  const float* token_table = nullptr;
  const float* position_table = nullptr;
  float* y = nullptr;
};

// Writes (or adds to) the whole tables; rows are added in ascending order.
struct EmbeddingGradientArgs {
  int64_t rows = 0;
  int64_t sequence = 0;
  int64_t width = 0;
  const int32_t* tokens = nullptr;
  const float* dy = nullptr;
  float* d_token_table = nullptr;
  int64_t token_count = 0;
  bool accumulate_tokens = false;
  float* d_position_table = nullptr;
  int64_t position_count = 0;
  bool accumulate_positions = false;
};

// Causal multi-head attention. qkv is [examples * sequence, 3 * heads * head_width]: queries, keys, values, head by
// head. Probabilities are kept for the backward pass: [examples, heads, sequence, sequence]; only entries on or below
// the diagonal are meaningful, and dropped ones have their sign bit set. The mask's element index of (e, h, i, j) is
// ((e * heads + h) * sequence + i) * RoundUp(sequence, 64) + j.
struct AttentionArgs {
  int64_t examples = 0;
  int64_t sequence = 0;
  int64_t heads = 0;
  int64_t head_width = 0;
  float dropout = 0;
  RandomKey key;
  const float* qkv = nullptr;
  float* probabilities = nullptr;
  float* y = nullptr;        // [examples * sequence, heads * head_width]
  float* scratch = nullptr;  // Device::AttentionScratchElements(sequence) elements.
};

struct AttentionGradientArgs {
  int64_t examples = 0;
  int64_t sequence = 0;
  int64_t heads = 0;
  int64_t head_width = 0;
  float dropout = 0;
  const float* qkv = nullptr;
  const float* probabilities = nullptr;
  const float* dy = nullptr;
  float* d_qkv = nullptr;    // Overwritten.
  float* scratch = nullptr;  // As above.
};

// Softmax cross-entropy per row; a target of -1 is not counted.
struct CrossEntropyArgs {
  int64_t rows = 0;
  int64_t classes = 0;
  const float* logits = nullptr;
  const int32_t* targets = nullptr;  // Host memory; -1 or in [0, classes).
  float* log_sum_exp = nullptr;      // Kept for the backward pass, one value a row.
  float* losses = nullptr;           // One value a row, 0 where not counted.
};

struct CrossEntropySums {
  double loss_sum = 0;  // In row order.
  int64_t count = 0;    // Rows counted.
  int64_t correct = 0;  // Rows whose first largest logit is the target's.
};

// d_logits = (softmax(logits) - one_hot(target)) * scale, 0 in rows not counted. d_logits may be logits.
struct CrossEntropyGradientArgs {
  int64_t rows = 0;
  int64_t classes = 0;
  const float* logits = nullptr;
  const int32_t* targets = nullptr;
  const float* log_sum_exp = nullptr;
  float scale = 1;
  float* d_logits = nullptr;
};

}  // namespace paramd

#endif  // PARAMD_WORKER_DEVICE_OPS_H_
