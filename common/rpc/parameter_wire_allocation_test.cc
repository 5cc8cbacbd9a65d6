// Counts what the codec takes from operator new, which this file replaces for the whole test.
#include <cstdint>
#include <cstdlib>
#include <new>
#include <string>
#include <vector>

#include "common/base/status_matchers.h"
#include "common/rpc/parameter_wire.h"
#include "common/rpc/parameter_wire_testing.h"
#include "gtest/gtest.h"

namespace {

thread_local size_t allocations = 0;
thread_local size_t allocated_bytes = 0;

}  // namespace

// Not inlined: the compiler would take malloc and delete for a pair.
__attribute__((noinline)) void* operator new(size_t size) {
  ++allocations;
  allocated_bytes += size;
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
__attribute__((noinline)) void operator delete(void* memory) noexcept { std::free(memory); }
__attribute__((noinline)) void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace paramd {
namespace {

RequestHeader FullHeader() {
  return {.request_id = UINT64_MAX,
          .job_id = std::string(63, 'j'),
          .generation = UINT64_MAX,
          .operation = v1::OPERATION_PUSH_PULL,
          .step = UINT64_MAX,
          .answer_codec = v1::CODEC_BF16};
}

// Of gRPC, for a header of more than 23 bytes; AddressSanitizer keeps it from our count.
constexpr size_t kHeaderSlice = 1;

TEST(ParameterWireAllocationTest, EncodingTakesTheHeadersSlice) {
  RequestHeader header = FullHeader();
  const std::string payload(1 << 20, 'p');
  const std::vector<grpc::Slice> slices(4, BorrowSlice(payload));
  size_t before = allocations;
  const grpc::ByteBuffer inlined = EncodeRequest(header, slices);
  EXPECT_LE(allocations - before, kHeaderSlice);
  EXPECT_GT(inlined.Length(), 4u << 20);

  header.shared_memory = {.pid = -1, .fd = -1, .bytes = 1, .token = "0123456789abcdef"};
  header.shared_payload_offset = header.shared_payload_bytes = header.shared_answer_offset = UINT64_MAX;
  before = allocations;
  const grpc::ByteBuffer descriptor = EncodeRequest(header, {});
  EXPECT_LE(allocations - before, kHeaderSlice);
  EXPECT_GT(descriptor.Length(), 100u);
}

TEST(ParameterWireAllocationTest, DecodingTakesNothingOnceTheFragmentsHaveRoom) {
  const std::string payload(1 << 20, 'p');
  const std::string bytes = BytesOf(EncodeRequest(FullHeader(), {BorrowSlice(payload)}));
  const std::vector<size_t> sizes(128, 8192);
  InboundRequest in;
  in.buffer = CutBuffer(bytes, {100, 1000});
  size_t before = allocations;
  ASSERT_TRUE(DecodeRequest(in).ok());
  EXPECT_EQ(allocations, before);  // Few fragments need no room.
  in.buffer = CutBuffer(bytes, sizes);
  ASSERT_TRUE(DecodeRequest(in).ok());
  for (int i = 0; i < 3; ++i) {
    in.Clear();
    in.buffer = CutBuffer(bytes, sizes);
    before = allocations;
    ASSERT_TRUE(DecodeRequest(in).ok());
    EXPECT_EQ(allocations, before);
    EXPECT_EQ(in.payload().size(), payload.size());
  }
}

// What a message only claims to have is not allocated.
TEST(ParameterWireAllocationTest, ClaimsTakeNothing) {
  for (const std::string& bytes : {std::string("\x1a\xff\xff\xff\x7fR"), std::string("\x22\xff\xff\xff\x7fm"),
                                   std::string("\x5a\xff\xff\xff\x7f")}) {
    InboundResponse in;
    in.buffer = CutBuffer(bytes, {});
    const size_t before = allocated_bytes;
    EXPECT_THAT(DecodeResponse(in), StatusIs(absl::StatusCode::kInvalidArgument, "MALFORMED_MESSAGE"));
    EXPECT_LT(allocated_bytes - before, 16384u);  // The error and this comparison.
  }
}

}  // namespace
}  // namespace paramd
