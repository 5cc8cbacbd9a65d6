#include "common/base/error.h"

#include <charconv>
#include <optional>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"

namespace paramd {
namespace {

// The payload is the reason, then key, value, key, value...: each as its length in decimal, ':', its bytes.
constexpr char kTypeUrl[] = "paramd.v1/error";

void AppendField(std::string& out, absl::string_view field) { absl::StrAppend(&out, field.size(), ":", field); }

std::optional<std::string> TakeField(absl::string_view& rest) {
  const size_t colon = rest.find(':');
  if (colon == absl::string_view::npos) return std::nullopt;
  size_t size = 0;
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + colon, size);
  if (error != std::errc() || end != rest.data() + colon || size > rest.size() - colon - 1) return std::nullopt;
  std::string field(rest.substr(colon + 1, size));
  rest.remove_prefix(colon + 1 + size);
  return field;
}

struct Details {
  std::string reason;
  ErrorMetadata metadata;
};

Details GetDetails(const absl::Status& status) {
  const auto payload = status.GetPayload(kTypeUrl);
  if (!payload.has_value()) return {};
  const std::string text(*payload);
  absl::string_view rest = text;
  std::optional<std::string> reason = TakeField(rest);
  if (!reason) return {};
  Details details{.reason = *std::move(reason), .metadata = {}};
  while (!rest.empty()) {
    std::optional<std::string> key = TakeField(rest);
    std::optional<std::string> value = TakeField(rest);
    if (!key || !value) break;
    details.metadata[*std::move(key)] = *std::move(value);
  }
  return details;
}

}  // namespace

absl::Status MakeError(absl::StatusCode code, absl::string_view reason, absl::string_view message,
                       const ErrorMetadata& metadata) {
  // An error must never turn into success, whatever a caller copied its code from.
  absl::Status status(code == absl::StatusCode::kOk ? absl::StatusCode::kInternal : code, message);
  if (reason.empty() && metadata.empty()) return status;
  std::string payload;
  AppendField(payload, reason);
  for (const auto& [key, value] : metadata) {
    AppendField(payload, key);
    AppendField(payload, value);
  }
  status.SetPayload(kTypeUrl, absl::Cord(payload));
  return status;
}

std::string ErrorReason(const absl::Status& status) { return GetDetails(status).reason; }

ErrorMetadata GetErrorMetadata(const absl::Status& status) { return GetDetails(status).metadata; }

absl::Status Annotate(const absl::Status& status, absl::string_view context) {
  if (status.ok()) return status;
  absl::Status annotated(status.code(), absl::StrCat(context, ": ", status.message()));
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) { annotated.SetPayload(url, payload); });
  return annotated;
}

}  // namespace paramd
