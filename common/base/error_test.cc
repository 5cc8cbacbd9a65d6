#include "common/base/error.h"

#include "absl/strings/cord.h"
#include "common/base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

using ::testing::IsEmpty;
using ::testing::Not;

TEST(ErrorTest, CarriesReasonAndMetadata) {
  const ErrorMetadata metadata = {{"chunk", "7"}, {"odd:key", "3:\n\0x"}, {"", ""}};
  const absl::Status status = MakeError(absl::StatusCode::kFailedPrecondition, "FENCED", "push refused", metadata);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(status.message(), "push refused");
  EXPECT_EQ(ErrorReason(status), "FENCED");
  EXPECT_EQ(GetErrorMetadata(status), metadata);
}

TEST(ErrorTest, PlainStatusHasNeither) {
  EXPECT_EQ(ErrorReason(absl::NotFoundError("x")), "");
  EXPECT_THAT(GetErrorMetadata(absl::NotFoundError("x")), IsEmpty());
  EXPECT_EQ(ErrorReason(absl::OkStatus()), "");
}

TEST(ErrorTest, NeverOk) { EXPECT_THAT(MakeError(absl::StatusCode::kOk, "R", "m"), Not(IsOk())); }

TEST(ErrorTest, AnnotateKeepsEverythingElse) {
  const absl::Status status = Annotate(MakeError(absl::StatusCode::kDataLoss, "CRC", "bad", {{"a", "b"}}), "chunk 3");
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kDataLoss, "CRC"));
  EXPECT_EQ(status.message(), "chunk 3: bad");
  EXPECT_EQ(GetErrorMetadata(status), (ErrorMetadata{{"a", "b"}}));
  EXPECT_THAT(Annotate(absl::OkStatus(), "x"), IsOk());
}

TEST(ErrorTest, MalformedPayloadIsIgnored) {
  for (const char* payload : {"", "x", ":", "9:ab", "-1:a", "99999999999999999999999:a", "1", "1x:a"}) {
    absl::Status status = absl::InternalError("m");
    status.SetPayload("paramd.v1/error", absl::Cord(payload));
    EXPECT_EQ(ErrorReason(status), "") << payload;
    EXPECT_THAT(GetErrorMetadata(status), IsEmpty()) << payload;
  }
  absl::Status cut = absl::InternalError("m");
  cut.SetPayload("paramd.v1/error", absl::Cord("1:R1:a1:b1:c"));
  EXPECT_EQ(ErrorReason(cut), "R");
  EXPECT_EQ(GetErrorMetadata(cut), (ErrorMetadata{{"a", "b"}}));
}

}  // namespace
}  // namespace paramd
