#include "tests/framework/fault_command.h"

#include <cstdint>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"

namespace paramd {
namespace {

using Words = std::vector<absl::string_view>;

absl::Status Wrong(absl::string_view line, absl::string_view what) {
  return MakeError(absl::StatusCode::kInvalidArgument, "FAULT_COMMAND", absl::StrCat("command \"", line, "\": ", what));
}

absl::StatusOr<FaultProxy::Direction> ParseDirection(absl::string_view word) {
  if (word == "up") return FaultProxy::Direction::kToServer;
  if (word == "down") return FaultProxy::Direction::kToClient;
  if (word == "both") return FaultProxy::Direction::kBoth;
  return absl::InvalidArgumentError("the direction is up, down or both");
}

// `words`: a kind and its numbers.
absl::StatusOr<FaultRule> ParseRule(const Words& words) {
  using Kind = FaultRule::Kind;
  struct Form {
    absl::string_view name;
    Kind kind;
    size_t least, most;  // Numbers.
    int64_t minimum;     // Of the first number.
  };
  static constexpr Form kForms[] = {
      {"pass", Kind::kPass, 0, 0, 0},         {"blackhole", Kind::kBlackhole, 0, 0, 0},
      {"stall", Kind::kStall, 0, 0, 0},       {"delay", Kind::kDelay, 1, 2, 0},
      {"throttle", Kind::kThrottle, 1, 1, 1}, {"truncate", Kind::kTruncate, 1, 1, 0},
      {"flip", Kind::kFlip, 2, 2, 0},
  };
  for (const Form& form : kForms) {
    if (words.empty() || words[0] != form.name) continue;
    if (words.size() - 1 < form.least || words.size() - 1 > form.most) {
      return absl::InvalidArgumentError(absl::StrCat(form.name, " takes ", form.least, " to ", form.most, " numbers"));
    }
    int64_t numbers[2] = {};
    for (size_t i = 1; i < words.size(); ++i) {
      if (!absl::SimpleAtoi(words[i], &numbers[i - 1]) || numbers[i - 1] < (i == 1 ? form.minimum : 0)) {
        return absl::InvalidArgumentError(
            absl::StrCat("\"", words[i], "\" is not a number that ", form.name, " takes"));
      }
    }
    if (form.kind == Kind::kFlip && numbers[1] > 7) return absl::InvalidArgumentError("a byte has the bits 0 to 7");
    return FaultRule{.kind = form.kind,
                     .delay = absl::Milliseconds(numbers[0]),
                     .jitter = absl::Milliseconds(numbers[1]),
                     .bytes_per_second = numbers[0],
                     .at_byte = numbers[0],
                     .bit = static_cast<int>(numbers[1])};
  }
  return absl::InvalidArgumentError("the rule is pass, blackhole, stall, delay, throttle, truncate or flip");
}

std::string PipeJson(const FaultPipeCounters& counters) {
  return absl::StrCat("{\"forwarded_bytes\":", counters.forwarded_bytes, ",\"lost_bytes\":", counters.lost_bytes,
                      ",\"delayed_bytes\":", counters.delayed_bytes, ",\"flipped_bits\":", counters.flipped_bits,
                      ",\"truncations\":", counters.truncations, "}");
}

std::string Json(const FaultProxyCounters& counters) {
  return absl::StrCat("{\"connections\":", counters.connections, ",\"refused\":", counters.refused,
                      ",\"dropped\":", counters.dropped, ",\"half_opened\":", counters.half_opened,
                      ",\"open\":", counters.open, ",\"up\":", PipeJson(counters.to_server),
                      ",\"down\":", PipeJson(counters.to_client), "}");
}

absl::StatusOr<std::string> Run(const Words& words, FaultProxy& proxy) {
  const absl::string_view verb = words[0];
  if (verb == "drop" && words.size() == 1) return absl::StrCat(proxy.Drop());
  if (verb == "counters" && words.size() == 1) return Json(proxy.counters());
  if (verb == "target" && words.size() == 2) {
    RETURN_IF_ERROR(proxy.SetTarget(words[1]));
    return std::string("ok");
  }
  if (verb == "refuse" && words.size() == 2 && (words[1] == "on" || words[1] == "off")) {
    proxy.Refuse(words[1] == "on");
    return std::string("ok");
  }
  if (verb == "half_open" && words.size() == 2 && (words[1] == "server" || words[1] == "client")) {
    return absl::StrCat(proxy.HalfOpen(words[1] == "server" ? FaultProxy::Side::kServer : FaultProxy::Side::kClient));
  }
  if (verb == "rule" && words.size() >= 3) {
    ASSIGN_OR_RETURN(const FaultProxy::Direction direction, ParseDirection(words[1]));
    ASSIGN_OR_RETURN(const FaultRule rule, ParseRule(Words(words.begin() + 2, words.end())));
    proxy.SetRule(direction, rule);
    return std::string("ok");
  }
  return absl::InvalidArgumentError(
      "there are target, rule, drop, half_open, refuse and counters, see fault_command.h");
}

}  // namespace

absl::StatusOr<std::string> RunFaultCommand(absl::string_view line, FaultProxy& proxy) {
  const Words words = absl::StrSplit(line, ' ', absl::SkipWhitespace());
  if (words.empty()) return Wrong(line, "empty");
  absl::StatusOr<std::string> answer = Run(words, proxy);
  if (!answer.ok()) return Wrong(line, answer.status().message());
  return answer;
}

}  // namespace paramd
