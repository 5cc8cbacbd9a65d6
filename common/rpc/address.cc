#include "common/rpc/address.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/base/error.h"

namespace paramd {
namespace {

constexpr size_t kMaxHostBytes = 253;  // A DNS name's limit.

absl::Status Invalid(absl::string_view text, absl::string_view what) {
  return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_ADDRESS",
                   absl::StrCat("address \"", text, "\": ", what, "; expected host:port"));
}

bool IsHostCharacter(char c, bool ipv6) {
  if (absl::ascii_isalnum(c) || c == '.' || c == '-' || c == '_') return true;
  return ipv6 && (c == ':' || c == '%');
}

// The port must be plain digits: no sign, no blank.
bool ParsePort(absl::string_view text, int& port) {
  for (char c : text) {
    if (!absl::ascii_isdigit(c)) return false;
  }
  return text.size() <= 5 && absl::SimpleAtoi(text, &port) && port <= 65535;
}

}  // namespace

absl::StatusOr<HostPort> ParseHostPort(absl::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == absl::string_view::npos) return Invalid(text, "no port");
  absl::string_view host = text.substr(0, colon);
  const bool bracketed = absl::StartsWith(host, "[") && absl::EndsWith(host, "]") && host.size() > 2;
  if (bracketed) host = host.substr(1, host.size() - 2);
  if (host.empty()) return Invalid(text, "no host");
  if (host.size() > kMaxHostBytes) return Invalid(text, "the host is too long");
  if (!bracketed && absl::StrContains(host, ":")) return Invalid(text, "an IPv6 host needs brackets");
  for (char c : host) {
    if (!IsHostCharacter(c, bracketed))
      return Invalid(text, absl::StrCat("the host may not contain '", absl::string_view(&c, 1), "'"));
  }
  HostPort result{.host = std::string(host)};
  if (!ParsePort(text.substr(colon + 1), result.port)) return Invalid(text, "the port must be a number in 0..65535");
  return result;
}

std::string FormatHostPort(absl::string_view host, int port) {
  if (absl::StrContains(host, ":")) return absl::StrCat("[", host, "]:", port);
  return absl::StrCat(host, ":", port);
}

bool IsWildcardHost(absl::string_view host) { return host == "0.0.0.0" || host == "::" || host == "*"; }

bool IsLoopbackAddress(absl::string_view address) {
  return absl::StartsWith(address, "127.") || absl::StartsWith(address, "[::1]:") ||
         absl::StartsWith(address, "localhost:");
}

bool IsLoopbackPeer(absl::string_view peer) {
  return absl::StartsWith(peer, "ipv4:127.") || absl::StartsWith(peer, "ipv6:[::1]:") ||
         absl::StartsWith(peer, "ipv6:%5B::1%5D:");
}

}  // namespace paramd
