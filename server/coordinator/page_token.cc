#include "server/coordinator/page_token.h"

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/error.h"

namespace paramd {
namespace {

// FNV-1a: catches tokens that were mistyped or belong to another query; it is no protection against forgery, and a
// forged token reads nothing that a list does not.
uint64_t Checksum(uint64_t ordinal, const std::vector<v1::JobState>& filter) {
  std::string text = absl::StrCat("paramd.ListJobs.1/", ordinal);
  for (v1::JobState state : filter) absl::StrAppend(&text, "/", static_cast<int>(state));
  uint64_t hash = 0xcbf29ce484222325;
  for (unsigned char c : text) hash = (hash ^ c) * 0x100000001b3;
  return hash;
}

}  // namespace

std::string MakePageToken(uint64_t ordinal, const std::vector<v1::JobState>& filter) {
  return absl::WebSafeBase64Escape(absl::StrCat(ordinal, ":", Checksum(ordinal, filter)));
}

absl::StatusOr<uint64_t> ParsePageToken(const std::string& token, const std::vector<v1::JobState>& filter) {
  std::string text;
  uint64_t ordinal = 0;
  uint64_t checksum = 0;
  if (absl::WebSafeBase64Unescape(token, &text)) {
    const std::vector<std::string> parts = absl::StrSplit(text, ':');
    if (parts.size() == 2 && absl::SimpleAtoi(parts[0], &ordinal) && absl::SimpleAtoi(parts[1], &checksum) &&
        checksum == Checksum(ordinal, filter)) {
      return ordinal;
    }
  }
  return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_PAGE_TOKEN",
                   "page_token: not a token of this list; start again without one");
}

}  // namespace paramd
