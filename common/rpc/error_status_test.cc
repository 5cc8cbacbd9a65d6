#include "common/rpc/error_status.h"

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "google/rpc/error_details.pb.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

// Unpacks the only detail of type T; fails the test when there is none or more than one.
template <typename T>
T OnlyDetail(const google::rpc::Status& status) {
  T result;
  int found = 0;
  for (const auto& detail : status.details()) {
    if (detail.UnpackTo(&result)) ++found;
  }
  EXPECT_EQ(found, 1) << status.DebugString();
  return result;
}

TEST(ErrorStatusTest, OkStaysOk) {
  EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok());
  EXPECT_TRUE(FromGrpcStatus(grpc::Status::OK).ok());
  EXPECT_TRUE(FromRpcStatus(ToRpcStatus(absl::OkStatus())).ok());
}

TEST(ErrorStatusTest, EveryCodeKeepsReasonMessageAndMetadata) {
  for (int code = 1; code <= 16; ++code) {
    const absl::Status sent = MakeError(static_cast<absl::StatusCode>(code), "SOME_REASON", "what happened",
                                        {{"generation", "7"}, {"jobId", "gpt-1"}});
    for (const absl::Status& got : {FromGrpcStatus(ToGrpcStatus(sent)), FromRpcStatus(ToRpcStatus(sent))}) {
      EXPECT_EQ(static_cast<int>(got.code()), code);
      EXPECT_EQ(got.message(), "what happened");
      EXPECT_EQ(ErrorReason(got), "SOME_REASON");
      EXPECT_EQ(GetErrorMetadata(got), GetErrorMetadata(sent));
    }
  }
}

TEST(ErrorStatusTest, ReasonDefaultsToTheCodesName) {
  const auto info = OnlyDetail<google::rpc::ErrorInfo>(ToRpcStatus(absl::NotFoundError("no such job")));
  EXPECT_EQ(info.reason(), "NOT_FOUND");
  EXPECT_EQ(info.domain(), "paramd.v1");
}

TEST(ErrorStatusTest, UnavailableCarriesRetryInfo) {
  const auto retry = OnlyDetail<google::rpc::RetryInfo>(ToRpcStatus(absl::UnavailableError("busy")));
  EXPECT_GE(retry.retry_delay().seconds(), 1);
  EXPECT_EQ(ToRpcStatus(absl::InternalError("x")).details_size(), 1);
}

TEST(ErrorStatusTest, InvalidSpecBecomesFieldViolationsAndBack) {
  const ErrorMetadata violations = {{"spec.name", "too long"}, {"spec.training.steps", "must be > 0"}};
  const absl::Status sent = MakeError(absl::StatusCode::kInvalidArgument, "INVALID_SPEC", "2 violations", violations);
  const auto bad_request = OnlyDetail<google::rpc::BadRequest>(ToRpcStatus(sent));
  ASSERT_EQ(bad_request.field_violations_size(), 2);
  EXPECT_EQ(bad_request.field_violations(0).field(), "spec.name");
  EXPECT_EQ(bad_request.field_violations(0).description(), "too long");
  EXPECT_EQ(GetErrorMetadata(FromGrpcStatus(ToGrpcStatus(sent))), violations);
}

TEST(ErrorStatusTest, StaysBelowGrpcsMetadataLimit) {
  ErrorMetadata metadata;
  for (int i = 0; i < 1000; ++i) metadata[absl::StrCat("key", i)] = std::string(50, 'v');
  // U+00E9 repeated: percent-encoding triples it, and a cut must not split it.
  std::string message;
  for (int i = 0; i < 5000; ++i) message += "\xC3\xA9";
  const absl::Status sent = MakeError(absl::StatusCode::kInternal, "BIG", message, metadata);
  const grpc::Status wire = ToGrpcStatus(sent);
  EXPECT_LT(wire.error_message().size() * 3 + wire.error_details().size() * 4 / 3, 8000u);
  const absl::Status got = FromGrpcStatus(wire);
  EXPECT_EQ(ErrorReason(got), "BIG");
  EXPECT_FALSE(GetErrorMetadata(got).empty());
  EXPECT_TRUE(absl::EndsWith(got.message(), " more bytes)")) << got.message();
  // A google.rpc.Status inside a message is not clipped.
  EXPECT_EQ(ToRpcStatus(sent).message(), message);
}

TEST(ErrorStatusTest, BytesThatAreNotUtf8AreReplaced) {
  for (const std::string bad : {"\xFF", "\xC0\x80", "\xE2\x82", "\xED\xA0\x80", "\xF5\x80\x80\x80"}) {
    const absl::Status got = FromGrpcStatus(
        ToGrpcStatus(MakeError(absl::StatusCode::kInternal, "R", absl::StrCat("a", bad, "z"), {{"path", bad}})));
    EXPECT_EQ(got.message(), absl::StrCat("a", std::string(bad.size(), '?'), "z"));
    EXPECT_EQ(GetErrorMetadata(got).at("path"), std::string(bad.size(), '?'));
  }
}

TEST(ErrorStatusTest, ForeignDetailsAndCodesAreTolerated) {
  const absl::Status plain = FromGrpcStatus(grpc::Status(grpc::StatusCode::UNAVAILABLE, "connection refused"));
  EXPECT_EQ(plain.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ErrorReason(plain), "");
  const absl::Status garbage = FromGrpcStatus(grpc::Status(grpc::StatusCode::INTERNAL, "boom", "\xFF\xFF not a proto"));
  EXPECT_EQ(garbage.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(garbage.message(), "boom");
  google::rpc::Status unknown;
  unknown.set_code(99);
  EXPECT_EQ(FromRpcStatus(unknown).code(), absl::StatusCode::kUnknown);
  google::rpc::ErrorInfo foreign;
  foreign.set_domain("example.com");
  foreign.set_reason("THEIRS");
  unknown.add_details()->PackFrom(foreign);
  EXPECT_EQ(ErrorReason(FromRpcStatus(unknown)), "");
}

}  // namespace
}  // namespace paramd
