// The version of all of paramd's programs and of its Python package.
#ifndef PARAMD_COMMON_CONFIG_VERSION_H_
#define PARAMD_COMMON_CONFIG_VERSION_H_

namespace paramd {

inline constexpr char kVersion[] = "0.1.0";

}  // namespace paramd

#endif  // PARAMD_COMMON_CONFIG_VERSION_H_
