#include "common/rpc/parameter_wire.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/crc32c.h"
#include "common/base/philox.h"
#include "common/base/status_matchers.h"
#include "common/base/test_seed.h"
#include "common/rpc/parameter_wire_testing.h"
#include "gtest/gtest.h"
#include "proto/parameter.pb.h"

namespace paramd {
namespace {

constexpr int kRandomMessages = 5000;

template <size_t kSize>
constexpr absl::string_view Literal(const char (&text)[kSize]) {
  return absl::string_view(text, kSize - 1);
}

// -- the worked examples of docs/formats.md --

constexpr absl::string_view kGoldenRequest = Literal(
    "\x08\x07"                          //  1 request_id = 7
    "\x12\x05job-1"                     //  2 job_id
    "\x18\x02"                          //  3 generation = 2
    "\x20\x01"                          //  4 worker_index = 1
    "\x28\xac\x02"                      //  5 worker_incarnation = 300
    "\x30\x03"                          //  6 operation = PUSH_PULL
    "\x38\x05"                          //  7 chunk = 5
    "\x40\x0a"                          //  8 step = 10
    "\x48\x02"                          //  9 first_slot = 2
    "\x50\x01"                          // 10 log2_size = 1
    "\x58\x02"                          // 11 slot_count = 2
    "\x60\x0b"                          // 12 min_version = 11
    "\x70\x01"                          // 14 codec = FP32
    "\x7d\xc9\xf2\x36\xaa"              // 15 crc32c
    "\x80\x01\x88\x27"                  // 16 deadline_ms = 5000
    "\x8a\x01\x08"                      // 17 payload, 8 bytes
    "\x00\x00\x80\x3f\x00\x00\x00\xc0"  //    1.0, -2.0
    "\x90\x01\x02"                      // 18 answer_codec = BF16
);

constexpr absl::string_view kGoldenResponse = Literal(
    "\x08\x07"              //  1 request_id = 7
    "\x28\x05"              //  5 chunk = 5
    "\x30\x0b"              //  6 version = 11
    "\x48\x02"              //  9 codec = BF16
    "\x55\xe1\x23\xe5\x82"  // 10 crc32c
    "\x5a\x04"              // 11 payload, 4 bytes
    "\x00\x3f\x80\xbf"      //    0.5, -1.0
);

constexpr absl::string_view kRequestPayload = Literal("\x00\x00\x80\x3f\x00\x00\x00\xc0");
constexpr absl::string_view kResponsePayload = Literal("\x00\x3f\x80\xbf");

RequestHeader GoldenRequestHeader() {
  return {.request_id = 7,
          .job_id = "job-1",
          .generation = 2,
          .worker_index = 1,
          .worker_incarnation = 300,
          .operation = v1::OPERATION_PUSH_PULL,
          .chunk = 5,
          .step = 10,
          .first_slot = 2,
          .log2_size = 1,
          .slot_count = 2,
          .min_version = 11,
          .codec = v1::CODEC_FP32,
          .crc32c = Crc32c(kRequestPayload),
          .deadline_ms = 5000,
          .answer_codec = v1::CODEC_BF16};
}

ResponseHeader GoldenResponseHeader() {
  return {.request_id = 7, .chunk = 5, .version = 11, .codec = v1::CODEC_BF16, .crc32c = Crc32c(kResponsePayload)};
}

absl::Status Decode(absl::string_view bytes, absl::Span<const size_t> sizes, InboundRequest& in) {
  in.buffer = CutBuffer(bytes, sizes);
  return DecodeRequest(in);
}

absl::Status Decode(absl::string_view bytes, absl::Span<const size_t> sizes, InboundResponse& in) {
  in.buffer = CutBuffer(bytes, sizes);
  return DecodeResponse(in);
}

TEST(ParameterWireTest, GoldenBytes) {
  grpc::Slice gradient = BorrowSlice(kRequestPayload);
  EXPECT_EQ(BytesOf(EncodeRequest(GoldenRequestHeader(), {gradient})), kGoldenRequest);
  grpc::Slice weights = BorrowSlice(kResponsePayload);
  EXPECT_EQ(BytesOf(EncodeResponse(GoldenResponseHeader(), {weights})), kGoldenResponse);

  InboundRequest request;
  ASSERT_OK(Decode(kGoldenRequest, {}, request));
  EXPECT_EQ(request.header, GoldenRequestHeader());
  EXPECT_EQ(BytesOf(request.payload()), kRequestPayload);
  InboundResponse response;
  ASSERT_OK(Decode(kGoldenResponse, {}, response));
  EXPECT_EQ(response.header, GoldenResponseHeader());
  EXPECT_EQ(BytesOf(response.payload()), kResponsePayload);
}

TEST(ParameterWireTest, NothingSetIsNoBytes) {
  EXPECT_EQ(BytesOf(EncodeRequest({}, {})), "");
  EXPECT_EQ(BytesOf(EncodeResponse({}, {})), "");
  EXPECT_EQ(BytesOf(EncodeRequest({}, {grpc::Slice()})), "");  // An empty payload.
  InboundRequest request;                                      // Without a buffer, too.
  EXPECT_OK(DecodeRequest(request));
  EXPECT_EQ(request.header, RequestHeader());
  EXPECT_OK(Decode("", {}, request));
  EXPECT_EQ(request.header, RequestHeader());
  EXPECT_TRUE(request.payload().empty());
}

// -- against generated code --

template <typename Generated>
Generated RandomMessage(Philox& random) {
  Generated message;
  FillRandomly(random, message);
  return message;
}

std::vector<grpc::Slice> RandomSlices(Philox& random, const std::string& payload) {
  return CutSlices(payload, RandomSizes(random, payload.size()));
}

TEST(ParameterWireTest, EncodesAsGeneratedCodeDoes) {
  Philox random(TestSeed(), RandomStream::kTest, 1);
  for (int i = 0; i < kRandomMessages; ++i) {
    const auto request = RandomMessage<v1::ParameterRequest>(random);
    ASSERT_EQ(BytesOf(EncodeRequest(HeaderOf(request), RandomSlices(random, request.payload()))),
              request.SerializeAsString())
        << request.DebugString();
    const auto response = RandomMessage<v1::ParameterResponse>(random);
    ASSERT_EQ(BytesOf(EncodeResponse(HeaderOf(response), RandomSlices(random, response.payload()))),
              response.SerializeAsString())
        << response.DebugString();
  }
}

// Decodes `bytes`, randomly cut, and expects what generated code reads from them.
template <typename Generated, typename Inbound>
void ExpectReadsAsGeneratedCodeDoes(Philox& random, const std::string& bytes) {
  Generated expected;
  ASSERT_TRUE(expected.ParseFromString(bytes));
  Inbound in;
  ASSERT_OK(Decode(bytes, RandomSizes(random, bytes.size()), in)) << expected.DebugString();
  ASSERT_EQ(in.header, HeaderOf(expected)) << expected.DebugString();
  ASSERT_EQ(BytesOf(in.payload()), expected.payload()) << expected.DebugString();
}

TEST(ParameterWireTest, DecodesWhatGeneratedCodeEncodes) {
  Philox random(TestSeed(), RandomStream::kTest, 2);
  for (int i = 0; i < kRandomMessages; ++i) {
    ASSERT_NO_FATAL_FAILURE((ExpectReadsAsGeneratedCodeDoes<v1::ParameterRequest, InboundRequest>(
        random, RandomMessage<v1::ParameterRequest>(random).SerializeAsString())));
    ASSERT_NO_FATAL_FAILURE((ExpectReadsAsGeneratedCodeDoes<v1::ParameterResponse, InboundResponse>(
        random, RandomMessage<v1::ParameterResponse>(random).SerializeAsString())));
  }
}

// Several messages one after the other are a message with repeated fields.
TEST(ParameterWireTest, TheLastOfARepeatedFieldWins) {
  Philox random(TestSeed(), RandomStream::kTest, 3);
  for (int i = 0; i < kRandomMessages; ++i) {
    std::string requests, responses;
    for (int j = 0; j < 3; ++j) {
      absl::StrAppend(&requests, RandomMessage<v1::ParameterRequest>(random).SerializeAsString());
      absl::StrAppend(&responses, RandomMessage<v1::ParameterResponse>(random).SerializeAsString());
    }
    ASSERT_NO_FATAL_FAILURE((ExpectReadsAsGeneratedCodeDoes<v1::ParameterRequest, InboundRequest>(random, requests)));
    ASSERT_NO_FATAL_FAILURE(
        (ExpectReadsAsGeneratedCodeDoes<v1::ParameterResponse, InboundResponse>(random, responses)));
  }
}

// The message's fields, each as an encoding of its own, and some unknown ones, in random order.
template <typename Generated>
std::string Shuffled(Philox& random, const Generated& message) {
  std::vector<std::string> fields = {
      "\xf8\x07\x2a",                                // Field 127, a varint.
      absl::StrCat("\xf9\x07", "12345678"),          // 8 bytes.
      absl::StrCat("\xfa\x07\x03", "abc"),           // A string.
      absl::StrCat("\xfd\x07", "1234"),              // 4 bytes.
      absl::StrCat("\xfa\xff\xff\xff\x0f\x01", "z")  // The highest number there is.
  };
  std::vector<const google::protobuf::FieldDescriptor*> set;
  message.GetReflection()->ListFields(message, &set);
  for (const google::protobuf::FieldDescriptor* kept : set) {
    Generated alone = message;
    for (const google::protobuf::FieldDescriptor* field : set) {
      if (field != kept) alone.GetReflection()->ClearField(&alone, field);
    }
    fields.push_back(alone.SerializeAsString());
  }
  for (size_t i = fields.size(); i > 1; --i) std::swap(fields[i - 1], fields[random.Below(i)]);
  std::string bytes;
  for (const std::string& field : fields) absl::StrAppend(&bytes, field);
  return bytes;
}

TEST(ParameterWireTest, FieldsInAnyOrderAmongUnknownOnes) {
  Philox random(TestSeed(), RandomStream::kTest, 4);
  for (int i = 0; i < 1000; ++i) {
    ASSERT_NO_FATAL_FAILURE((ExpectReadsAsGeneratedCodeDoes<v1::ParameterRequest, InboundRequest>(
        random, Shuffled(random, RandomMessage<v1::ParameterRequest>(random)))));
    ASSERT_NO_FATAL_FAILURE((ExpectReadsAsGeneratedCodeDoes<v1::ParameterResponse, InboundResponse>(
        random, Shuffled(random, RandomMessage<v1::ParameterResponse>(random)))));
  }
}

// -- slices --

TEST(ParameterWireTest, EveryPairOfCuts) {
  InboundRequest in;
  for (size_t a = 0; a <= kGoldenRequest.size(); ++a) {
    for (size_t b = 0; a + b <= kGoldenRequest.size(); ++b) {
      ASSERT_OK(Decode(kGoldenRequest, {a, b}, in)) << a << " " << b;
      ASSERT_EQ(in.header, GoldenRequestHeader()) << a << " " << b;
      ASSERT_EQ(BytesOf(in.payload()), kRequestPayload) << a << " " << b;
    }
  }
}

TEST(ParameterWireTest, SlicesOfOneByte) {
  InboundRequest request;
  ASSERT_OK(Decode(kGoldenRequest, std::vector<size_t>(kGoldenRequest.size(), 1), request));
  EXPECT_EQ(request.header, GoldenRequestHeader());
  EXPECT_EQ(BytesOf(request.payload()), kRequestPayload);
  InboundResponse response;
  ASSERT_OK(Decode(kGoldenResponse, std::vector<size_t>(kGoldenResponse.size(), 1), response));
  EXPECT_EQ(response.header, GoldenResponseHeader());
  EXPECT_EQ(BytesOf(response.payload()), kResponsePayload);
}

TEST(ParameterWireTest, PayloadsAreNotCopied) {
  const std::string weights(1000, 'w');
  const grpc::ByteBuffer sent = EncodeResponse({.request_id = 1}, {BorrowSlice(weights)});
  std::vector<grpc::Slice> slices;
  ASSERT_TRUE(sent.Dump(&slices).ok());
  ASSERT_EQ(slices.size(), 2u);
  EXPECT_EQ(static_cast<const void*>(slices[1].begin()), weights.data());

  InboundResponse in;
  in.buffer = sent;
  ASSERT_OK(DecodeResponse(in));
  ASSERT_EQ(in.payload().fragment_count(), 1u);
  EXPECT_EQ(in.payload().fragment(0).data(), weights.data());
}

TEST(ParameterWireTest, AliasesKeepTheirOwner) {
  auto owner = std::make_shared<const std::string>(100, 'w');
  const std::weak_ptr<const std::string> watch = owner;
  {
    const absl::string_view bytes = *owner;
    grpc::Slice slice = AliasSlice(bytes, std::move(owner));
    const grpc::ByteBuffer sent = EncodeRequest({}, {std::exchange(slice, grpc::Slice())});
    EXPECT_FALSE(watch.expired());
    EXPECT_EQ(BytesOf(sent), absl::StrCat("\x8a\x01\x64", std::string(100, 'w')));
  }
  EXPECT_TRUE(watch.expired());
}

// -- what is refused --

struct MalformedCase {
  const char* what;
  std::string bytes;
};

std::string Repeat(absl::string_view start, size_t length, char filler) {
  return absl::StrCat(start, std::string(length, filler));
}

template <typename Inbound>
void ExpectMalformed(const std::vector<MalformedCase>& cases) {
  for (const MalformedCase& c : cases) {
    SCOPED_TRACE(testing::Message() << c.what << ": " << testing::PrintToString(c.bytes));
    Inbound in;
    const absl::Status status = Decode(c.bytes, {}, in);
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument, "MALFORMED_MESSAGE"));
    EXPECT_THAT(std::string(status.message()), testing::HasSubstr(c.what));
    EXPECT_TRUE(in.payload().empty());
    EXPECT_EQ(Decode(c.bytes, std::vector<size_t>(c.bytes.size(), 1), in), status);
    // The object is as good as new.
    ASSERT_OK(Decode("\x08\x07", {}, in));
    EXPECT_EQ(in.header.request_id, 7u);
  }
}

TEST(ParameterWireTest, MalformedRequests) {
  ExpectMalformed<InboundRequest>({
      {"field 0 before byte 1: field number out of range", std::string(1, '\0')},
      {"unknown wire type", "\x0f"},
      {"groups are not supported", "\xfb\x07\xfc\x07"},
      {"truncated", "\x08"},
      {"truncated", "\x08\x80"},
      {"varint of more than 10 bytes", Repeat("\x08", 11, '\x80')},
      {"truncated", "\x7d\x01\x02\x03"},
      {"truncated", "\xf9\x07\x31\x32"},
      // Wire types.
      {"field 1 before byte 1: unexpected wire type", "\x0a\x01x"},
      {"field 2 before byte 1: unexpected wire type", "\x10\x01"},
      {"field 15 before byte 1: unexpected wire type", "\x78\x01"},
      {"field 17 before byte 2: unexpected wire type", "\x88\x01\x01"},
      {"field 19 before byte 2: unexpected wire type", "\x98\x01\x01"},
      {"field 19 before byte 4: unexpected wire type", "\x9a\x01\x03\x09\x01\x02"},  // pid as fixed64.
      // Lengths.
      {"longer than what is left of the message", "\x12\x05job"},
      {"longer than what is left of the message", "\x8a\x01\x02x"},
      {"longer than what is left of the message", "\x8a\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x"},
      {"longer than what is left of the message", "\xfa\x07\x80\x80\x80\x80\x08x"},
      {"longer than what is left of the message", "\x9a\x01\x05\x08\x01"},
      {"longer than what is left of the message", "\x9a\x01\x03\x22\x02xyz"},  // A token that leaves its message.
      {"truncated", "\x9a\x01\x02\x08\x80\x01"},                               // A varint that leaves its message.
      {"longer than allowed", Repeat("\x12\x40", 64, 'j')},
      {"longer than allowed", absl::StrCat("\x9a\x01\x13", Repeat("\x22\x11", 17, 't'))},
      {"not UTF-8", "\x12\x02\xc3("},
      // A payload before the fault is not kept.
      {"field 1", "\x8a\x01\x01x\x08"},
  });
}

TEST(ParameterWireTest, MalformedResponses) {
  ExpectMalformed<InboundResponse>({
      {"truncated", "\x10"},
      {"field 1 before byte 1: unexpected wire type", "\x0d\x01\x02\x03\x04"},
      {"field 3 before byte 1: unexpected wire type", "\x18\x01"},
      {"field 8 before byte 1: unexpected wire type", "\x42\x01\x01"},
      {"field 10 before byte 1: unexpected wire type", "\x50\x01"},
      {"field 11 before byte 1: unexpected wire type", "\x58\x01"},
      {"longer than what is left of the message", "\x1a\x7fR"},
      {"longer than what is left of the message", "\x5a\x80\x80\x80\x80\x08x"},
      {"not UTF-8", "\x1a\x01\xff"},
      {"not UTF-8", "\x22\x02\xe2\x82"},
      {"groups are not supported", "\x6b\x6c\x0b"},
  });
}

TEST(ParameterWireTest, LongestJobIdAndToken) {
  const std::string job(63, 'j'), token(16, 't');
  InboundRequest in;
  ASSERT_OK(Decode(absl::StrCat("\x12\x3f", job, "\x9a\x01\x12\x22\x10", token), {30, 40}, in));
  EXPECT_EQ(in.header.job_id.view(), job);
  EXPECT_EQ(in.header.shared_memory->token.view(), token);
}

// A message that ends early is refused, or is the message of the fields that are there, as generated code has it.
TEST(ParameterWireTest, EveryPrefix) {
  for (size_t size = 0; size < kGoldenRequest.size(); ++size) {
    const std::string prefix(kGoldenRequest.substr(0, size));
    v1::ParameterRequest expected;
    InboundRequest in;
    const absl::Status status = Decode(prefix, {size / 2}, in);
    ASSERT_EQ(status.ok(), expected.ParseFromString(prefix)) << size;
    if (!status.ok()) continue;
    EXPECT_EQ(in.header, HeaderOf(expected)) << size;
    EXPECT_EQ(BytesOf(in.payload()), expected.payload()) << size;
  }
}

TEST(ParameterWireTest, NothingIsLeftOfTheMessageBefore) {
  InboundRequest in;
  ASSERT_OK(Decode(kGoldenRequest, {}, in));
  ASSERT_OK(Decode("\x08\x09", {}, in));
  EXPECT_EQ(in.header, RequestHeader{.request_id = 9});
  EXPECT_TRUE(in.payload().empty());
  ASSERT_OK(Decode(kGoldenRequest, {}, in));
  in.Clear();
  EXPECT_EQ(in.header, RequestHeader());
  EXPECT_TRUE(in.payload().empty());
  EXPECT_FALSE(in.buffer.Valid());
}

TEST(InlineStringTest, TakesWhatFits) {
  InlineString<4> text("abcdef");
  EXPECT_EQ(text.view(), "abcd");
  EXPECT_FALSE(text.Append("x"));
  EXPECT_TRUE(text.Append(""));
  text.clear();
  EXPECT_TRUE(text.empty());
  EXPECT_TRUE(text.Append("ab"));
  EXPECT_EQ(text, InlineString<4>("ab"));
  EXPECT_NE(text, InlineString<4>("a"));
}

}  // namespace
}  // namespace paramd
