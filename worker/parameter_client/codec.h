// The one place of the parameter client that knows the wire format: between ParameterCall and the messages of
// proto/parameter.proto. Another encoding replaces this file and stream.h.
//
// Payloads are fp32, little-endian, with the CRC-32C of their bytes. Encoding is deterministic: a call that is sent
// again has the same bytes. Pure and thread safe.
#ifndef PARAMD_WORKER_PARAMETER_CLIENT_CODEC_H_
#define PARAMD_WORKER_PARAMETER_CLIENT_CODEC_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "proto/parameter.pb.h"
#include "worker/parameter_client/parameter_call.h"

namespace paramd {

// Overwrites `message`.
void EncodeCall(const CallerIdentity& caller, const ParameterCall& call, uint64_t request_id, uint32_t deadline_ms,
                v1::ParameterRequest& message);

// The status that an answer reports: OK, or code, message and reason as the server gave them.
absl::Status AnswerStatus(const v1::ParameterResponse& message);

// Whether an OK answer to a pull holds `elements` weights: kDataLoss (CHECKSUM_MISMATCH) when bytes were damaged,
// kInvalidArgument (PARAM_SHAPE_MISMATCH, UNSUPPORTED_CODEC) when they are not what was asked for.
absl::Status CheckWeights(const v1::ParameterResponse& message, int64_t elements);

// Copies a checked payload.
void DecodeWeights(const std::string& payload, absl::Span<float> weights);

}  // namespace paramd

#endif  // PARAMD_WORKER_PARAMETER_CLIENT_CODEC_H_
