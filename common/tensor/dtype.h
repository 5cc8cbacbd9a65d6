// Element types and the 16-bit floats.
//
//   std::optional<DType> dtype = ParseDType("BF16");
//   uint16_t bits = FloatToBFloat16(x);
//
// Conversions to 16 bits round to nearest, ties to even; overflow gives infinity; a NaN stays a NaN of its sign and is
// quiet. Conversions to float are exact. Many at a time: common/tensor/codec_half.h. Pure and thread safe.
#ifndef PARAMD_COMMON_TENSOR_DTYPE_H_
#define PARAMD_COMMON_TENSOR_DTYPE_H_

#include <bit>
#include <cstdint>
#include <optional>

#include "absl/strings/string_view.h"

namespace paramd {

// Those of safetensors.
enum class DType { kBool, kU8, kI8, kF8E5M2, kF8E4M3, kI16, kU16, kF16, kBF16, kI32, kU32, kF32, kF64, kI64, kU64 };

// Bytes of one element.
int64_t DTypeSize(DType dtype);

// As safetensors writes it: "F32", "BF16", "F8_E4M3", ...
absl::string_view DTypeName(DType dtype);

// The inverse; nullopt for any other text.
std::optional<DType> ParseDType(absl::string_view name);

inline float BFloat16ToFloat(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

inline uint16_t FloatToBFloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffff) > 0x7f800000) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// IEEE binary16.
float Float16ToFloat(uint16_t bits);
uint16_t FloatToFloat16(float value);

}  // namespace paramd

#endif  // PARAMD_COMMON_TENSOR_DTYPE_H_
