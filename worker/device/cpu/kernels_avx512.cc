// kernels.inc for processors with avx512f, avx512dq.
#include <immintrin.h>

#include <cmath>
#include <cstdint>

#include "common/base/philox.h"
#include "worker/device/cpu/kernels.h"

#define PARAMD_LANES 16
#define PARAMD_KERNELS_NAME "avx512"
#define PARAMD_KERNELS_FUNCTION Avx512Kernels
#pragma GCC push_options
#pragma GCC optimize("O3")
#pragma GCC target("avx512f,avx512dq")
#include "worker/device/cpu/kernels.inc"
#pragma GCC pop_options
