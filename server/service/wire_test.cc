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

v1::ParameterRequest Message() {
  v1::ParameterRequest message;
  message.set_request_id(11);
  message.set_generation(2);
  message.set_worker_index(3);
  message.set_worker_incarnation(4);
  message.set_operation(v1::OPERATION_PUSH_PULL);
  message.set_chunk(5);
  message.set_step(6);
  message.set_first_slot(8);
  message.set_log2_size(1);
  message.set_slot_count(2);
  message.set_min_version(7);
  message.set_min_clock(9);
  message.set_codec(v1::CODEC_FP32);
  message.set_payload("123456789");
  message.set_crc32c(0xE3069283);
  return message;
}

TEST(WireTest, DecodesEveryField) {
  const v1::ParameterRequest message = Message();
  const absl::Time now = absl::UnixEpoch();
  ASSERT_OK_AND_ASSIGN(const ChunkRequest request, DecodeRequest(message, now, absl::Seconds(60)));
  EXPECT_EQ(request.key.request_id, 11u);
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
  EXPECT_EQ(request.received, now);
  EXPECT_EQ(request.deadline, now + absl::Seconds(60));
  EXPECT_EQ(request.payload.data(), message.payload().data());
  EXPECT_OK(CheckPayload(message));
}

TEST(WireTest, TheServersLimitBoundsTheDeadline) {
  v1::ParameterRequest message = Message();
  const std::pair<uint32_t, int64_t> cases[] = {{0, 60000}, {20, 20}, {90000, 60000}};
  for (const auto& [asked, expected] : cases) {
    message.set_deadline_ms(asked);
    ASSERT_OK_AND_ASSIGN(const ChunkRequest request, DecodeRequest(message, absl::UnixEpoch(), absl::Seconds(60)));
    EXPECT_EQ(request.deadline - absl::UnixEpoch(), absl::Milliseconds(expected)) << asked;
  }
}

TEST(WireTest, RefusesWhatItCannotRead) {
  v1::ParameterRequest message = Message();
  message.set_operation(static_cast<v1::Operation>(77));
  EXPECT_THAT(DecodeRequest(message, absl::UnixEpoch(), absl::Seconds(1)).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_OPERATION"));
  message = Message();
  message.set_codec(static_cast<v1::Codec>(7));
  EXPECT_THAT(DecodeRequest(message, absl::UnixEpoch(), absl::Seconds(1)).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, "UNSUPPORTED_CODEC"));
  message = Message();
  message.mutable_payload()->back() = '0';
  EXPECT_THAT(CheckPayload(message), StatusIs(absl::StatusCode::kDataLoss, "CHECKSUM_MISMATCH"));
  message.set_operation(v1::OPERATION_PULL);
  EXPECT_OK(CheckPayload(message));
}

TEST(WireTest, EncodesWeightsAndErrors) {
  auto pool = BufferPool::Create();
  Buffer weights = pool->Take(2);
  weights.span()[0] = 1.0f;
  weights.span()[1] = -2.0f;
  const auto snapshot = std::make_shared<const Snapshot>(12, std::move(weights));
  const std::string bytes("\x00\x00\x80\x3f\x00\x00\x00\xc0", 8);
  v1::ParameterResponse message;
  EncodeAnswer({.key = {1, 42}, .chunk = 3, .duplicate = true, .version = 12, .min_clock = 9, .snapshot = snapshot},
               message);
  EXPECT_EQ(message.request_id(), 42u);
  EXPECT_EQ(message.code(), 0);
  EXPECT_EQ(message.chunk(), 3u);
  EXPECT_EQ(message.version(), 12u);
  EXPECT_EQ(message.min_clock(), 9u);
  EXPECT_TRUE(message.duplicate());
  EXPECT_EQ(message.codec(), v1::CODEC_FP32);
  EXPECT_EQ(message.payload(), bytes);
  EXPECT_EQ(message.crc32c(), Crc32c(absl::string_view(bytes.data(), bytes.size())));

  EncodeAnswer({.key = {1, 43}, .status = MakeError(absl::StatusCode::kNotFound, "JOB_NOT_FOUND", "no job")}, message);
  EXPECT_EQ(message.request_id(), 43u);
  EXPECT_EQ(message.code(), 5);
  EXPECT_EQ(message.reason(), "JOB_NOT_FOUND");
  EXPECT_EQ(message.message(), "no job");
  EXPECT_TRUE(message.payload().empty());
}

}  // namespace
}  // namespace paramd
