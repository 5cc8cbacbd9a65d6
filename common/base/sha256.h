// SHA-256, incremental.
//
//   Sha256 hash;
//   hash.Update(bytes);
//   std::string hex = hash.FinishHex();
//
// Not thread safe. Owns its state; movable.
#ifndef PARAMD_COMMON_BASE_SHA256_H_
#define PARAMD_COMMON_BASE_SHA256_H_

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"

struct evp_md_ctx_st;  // OpenSSL's EVP_MD_CTX.

namespace paramd {

class Sha256 {
 public:
  Sha256();

  void Update(absl::string_view data);
  // The digest of all that was given; the object then starts over as new.
  std::array<uint8_t, 32> Finish();
  // The same in lower-case hexadecimal.
  std::string FinishHex();

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

}  // namespace paramd

#endif  // PARAMD_COMMON_BASE_SHA256_H_
