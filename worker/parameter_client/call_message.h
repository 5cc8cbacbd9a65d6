// Between the calls of the parameter client and the headers and payloads of proto/parameter.proto.
//
//   const RequestHeader header = MakeHeader(caller, call, id, 30000);
//   RETURN_IF_ERROR(AnswerStatus(response.header));
//   RETURN_IF_ERROR(LandWeights(response, v1::CODEC_FP32, /*shared=*/false, call.pull->landing));
//
// Deterministic: a call that is sent again has the same header. Pure and thread safe.
#ifndef PARAMD_WORKER_PARAMETER_CLIENT_CALL_MESSAGE_H_
#define PARAMD_WORKER_PARAMETER_CLIENT_CALL_MESSAGE_H_

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "common/rpc/parameter_wire.h"
#include "worker/parameter_client/parameter_call.h"

namespace paramd {

// Everything but what describes the payload: codec, checksum, place in shared memory.
RequestHeader MakeHeader(const CallerIdentity& caller, const ParameterCall& call, uint64_t request_id,
                         uint32_t deadline_ms);

// The status that an answer reports: OK, or code, reason and message as the server gave them.
absl::Status AnswerStatus(const ResponseHeader& header);

// Bytes of `elements` weights in an answer.
size_t WeightBytes(v1::Codec codec, size_t elements);

// Writes the weights of an OK answer to a pull to `landing`. `codec` is what was asked for, FP32 or BF16; `shared` says
// that `landing` was offered to the server, which may then have written the encoded weights to its front.
// kDataLoss (CHECKSUM_MISMATCH) when bytes were damaged, kInvalidArgument (PARAM_SHAPE_MISMATCH, UNSUPPORTED_CODEC)
// when they are not what was asked for; `landing` is as it was or, if shared, as the server left it.
absl::Status LandWeights(const InboundResponse& response, v1::Codec codec, bool shared, absl::Span<float> landing);

}  // namespace paramd

#endif  // PARAMD_WORKER_PARAMETER_CLIENT_CALL_MESSAGE_H_
