#include "server/service/attachment.h"

#include <memory>
#include <numeric>

#include "common/base/status_matchers.h"
#include "gtest/gtest.h"
#include "prometheus/registry.h"

namespace paramd {
namespace {

constexpr int64_t kElements = 100;

class AttachmentTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(segment_, SharedSegment::Create(SharedSegment::BytesFor({kElements, kElements})));
    floats_ = segment_->AllocateFloats(kElements);
    std::iota(floats_.begin(), floats_.end(), 0.0f);
    offset_ = segment_->OffsetOf(floats_.data());
  }
  SharedMemoryName Name() const {
    return {.pid = segment_->pid(), .fd = segment_->fd(), .bytes = segment_->bytes(), .token = segment_->token()};
  }
  absl::Status Resolve(const RequestHeader& header, ChunkRequest& request) {
    absl::StatusOr<std::shared_ptr<const Attachment>> attachment = Attachment::Open(Name(), metrics_);
    RETURN_IF_ERROR(attachment.status());
    attachments_.push_back(*attachment);
    return ResolveSharedMemory(header, attachment->get(), kElements, request);
  }

  ServerMetrics metrics_{std::make_shared<prometheus::Registry>(), 1};
  std::vector<std::shared_ptr<const Attachment>> attachments_;
  std::shared_ptr<SharedSegment> segment_;
  absl::Span<float> floats_;
  uint64_t offset_ = 0;
};

TEST_F(AttachmentTest, IsCountedWhileItLives) {
  ASSERT_OK_AND_ASSIGN(auto attachment, Attachment::Open(Name(), metrics_));
  EXPECT_EQ(metrics_.attached_segments().Value(), 1);
  EXPECT_EQ(metrics_.attached_bytes().Value(), static_cast<double>(segment_->bytes()));
  attachment.reset();
  EXPECT_EQ(metrics_.attached_segments().Value(), 0);
  EXPECT_EQ(metrics_.attached_bytes().Value(), 0);
}

TEST_F(AttachmentTest, RefusesAWrongToken) {
  SharedMemoryName name = Name();
  name.token = "0123456789abcdef";
  EXPECT_THAT(Attachment::Open(name, metrics_).status(),
              StatusIs(absl::StatusCode::kPermissionDenied, "SHARED_MEMORY_REFUSED"));
  EXPECT_EQ(metrics_.attached_segments().Value(), 0);
}

TEST_F(AttachmentTest, PointsAtTheRangesThatARequestNames) {
  const RequestHeader header = {
      .shared_payload_offset = offset_ + 8, .shared_payload_bytes = 40, .shared_answer_offset = offset_};
  ChunkRequest request = {.push = true, .pull = true};
  ASSERT_OK(Resolve(header, request));
  ASSERT_EQ(request.payload.size(), 40u);
  ASSERT_EQ(request.payload.fragment_count(), 1u);
  float payload[10];
  CopyFloats(request.payload, 0, absl::MakeSpan(payload));
  EXPECT_EQ(payload[0], 2.0f);
  ASSERT_EQ(request.shared_answer.size(), static_cast<size_t>(kElements));
  request.shared_answer[1] = 99.0f;
  EXPECT_EQ(floats_[1], 99.0f) << "the same memory";
}

TEST_F(AttachmentTest, Bf16NeedsHalfTheSpace) {
  const uint64_t half = segment_->bytes() - (kElements / 2) * sizeof(float);
  RequestHeader header = {.shared_answer_offset = half};
  ChunkRequest request = {.pull = true, .answer_codec = v1::CODEC_BF16};
  ASSERT_OK(Resolve(header, request));
  EXPECT_EQ(request.shared_answer.size(), static_cast<size_t>(kElements / 2));
  request.answer_codec = v1::CODEC_FP32;
  EXPECT_THAT(Resolve(header, request), StatusIs(absl::StatusCode::kInvalidArgument, "SHARED_RANGE_INVALID"));
}

TEST_F(AttachmentTest, RefusesWhatIsNotInTheMemory) {
  const uint64_t end = segment_->bytes();
  struct Case {
    const char* name;
    RequestHeader header;
  };
  const Case cases[] = {
      {"payload in the header page", {.shared_payload_offset = 16, .shared_payload_bytes = 4}},
      {"payload not aligned", {.shared_payload_offset = offset_ + 2, .shared_payload_bytes = 4}},
      {"payload too long", {.shared_payload_offset = offset_, .shared_payload_bytes = end}},
      {"payload past the end", {.shared_payload_offset = end, .shared_payload_bytes = 4}},
      {"payload that wraps around", {.shared_payload_offset = offset_, .shared_payload_bytes = ~uint64_t{0}}},
      {"answer past the end", {.shared_answer_offset = end - 4}},
      {"answer far away", {.shared_answer_offset = ~uint64_t{0} - 3}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    ChunkRequest request = {.push = true, .pull = true};
    EXPECT_THAT(Resolve(c.header, request), StatusIs(absl::StatusCode::kInvalidArgument, "SHARED_RANGE_INVALID"));
  }
  ChunkRequest twice = {.push = true, .payload = PayloadView("abcd")};
  EXPECT_THAT(Resolve({.shared_payload_offset = offset_, .shared_payload_bytes = 4}, twice),
              StatusIs(absl::StatusCode::kInvalidArgument, "SHARED_RANGE_INVALID"));
}

TEST_F(AttachmentTest, NothingIsAttached) {
  ChunkRequest request = {.push = true, .payload = PayloadView("abcd")};
  EXPECT_OK(ResolveSharedMemory({}, nullptr, kElements, request)) << "and nothing is asked for";
  EXPECT_EQ(request.payload.size(), 4u);
  for (const RequestHeader& header :
       {RequestHeader{.shared_payload_offset = 4096}, RequestHeader{.shared_answer_offset = 4096}}) {
    EXPECT_THAT(ResolveSharedMemory(header, nullptr, kElements, request),
                StatusIs(absl::StatusCode::kFailedPrecondition, "SHARED_MEMORY_UNAVAILABLE"));
  }
}

}  // namespace
}  // namespace paramd
