// Memory that a client shares with this server, as an Exchange stream uses it: payloads are read in it where they lie,
// weights are written where they shall go.
//
//   ASSIGN_OR_RETURN(std::shared_ptr<const Attachment> attachment, Attachment::Open(*header.shared_memory, metrics));
//   RETURN_IF_ERROR(ResolveSharedMemory(header, attachment.get(), chunk_elements, request));
//
// Lifetime: shared by the stream and by every open request that uses it; the memory is unmapped with the last of them.
// Thread safe. The client may write the memory at any time, also while it is read.
#ifndef PARAMD_SERVER_SERVICE_ATTACHMENT_H_
#define PARAMD_SERVER_SERVICE_ATTACHMENT_H_

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/shared_memory.h"
#include "common/rpc/parameter_wire.h"
#include "server/service/server_metrics.h"
#include "server/store/chunk_request.h"

namespace paramd {

class Attachment {
 public:
  // The errors of AttachedSegment::Open. `metrics` must outlive it.
  static absl::StatusOr<std::shared_ptr<const Attachment>> Open(const SharedMemoryName& name, ServerMetrics& metrics);
  ~Attachment();
  Attachment(const Attachment&) = delete;
  Attachment& operator=(const Attachment&) = delete;

  const AttachedSegment& segment() const { return *segment_; }

 private:
  Attachment(std::shared_ptr<AttachedSegment> segment, ServerMetrics& metrics);

  const std::shared_ptr<AttachedSegment> segment_;
  ServerMetrics& metrics_;
};

// Whether the request names shared memory.
inline bool UsesSharedMemory(const RequestHeader& header) {
  return header.shared_payload_offset != 0 || header.shared_answer_offset != 0;
}

// Points the request's payload and answer at the ranges its header names; nothing when it names none. `elements` are
// those of its chunk. kFailedPrecondition SHARED_MEMORY_UNAVAILABLE: `attachment` is null. kInvalidArgument
// SHARED_RANGE_INVALID: a range is not in the memory, or the payload is in the message as well.
absl::Status ResolveSharedMemory(const RequestHeader& header, const Attachment* attachment, int64_t elements,
                                 ChunkRequest& request);

}  // namespace paramd

#endif  // PARAMD_SERVER_SERVICE_ATTACHMENT_H_
