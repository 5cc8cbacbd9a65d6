#include "worker/device/cpu/parallel.h"

#include <omp.h>

#include <algorithm>

namespace paramd {

void ParallelFor(int threads, int64_t count, int64_t grain, absl::FunctionRef<void(int64_t, int64_t, int)> body) {
  const int64_t grains = (count + grain - 1) / grain;
  const int parts = static_cast<int>(std::min<int64_t>(threads, grains));
  if (parts <= 1 || omp_in_parallel()) {
    if (count > 0) body(0, count, 0);
    return;
  }
#pragma omp parallel for num_threads(parts) schedule(static, 1)
  for (int part = 0; part < parts; ++part) {
    const int64_t begin = grains * part / parts * grain;
    const int64_t end = std::min(count, grains * (part + 1) / parts * grain);
    body(begin, end, part);
  }
}

void SetThreadsOfCaller(int threads) { omp_set_num_threads(threads); }

}  // namespace paramd
