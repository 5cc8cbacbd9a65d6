// Between the headers of Exchange's messages and the store's requests and answers. Pure and thread safe.
//
//   RETURN_IF_ERROR(FillChunkRequest(message.header, now, limit, request));
//   RETURN_IF_ERROR(CheckPayload(message.header, request.payload));
//   ...
//   FillResponse(answer, request_id, checksum, header);
#ifndef PARAMD_SERVER_SERVICE_WIRE_H_
#define PARAMD_SERVER_SERVICE_WIRE_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/rpc/parameter_wire.h"
#include "common/tensor/payload.h"
#include "proto/parameter.pb.h"
#include "server/store/chunk_request.h"

namespace paramd {

// Everything but key, payload and shared answer, which it leaves alone. The deadline is `now` plus the message's, at
// most `limit`. kInvalidArgument: INVALID_OPERATION, UNSUPPORTED_CODEC.
absl::Status FillChunkRequest(const RequestHeader& header, absl::Time now, absl::Duration limit, ChunkRequest& request);

// kDataLoss, CHECKSUM_MISMATCH, unless the payload of a push has the checksum the message states; 0 states none.
absl::Status CheckPayload(const RequestHeader& header, const PayloadView& payload);

// All of the response but its payload, which is PayloadOf(answer). `checksum`: of the payload.
void FillResponse(const Answer& answer, uint64_t request_id, bool checksum, ResponseHeader& header);

// The weights that an answer carries in its message: none when it has none, or they were written to shared memory.
absl::string_view PayloadOf(const Answer& answer);

void EncodeSnapshot(uint32_t chunk, const Snapshot& snapshot, v1::FetchChunksResponse& message);

}  // namespace paramd

#endif  // PARAMD_SERVER_SERVICE_WIRE_H_
