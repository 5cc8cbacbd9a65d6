// kernels.inc for processors with avx2.
#include <immintrin.h>

#include <cmath>
#include <cstdint>

#include "common/base/philox.h"
#include "worker/device/cpu/kernels.h"

#define PARAMD_LANES 8
#define PARAMD_KERNELS_NAME "avx2"
#define PARAMD_KERNELS_FUNCTION Avx2Kernels
#pragma GCC push_options
#pragma GCC optimize("O3")
#pragma GCC target("avx2")
#include "worker/device/cpu/kernels.inc"
#pragma GCC pop_options
