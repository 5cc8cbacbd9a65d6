#include "common/rpc/error_status.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/base/error.h"
#include "google/rpc/error_details.pb.h"

namespace paramd {
namespace {

constexpr char kDomain[] = "paramd.v1";
// The reason whose metadata maps field paths to what is wrong with them.
constexpr char kInvalidSpec[] = "INVALID_SPEC";
constexpr int64_t kRetryDelaySeconds = 1;
// gRPC refuses metadata of more than 8 KiB by default. The message travels twice (as grpc-message, percent-encoded, and
// in the details, in base64), so these bounds keep a status below that even when every byte must be escaped.
constexpr size_t kMaxWireMessageBytes = 1200;
constexpr size_t kMaxWireDetailBytes = 2000;  // Entries' framing included.
constexpr size_t kEntryFramingBytes = 8;

bool IsContinuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

// The length of the well-formed UTF-8 sequence at the start of `text`, 0 if there is none.
size_t Utf8SequenceLength(absl::string_view text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  if (lead < 0x80) return 1;
  const size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if (!IsContinuation(text[i])) return 0;
  }
  const auto second = static_cast<unsigned char>(text[1]);
  if ((lead == 0xE0 && second < 0xA0) || (lead == 0xED && second > 0x9F)) return 0;
  if ((lead == 0xF0 && second < 0x90) || (lead == 0xF4 && second > 0x8F)) return 0;
  return length;
}

// Proto strings must be UTF-8; what is not (a path, a peer's bytes) becomes '?'.
std::string ToUtf8(absl::string_view text) {
  std::string result;
  result.reserve(text.size());
  while (!text.empty()) {
    const size_t length = Utf8SequenceLength(text);
    if (length == 0) {
      result.push_back('?');
      text.remove_prefix(1);
    } else {
      result.append(text.data(), length);
      text.remove_prefix(length);
    }
  }
  return result;
}

// At most about `limit` bytes of UTF-8 text, with a note on what was cut.
std::string Clip(const std::string& text, size_t limit) {
  if (text.size() <= limit) return text;
  size_t end = limit;
  while (end > 0 && IsContinuation(text[end])) --end;
  return absl::StrCat(absl::string_view(text).substr(0, end), "... (", text.size() - end, " more bytes)");
}

// Adds entries until they hold `limit` bytes; the rest is left out.
template <typename Add>
void ForEachWithin(const ErrorMetadata& metadata, size_t limit, const Add& add) {
  size_t used = 0;
  for (const auto& [key, value] : metadata) {
    const std::string clean_key = ToUtf8(key);
    const std::string clean_value = ToUtf8(value);
    used += clean_key.size() + clean_value.size() + kEntryFramingBytes;
    if (used > limit) return;
    add(clean_key, clean_value);
  }
}

google::rpc::Status ToBoundedRpcStatus(const absl::Status& status, size_t message_limit, size_t detail_limit) {
  google::rpc::Status result;
  result.set_code(static_cast<int>(status.code()));
  if (status.ok()) return result;
  result.set_message(Clip(ToUtf8(status.message()), message_limit));

  google::rpc::ErrorInfo info;
  const std::string reason = ErrorReason(status);
  info.set_reason(reason.empty() ? absl::StatusCodeToString(status.code()) : reason);
  info.set_domain(kDomain);
  google::rpc::BadRequest bad_request;
  ForEachWithin(GetErrorMetadata(status), detail_limit, [&](const std::string& key, const std::string& value) {
    if (reason == kInvalidSpec) {
      auto* violation = bad_request.add_field_violations();
      violation->set_field(key);
      violation->set_description(value);
    } else {
      (*info.mutable_metadata())[key] = value;
    }
  });
  result.add_details()->PackFrom(info);
  if (bad_request.field_violations_size() > 0) result.add_details()->PackFrom(bad_request);
  if (status.code() == absl::StatusCode::kUnavailable) {
    google::rpc::RetryInfo retry;
    retry.mutable_retry_delay()->set_seconds(kRetryDelaySeconds);
    result.add_details()->PackFrom(retry);
  }
  return result;
}

absl::StatusCode ToAbslCode(int code) {
  const bool known = code >= 0 && code <= static_cast<int>(absl::StatusCode::kUnauthenticated);
  return known ? static_cast<absl::StatusCode>(code) : absl::StatusCode::kUnknown;
}

// Reason and metadata of our own ErrorInfo among the details; false when there is none.
bool FindErrorInfo(const google::rpc::Status& status, std::string& reason, ErrorMetadata& metadata) {
  bool found = false;
  for (const google::protobuf::Any& detail : status.details()) {
    google::rpc::ErrorInfo info;
    google::rpc::BadRequest bad_request;
    if (detail.UnpackTo(&info) && info.domain() == kDomain) {
      found = true;
      reason = info.reason();
      metadata.insert(info.metadata().begin(), info.metadata().end());
    } else if (detail.UnpackTo(&bad_request)) {
      for (const auto& violation : bad_request.field_violations()) {
        metadata.emplace(violation.field(), violation.description());
      }
    }
  }
  return found;
}

}  // namespace

google::rpc::Status ToRpcStatus(const absl::Status& status) {
  return ToBoundedRpcStatus(status, std::string::npos, std::string::npos);
}

absl::Status FromRpcStatus(const google::rpc::Status& status) {
  const absl::StatusCode code = ToAbslCode(status.code());
  if (code == absl::StatusCode::kOk) return absl::OkStatus();
  std::string reason;
  ErrorMetadata metadata;
  if (!FindErrorInfo(status, reason, metadata)) return absl::Status(code, status.message());
  return MakeError(code, reason, status.message(), metadata);
}

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const google::rpc::Status details = ToBoundedRpcStatus(status, kMaxWireMessageBytes, kMaxWireDetailBytes);
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), details.message(), details.SerializeAsString());
}

absl::Status FromGrpcStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  const absl::StatusCode code = ToAbslCode(static_cast<int>(status.error_code()));
  google::rpc::Status details;
  // The code of the call counts, whatever the details say.
  if (status.error_details().empty() || !details.ParseFromString(status.error_details())) {
    return absl::Status(code, status.error_message());
  }
  details.set_code(static_cast<int>(code));
  details.set_message(status.error_message());
  return FromRpcStatus(details);
}

}  // namespace paramd
