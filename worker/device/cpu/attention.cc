#include "worker/device/cpu/attention.h"

#include <algorithm>
#include <vector>

#include "common/base/status_macros.h"
#include "worker/device/cpu/matmul.h"
#include "worker/device/cpu/parallel.h"

namespace paramd {
namespace {

constexpr int64_t kBlockRows = 64;

int64_t RoundUp(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

int64_t TileElements(int64_t sequence) { return kBlockRows * RoundUp(sequence, 16); }

// Runs body(head, scratch of its thread) for all heads of all examples; the first error wins.
template <typename Args, typename Body>
absl::Status ForHeads(const Args& args, int threads, const Body& body) {
  std::vector<absl::Status> errors(threads);
  ParallelFor(threads, args.examples * args.heads, 1, [&](int64_t begin, int64_t end, int thread) {
    float* scratch = args.scratch + thread * 2 * TileElements(args.sequence);
    for (int64_t head = begin; head < end && errors[thread].ok(); ++head) errors[thread] = body(head, scratch);
  });
  for (absl::Status& error : errors) RETURN_IF_ERROR(error);
  return absl::OkStatus();
}

// Where one head's tensors start. `head` counts over all examples.
struct HeadOffsets {
  template <typename Args>
  HeadOffsets(const Args& args, int64_t head)
      : width(args.heads * args.head_width),
        y(head / args.heads * args.sequence * width + head % args.heads * args.head_width),
        query(head / args.heads * args.sequence * 3 * width + head % args.heads * args.head_width),
        key(query + width),
        value(key + width),
        probabilities(head * args.sequence * args.sequence) {}

  int64_t width;
  int64_t y, query, key, value, probabilities;
};

float ScoreScale(int64_t head_width) { return 1.0f / __builtin_sqrtf(static_cast<float>(head_width)); }

absl::Status ForwardHead(const CpuKernels& kernels, const AttentionArgs& args, int64_t head, float* scratch) {
  const HeadOffsets at(args, head);
  const int64_t t = args.sequence, d = args.head_width, qkv_stride = 3 * at.width;
  for (int64_t first = 0; first < t; first += kBlockRows) {
    const int64_t rows = std::min(kBlockRows, t - first), columns = first + rows;
    float* p = args.probabilities + at.probabilities + first * t;
    float* dropped = args.dropout > 0 ? scratch : nullptr;
    RETURN_IF_ERROR(CpuMatMul({.m = rows,
                               .n = columns,
                               .k = d,
                               .a = args.qkv + at.query + first * qkv_stride,
                               .lda = qkv_stride,
                               .b = args.qkv + at.key,
                               .ldb = qkv_stride,
                               .transpose_b = true,
                               .c = p,
                               .ldc = t,
                               .alpha = ScoreScale(d)}));
    kernels.causal_softmax({.first_row = first,
                            .rows = rows,
                            .columns = columns,
                            .stride = t,
                            .scores = p,
                            .dropped = dropped,
                            .dropout = args.dropout,
                            .key = args.key,
                            .mask_row = head * t + first,
                            .mask_stride = RoundUp(t, 64)});
    RETURN_IF_ERROR(CpuMatMul({.m = rows,
                               .n = d,
                               .k = columns,
                               .a = dropped != nullptr ? dropped : p,
                               .lda = dropped != nullptr ? columns : t,
                               .b = args.qkv + at.value,
                               .ldb = qkv_stride,
                               .c = args.y + at.y + first * at.width,
                               .ldc = at.width,
                               .alpha = 1.0f / (1.0f - args.dropout)}));
  }
  return absl::OkStatus();
}

// Blocks run from the last to the first: the last one covers all keys, so it overwrites and the others add.
absl::Status BackwardHead(const CpuKernels& kernels, const AttentionGradientArgs& args, int64_t head, float* scratch) {
  const HeadOffsets at(args, head);
  const int64_t t = args.sequence, d = args.head_width, qkv_stride = 3 * at.width;
  const float keep_scale = 1.0f / (1.0f - args.dropout);
  float* d_p = scratch;
  float* dropped = args.dropout > 0 ? scratch + TileElements(t) : nullptr;
  for (int64_t first = (t - 1) / kBlockRows * kBlockRows; first >= 0; first -= kBlockRows) {
    const int64_t rows = std::min(kBlockRows, t - first), columns = first + rows;
    const bool accumulate = columns < t;
    const float* p = args.probabilities + at.probabilities + first * t;
    const float* dy = args.dy + at.y + first * at.width;
    RETURN_IF_ERROR(CpuMatMul({.m = rows,
                               .n = columns,
                               .k = d,
                               .a = dy,
                               .lda = at.width,
                               .b = args.qkv + at.value,
                               .ldb = qkv_stride,
                               .transpose_b = true,
                               .c = d_p,
                               .ldc = columns}));
    kernels.causal_softmax_gradient({.first_row = first,
                                     .rows = rows,
                                     .columns = columns,
                                     .stride = t,
                                     .probabilities = p,
                                     .d_p = d_p,
                                     .dropped = dropped,
                                     .scale = keep_scale});
    RETURN_IF_ERROR(CpuMatMul({.m = columns,
                               .n = d,
                               .k = rows,
                               .a = dropped != nullptr ? dropped : p,
                               .lda = dropped != nullptr ? columns : t,
                               .transpose_a = true,
                               .b = dy,
                               .ldb = at.width,
                               .c = args.d_qkv + at.value,
                               .ldc = qkv_stride,
                               .alpha = keep_scale,
                               .accumulate = accumulate}));
    RETURN_IF_ERROR(CpuMatMul({.m = rows,
                               .n = d,
                               .k = columns,
                               .a = d_p,
                               .lda = columns,
                               .b = args.qkv + at.key,
                               .ldb = qkv_stride,
                               .c = args.d_qkv + at.query + first * qkv_stride,
                               .ldc = qkv_stride,
                               .alpha = ScoreScale(d)}));
    RETURN_IF_ERROR(CpuMatMul({.m = columns,
                               .n = d,
                               .k = rows,
                               .a = d_p,
                               .lda = columns,
                               .transpose_a = true,
                               .b = args.qkv + at.query + first * qkv_stride,
                               .ldb = qkv_stride,
                               .c = args.d_qkv + at.key,
                               .ldc = qkv_stride,
                               .alpha = ScoreScale(d),
                               .accumulate = accumulate}));
  }
  return absl::OkStatus();
}

}  // namespace

int64_t AttentionScratchElements(int64_t sequence, int threads) { return threads * 2 * TileElements(sequence); }

absl::Status CpuAttention(const CpuKernels& kernels, int threads, const AttentionArgs& args) {
  return ForHeads(args, threads,
                  [&](int64_t head, float* scratch) { return ForwardHead(kernels, args, head, scratch); });
}

absl::Status CpuAttentionGradient(const CpuKernels& kernels, int threads, const AttentionGradientArgs& args) {
  return ForHeads(args, threads,
                  [&](int64_t head, float* scratch) { return BackwardHead(kernels, args, head, scratch); });
}

}  // namespace paramd
