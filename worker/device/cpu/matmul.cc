#include "worker/device/cpu/matmul.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "oneapi/dnnl/dnnl.h"

namespace paramd {
namespace {

// sum over an empty k: C = 0 or unchanged.
void ClearUnlessAccumulating(const MatMulArgs& args) {
  if (args.accumulate) return;
  for (int64_t row = 0; row < args.m; ++row) std::fill_n(args.c + row * args.ldc, args.n, 0.0f);
}

}  // namespace

absl::Status CpuMatMul(const MatMulArgs& args) {
  if (args.m == 0 || args.n == 0) return absl::OkStatus();
  if (args.k == 0) {
    ClearUnlessAccumulating(args);
    return absl::OkStatus();
  }
  const dnnl_status_t status =
      dnnl_sgemm(args.transpose_a ? 'T' : 'N', args.transpose_b ? 'T' : 'N', args.m, args.n, args.k, args.alpha, args.a,
                 args.lda, args.b, args.ldb, args.accumulate ? 1.0f : 0.0f, args.c, args.ldc);
  if (status == dnnl_success) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("oneDNN's sgemm failed with code ", static_cast<int>(status),
                                          " for m=", args.m, " n=", args.n, " k=", args.k));
}

}  // namespace paramd
