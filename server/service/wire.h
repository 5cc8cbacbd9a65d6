// Between the messages of ParameterService and the store's requests and answers: the one place that knows how bulk data
// is encoded, so that another codec replaces this file alone. Pure and thread safe.
#ifndef PARAMD_SERVER_SERVICE_WIRE_H_
#define PARAMD_SERVER_SERVICE_WIRE_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "proto/parameter.pb.h"
#include "server/store/chunk_request.h"

namespace paramd {

// The request in the store's terms; its payload aliases `message`, its stream is 0. The deadline is `now` plus the
// message's, at most `limit`. kInvalidArgument: INVALID_OPERATION, UNSUPPORTED_CODEC.
absl::StatusOr<ChunkRequest> DecodeRequest(const v1::ParameterRequest& message, absl::Time now, absl::Duration limit);

// kDataLoss, CHECKSUM_MISMATCH, unless the payload of a push has the checksum the message states.
absl::Status CheckPayload(const v1::ParameterRequest& message);

void EncodeAnswer(const Answer& answer, v1::ParameterResponse& message);

void EncodeSnapshot(uint32_t chunk, const Snapshot& snapshot, v1::FetchChunksResponse& message);

}  // namespace paramd

#endif  // PARAMD_SERVER_SERVICE_WIRE_H_
