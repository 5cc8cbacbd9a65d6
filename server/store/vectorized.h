// Function multiversioning for the store's plain loops: the compiler vectorises each marked function for several
// instruction sets and the loader picks one. All of them give the same bits: the loops have no reductions across lanes,
// contraction to fused multiply-add is off for the whole tree, and IEEE 754 add, multiply, divide and square root are
// exact to the last bit at any vector width.
//
//   PARAMD_VECTORIZED void Scale(const float* in, float factor, float* out, int64_t size) {
//     for (int64_t i = 0; i < size; ++i) out[i] = in[i] * factor;
//   }
//
// Functions only at namespace scope; helpers they call must be always inlined. Off under sanitizers, whose runtime is
// not up yet when the loader picks.
#ifndef PARAMD_SERVER_STORE_VECTORIZED_H_
#define PARAMD_SERVER_STORE_VECTORIZED_H_

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__) && !defined(PARAMD_NO_MULTIVERSIONING)
#define PARAMD_VECTORIZED __attribute__((optimize("O3"), target_clones("avx512f", "avx2", "default")))
#else
#define PARAMD_VECTORIZED
#endif

#endif  // PARAMD_SERVER_STORE_VECTORIZED_H_
