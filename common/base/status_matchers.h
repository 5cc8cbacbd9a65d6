// GoogleTest matchers for absl::Status and absl::StatusOr.
//
//   EXPECT_OK(file.Flush());
//   ASSERT_OK_AND_ASSIGN(std::string text, ReadFile(path, 1 << 20));
//   EXPECT_THAT(ReadFile("nowhere", 1), StatusIs(absl::StatusCode::kNotFound, "FILE_NOT_FOUND"));
//
// Tests only.
#ifndef PARAMD_COMMON_BASE_STATUS_MATCHERS_H_
#define PARAMD_COMMON_BASE_STATUS_MATCHERS_H_

#include <ostream>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace paramd {
namespace status_matchers_internal {

inline const absl::Status& ToStatus(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& ToStatus(const absl::StatusOr<T>& value) {
  return value.status();
}

class StatusIsMatcher {
 public:
  StatusIsMatcher(testing::Matcher<absl::StatusCode> code, testing::Matcher<std::string> reason)
      : code_(std::move(code)), reason_(std::move(reason)) {}

  template <typename T>
  bool MatchAndExplain(const T& value, testing::MatchResultListener* listener) const {
    const absl::Status& status = ToStatus(value);
    const std::string reason = ErrorReason(status);
    *listener << "which is " << status.ToString(absl::StatusToStringMode::kWithNoExtraData) << " with reason \""
              << reason << "\"";
    return code_.Matches(status.code()) && reason_.Matches(reason);
  }
  void DescribeTo(std::ostream* out) const { Describe(out, "has a status"); }
  void DescribeNegationTo(std::ostream* out) const { Describe(out, "has no status"); }

 private:
  void Describe(std::ostream* out, const char* what) const {
    *out << what << " whose code ";
    code_.DescribeTo(out);
    *out << " and whose reason ";
    reason_.DescribeTo(out);
  }

  testing::Matcher<absl::StatusCode> code_;
  testing::Matcher<std::string> reason_;
};

}  // namespace status_matchers_internal

// Matches a Status or StatusOr of this code, whatever its reason.
inline auto StatusIs(testing::Matcher<absl::StatusCode> code) {
  return testing::MakePolymorphicMatcher(
      status_matchers_internal::StatusIsMatcher(std::move(code), testing::A<std::string>()));
}

// Matches a Status or StatusOr of this code and reason (a string or a matcher of one).
inline auto StatusIs(testing::Matcher<absl::StatusCode> code, testing::Matcher<std::string> reason) {
  return testing::MakePolymorphicMatcher(status_matchers_internal::StatusIsMatcher(std::move(code), std::move(reason)));
}

// Matches an OK Status or StatusOr.
inline auto IsOk() { return StatusIs(absl::StatusCode::kOk); }

}  // namespace paramd

#define EXPECT_OK(expression) EXPECT_THAT(expression, ::paramd::IsOk())
#define ASSERT_OK(expression) ASSERT_THAT(expression, ::paramd::IsOk())

#define ASSERT_OK_AND_ASSIGN(declaration, expression) \
  PARAMD_ASSERT_OK_AND_ASSIGN_(PARAMD_CONCAT_(paramd_status_or_, __LINE__), declaration, expression)

#define PARAMD_ASSERT_OK_AND_ASSIGN_(temporary, declaration, expression) \
  auto temporary = (expression);                                         \
  ASSERT_OK(temporary);                                                  \
  declaration = std::move(temporary).value()

#endif  // PARAMD_COMMON_BASE_STATUS_MATCHERS_H_
