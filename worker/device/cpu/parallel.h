// Splits a loop over the threads of OpenMP, which oneDNN uses too: one pool of threads for all work of a device.
//
//   ParallelFor(threads, rows, 16, [&](int64_t begin, int64_t end, int thread) { ... });
//
// Thread safe; the pool belongs to the calling thread. Called from inside a part it runs as a plain loop.
#ifndef PARAMD_WORKER_DEVICE_CPU_PARALLEL_H_
#define PARAMD_WORKER_DEVICE_CPU_PARALLEL_H_

#include <cstdint>

#include "absl/functional/function_ref.h"

namespace paramd {

// Calls body(begin, end, thread) for at most `threads` disjoint ranges that cover [0, count), at the same time. Inner
// bounds are multiples of `grain`; 0 <= thread < threads.
void ParallelFor(int threads, int64_t count, int64_t grain, absl::FunctionRef<void(int64_t, int64_t, int)> body);

// How many threads OpenMP may use for work that the calling thread starts.
void SetThreadsOfCaller(int threads);

}  // namespace paramd

#endif  // PARAMD_WORKER_DEVICE_CPU_PARALLEL_H_
