// What tests of the raw codec share: generated messages as the codec's headers, random messages, and buffers cut into
// slices.
//
//   v1::ParameterRequest message;
//   FillRandomly(random, message);
//   InboundRequest in;
//   in.buffer = CutBuffer(message.SerializeAsString(), {1, 5, 0});
//   ASSERT_OK(DecodeRequest(in));
//   EXPECT_EQ(in.header, HeaderOf(message));
//
// Tests only.
#ifndef PARAMD_COMMON_RPC_PARAMETER_WIRE_TESTING_H_
#define PARAMD_COMMON_RPC_PARAMETER_WIRE_TESTING_H_

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/base/philox.h"
#include "common/rpc/parameter_wire.h"
#include "google/protobuf/message.h"
#include "proto/parameter.pb.h"

namespace paramd {

// Everything but the payload. A job_id or token longer than a header's is cut off.
RequestHeader HeaderOf(const v1::ParameterRequest& message);
ResponseHeader HeaderOf(const v1::ParameterResponse& message);

// Sets about two of three fields: numbers to extreme and ordinary values, enums to numbers with and without a name,
// strings to UTF-8 and bytes to anything, of lengths that a header can hold.
void FillRandomly(Philox& random, google::protobuf::Message& message);

// Copies of `bytes` as slices of the given sizes (0 makes an empty one), the last taking what is left.
std::vector<grpc::Slice> CutSlices(absl::string_view bytes, absl::Span<const size_t> sizes);
grpc::ByteBuffer CutBuffer(absl::string_view bytes, absl::Span<const size_t> sizes);

// Up to 8 random sizes for messages of about `size` bytes.
std::vector<size_t> RandomSizes(Philox& random, size_t size);

std::string BytesOf(const grpc::ByteBuffer& buffer);
std::string BytesOf(const PayloadView& payload);

}  // namespace paramd

#endif  // PARAMD_COMMON_RPC_PARAMETER_WIRE_TESTING_H_
