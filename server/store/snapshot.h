// The weights of a chunk at one version, published: immutable and shared by all answers that carry it, so that a slow
// reader neither blocks the next step nor sees half of it. Thread safe.
#ifndef PARAMD_SERVER_STORE_SNAPSHOT_H_
#define PARAMD_SERVER_STORE_SNAPSHOT_H_

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/base/call_once.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/base/crc32c.h"
#include "server/store/buffer_pool.h"
#include "server/store/sums.h"

namespace paramd {

class Snapshot {
 public:
  Snapshot(uint64_t version, Buffer weights) : version_(version), weights_(std::move(weights)) {}

  uint64_t version() const { return version_; }
  absl::Span<const float> weights() const { return weights_.span(); }
  absl::string_view payload() const { return AsPayload(weights()); }
  // Of the payload; computed at the first call.
  uint32_t crc32c() const {
    absl::call_once(crc32c_once_, [this] { crc32c_ = Crc32c(payload()); });
    return crc32c_;
  }

 private:
  const uint64_t version_;
  const Buffer weights_;
  mutable absl::once_flag crc32c_once_;
  mutable uint32_t crc32c_ = 0;
};

// Shared because answers on their way to several workers hold it while the chunk already has a newer one.
using SnapshotPointer = std::shared_ptr<const Snapshot>;

}  // namespace paramd

#endif  // PARAMD_SERVER_STORE_SNAPSHOT_H_
