#include "server/service/wire.h"

#include <memory>
#include <string>

#include "common/base/crc32c.h"
#include "common/base/error.h"
#include "common/base/status_matchers.h"
#include "gtest/gtest.h"
#include "server/store/buffer_pool.h"

namespace paramd {
namespace {

const absl::string_view kPayload = "123456789";

RequestHeader Header() {
  return {.request_id = 11,
          .generation = 2,
          .worker_index = 3,
          .worker_incarnation = 4,
          .operation = v1::OPERATION_PUSH_PULL,
          .chunk = 5,
          .step = 6,
          .first_slot = 8,
          .log2_size = 1,
          .slot_count = 2,
          .min_version = 7,
          .min_clock = 9,
          .codec = v1::CODEC_INT8,
          .crc32c = 0xE3069283,
          .answer_codec = v1::CODEC_BF16};
}

absl::StatusOr<ChunkRequest> Fill(const RequestHeader& header) {
  ChunkRequest request;
  RETURN_IF_ERROR(FillChunkRequest(header, absl::UnixEpoch(), absl::Seconds(60), request));
  return request;
}

TEST(WireTest, FillsEveryField) {
  ASSERT_OK_AND_ASSIGN(const ChunkRequest request, Fill(Header()));
  EXPECT_EQ(request.generation, 2u);
  EXPECT_EQ(request.worker, 3u);
  EXPECT_EQ(request.worker_incarnation, 4u);
  EXPECT_TRUE(request.push);
  EXPECT_TRUE(request.pull);
  EXPECT_EQ(request.chunk, 5u);
  EXPECT_EQ(request.step, 6u);
  EXPECT_EQ(request.subtree, (Subtree{8, 1}));
  EXPECT_EQ(request.slot_count, 2u);
  EXPECT_EQ(request.min_version, 7u);
  EXPECT_EQ(request.min_clock, 9u);
  EXPECT_EQ(request.codec, v1::CODEC_INT8);
  EXPECT_EQ(request.answer_codec, v1::CODEC_BF16);
  EXPECT_EQ(request.received, absl::UnixEpoch());
  EXPECT_EQ(request.deadline, absl::UnixEpoch() + absl::Seconds(60));
}

TEST(WireTest, OverwritesWhatTheLastRequestLeft) {
  ChunkRequest request;
  ASSERT_OK(FillChunkRequest(Header(), absl::UnixEpoch(), absl::Seconds(60), request));
  const RequestHeader pull = {.operation = v1::OPERATION_PULL};
  ASSERT_OK(FillChunkRequest(pull, absl::UnixEpoch(), absl::Seconds(60), request));
  EXPECT_FALSE(request.push);
  EXPECT_EQ(request.worker, 0u);
  EXPECT_EQ(request.min_version, 0u);
  EXPECT_EQ(request.answer_codec, v1::CODEC_FP32) << "the default";
}

TEST(WireTest, TheServersLimitBoundsTheDeadline) {
  RequestHeader header = Header();
  const std::pair<uint32_t, int64_t> cases[] = {{0, 60000}, {20, 20}, {90000, 60000}, {0xFFFFFFFF, 60000}};
  for (const auto& [asked, expected] : cases) {
    header.deadline_ms = asked;
    ASSERT_OK_AND_ASSIGN(const ChunkRequest request, Fill(header));
    EXPECT_EQ(request.deadline - absl::UnixEpoch(), absl::Milliseconds(expected)) << asked;
  }
}

TEST(WireTest, RefusesOperationsAndCodecsThatDoNotExist) {
  struct Case {
    v1::Operation operation;
    int codec;
    int answer_codec;
    const char* reason;  // Null: accepted.
  };
  const Case cases[] = {
      {v1::OPERATION_UNSPECIFIED, v1::CODEC_FP32, 0, "INVALID_OPERATION"},
      {v1::OPERATION_ATTACH, v1::CODEC_FP32, 0, "INVALID_OPERATION"},
      {static_cast<v1::Operation>(77), v1::CODEC_FP32, 0, "INVALID_OPERATION"},
      {v1::OPERATION_PUSH, v1::CODEC_UNSPECIFIED, 0, "UNSUPPORTED_CODEC"},
      {v1::OPERATION_PUSH, 8, 0, "UNSUPPORTED_CODEC"},
      {v1::OPERATION_PUSH, -1, 0, "UNSUPPORTED_CODEC"},
      {v1::OPERATION_PUSH, v1::CODEC_PER_GROUP, 99, nullptr},
      {v1::OPERATION_PULL, 99, v1::CODEC_FP32, nullptr},
      {v1::OPERATION_PULL, 0, v1::CODEC_INT8, "UNSUPPORTED_CODEC"},
      {v1::OPERATION_PUSH_PULL, v1::CODEC_FP32, v1::CODEC_FP16, "UNSUPPORTED_CODEC"},
      {v1::OPERATION_PUSH_PULL, v1::CODEC_UNSPECIFIED, v1::CODEC_FP32, "UNSUPPORTED_CODEC"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(testing::Message() << c.operation << " " << c.codec << " " << c.answer_codec);
    RequestHeader header = Header();
    header.operation = c.operation;
    header.codec = static_cast<v1::Codec>(c.codec);
    header.answer_codec = static_cast<v1::Codec>(c.answer_codec);
    if (c.reason == nullptr) {
      EXPECT_OK(Fill(header).status());
    } else {
      EXPECT_THAT(Fill(header).status(), StatusIs(absl::StatusCode::kInvalidArgument, c.reason));
    }
  }
}

TEST(WireTest, ChecksThePayloadOverItsFragments) {
  const absl::string_view fragments[] = {kPayload.substr(0, 4), kPayload.substr(4)};
  const PayloadView payload(fragments, kPayload.size());
  RequestHeader header = Header();
  EXPECT_OK(CheckPayload(header, payload));
  header.crc32c += 1;
  EXPECT_THAT(CheckPayload(header, payload), StatusIs(absl::StatusCode::kDataLoss, "CHECKSUM_MISMATCH"));
  header.operation = v1::OPERATION_PULL;
  EXPECT_OK(CheckPayload(header, payload)) << "a pull has no payload";
  header = Header();
  EXPECT_THAT(CheckPayload(header, PayloadView(kPayload.substr(1))),
              StatusIs(absl::StatusCode::kDataLoss, "CHECKSUM_MISMATCH"));
  header.crc32c = 0;
  EXPECT_OK(CheckPayload(header, PayloadView(kPayload.substr(1)))) << "0 states no checksum";
}

SnapshotPointer TwoWeights() {
  auto pool = BufferPool::Create();
  Buffer weights = pool->Take(2);
  weights.span()[0] = 1.0f;
  weights.span()[1] = -2.0f;
  return std::make_shared<const Snapshot>(12, std::move(weights));
}

TEST(WireTest, AnswersWithWeights) {
  const SnapshotPointer snapshot = TwoWeights();
  const std::string bytes("\x00\x00\x80\x3f\x00\x00\x00\xc0", 8);
  Answer answer = {.chunk = 3, .duplicate = true, .version = 11, .min_clock = 9, .snapshot = snapshot};
  ResponseHeader header = {.reason = "left over", .message = "left over"};
  FillResponse(answer, 42, /*checksum=*/true, header);
  const ResponseHeader expected = {.request_id = 42,
                                   .chunk = 3,
                                   .version = 12,
                                   .min_clock = 9,
                                   .duplicate = true,
                                   .codec = v1::CODEC_FP32,
                                   .crc32c = Crc32c(absl::string_view(bytes.data(), bytes.size()))};
  EXPECT_EQ(header, expected);
  EXPECT_EQ(std::string(PayloadOf(answer)), bytes);
  EXPECT_EQ(PayloadOf(answer).data(), snapshot->payload().data()) << "not a copy";
  FillResponse(answer, 42, /*checksum=*/false, header);
  EXPECT_EQ(header.crc32c, 0u);

  answer.answer_codec = v1::CODEC_BF16;
  FillResponse(answer, 43, /*checksum=*/true, header);
  EXPECT_EQ(header.codec, v1::CODEC_BF16);
  EXPECT_EQ(std::string(PayloadOf(answer)), std::string("\x80\x3f\x00\xc0", 4));
  EXPECT_EQ(header.crc32c, Crc32c(PayloadOf(answer)));
}

TEST(WireTest, WeightsInSharedMemoryAreNotInTheMessage) {
  const Answer answer = {.snapshot = TwoWeights(), .shared_answer_bytes = 8};
  ResponseHeader header;
  FillResponse(answer, 1, /*checksum=*/true, header);
  EXPECT_EQ(header.shared_answer_bytes, 8u);
  EXPECT_EQ(header.version, 12u);
  EXPECT_EQ(header.codec, v1::CODEC_FP32);
  EXPECT_EQ(header.crc32c, 0u);
  EXPECT_TRUE(PayloadOf(answer).empty());
}

TEST(WireTest, AnswersWithErrors) {
  const Answer answer = {.status = MakeError(absl::StatusCode::kNotFound, "JOB_NOT_FOUND", "no job"),
                         .chunk = 7,
                         .snapshot = TwoWeights()};
  ResponseHeader header;
  FillResponse(answer, 43, /*checksum=*/true, header);
  EXPECT_EQ(header.request_id, 43u);
  EXPECT_EQ(header.chunk, 7u);
  EXPECT_EQ(header.code, 5);
  EXPECT_EQ(header.reason, "JOB_NOT_FOUND");
  EXPECT_EQ(header.message, "no job");
  EXPECT_EQ(header.codec, v1::CODEC_UNSPECIFIED);
  EXPECT_TRUE(PayloadOf(answer).empty());
}

}  // namespace
}  // namespace paramd
