// The weights of a chunk at one version, published: immutable and shared by all answers that carry it, so that a slow
// reader neither blocks the next step nor sees half of it.
//
//   SnapshotPointer snapshot = std::make_shared<const Snapshot>(3, std::move(weights));
//   snapshot->payload(v1::CODEC_BF16);   // encoded at the first call
//
// Thread safe.
#ifndef PARAMD_SERVER_STORE_SNAPSHOT_H_
#define PARAMD_SERVER_STORE_SNAPSHOT_H_

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/base/call_once.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "proto/parameter.pb.h"
#include "server/store/buffer_pool.h"

namespace paramd {

class Snapshot {
 public:
  // `bf16`: the same weights encoded, Bf16Floats of them; empty when nobody is known to want them.
  Snapshot(uint64_t version, Buffer weights, Buffer bf16 = Buffer())
      : version_(version), weights_(std::move(weights)), bf16_(std::move(bf16)) {}

  // The size of a buffer for the weights in BF16.
  static int64_t Bf16Floats(int64_t elements) { return (elements + 1) / 2; }

  uint64_t version() const { return version_; }
  absl::Span<const float> weights() const { return weights_.span(); }
  // The weights in BF16, or in FP32 for any other codec. Valid as long as the snapshot.
  absl::string_view payload(v1::Codec codec = v1::CODEC_FP32) const;
  // Of the payload; computed at the first call for the codec.
  uint32_t crc32c(v1::Codec codec = v1::CODEC_FP32) const;

 private:
  struct Checksum {
    absl::once_flag once;
    uint32_t value = 0;
  };

  const uint64_t version_;
  const Buffer weights_;
  mutable absl::once_flag bf16_once_;
  mutable Buffer bf16_;  // Two values a float. Empty until asked for.
  mutable Checksum fp32_checksum_;
  mutable Checksum bf16_checksum_;
};

// Shared because answers on their way to several workers hold it while the chunk already has a newer one.
using SnapshotPointer = std::shared_ptr<const Snapshot>;

}  // namespace paramd

#endif  // PARAMD_SERVER_STORE_SNAPSHOT_H_
