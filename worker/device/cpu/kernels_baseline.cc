// kernels.inc for any x86-64 processor.
#include <immintrin.h>

#include <cmath>
#include <cstdint>

#include "common/base/philox.h"
#include "worker/device/cpu/kernels.h"

#define PARAMD_LANES 4
#define PARAMD_KERNELS_NAME "baseline"
#define PARAMD_KERNELS_FUNCTION BaselineKernels
#pragma GCC push_options
#pragma GCC optimize("O3")
#include "worker/device/cpu/kernels.inc"
#pragma GCC pop_options
