#include "common/base/failpoint_rule.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/error.h"
#include "common/base/philox.h"
#include "common/base/status_macros.h"

namespace paramd {
namespace {

constexpr int64_t kMaxDelayMs = 10 * 60 * 1000;

constexpr std::pair<absl::string_view, int> kErrnos[] = {
    {"EIO", EIO},       {"ENOSPC", ENOSPC}, {"EROFS", EROFS},   {"EACCES", EACCES},
    {"EDQUOT", EDQUOT}, {"EMFILE", EMFILE}, {"ENOENT", ENOENT}, {"ENOMEM", ENOMEM},
};

absl::Status SyntaxError(absl::string_view rule, absl::string_view what) {
  return MakeError(absl::StatusCode::kInvalidArgument, "FAILPOINT_SYNTAX",
                   absl::StrCat("failpoint rule \"", rule, "\": ", what));
}

absl::Status ParseNumber(absl::string_view text, uint64_t least, uint64_t& number) {
  if (absl::SimpleAtoi(text, &number) && number >= least) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("\"", text, "\" is not a number of at least ", least));
}

absl::Status ParseDelay(absl::string_view arguments, FailpointRule& rule) {
  uint64_t milliseconds = 0;
  RETURN_IF_ERROR(ParseNumber(arguments, 0, milliseconds));
  rule.delay = absl::Milliseconds(std::min<uint64_t>(milliseconds, kMaxDelayMs));
  return absl::OkStatus();
}

absl::Status ParseFail(absl::string_view arguments, FailpointRule& rule) {
  const std::pair<absl::string_view, absl::string_view> parts = absl::StrSplit(arguments, absl::MaxSplits(',', 1));
  for (int i = 1; i <= static_cast<int>(absl::StatusCode::kUnauthenticated); ++i) {
    const auto code = static_cast<absl::StatusCode>(i);
    if (absl::StatusCodeToString(code) != parts.first) continue;
    rule.status = absl::Status(code, parts.second.empty() ? "injected" : parts.second);
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("fail: \"", parts.first, "\" is no status code, such as UNAVAILABLE"));
}

absl::Status ParseErrno(absl::string_view name, FailpointRule& rule) {
  std::vector<absl::string_view> known;
  for (const auto& [text, value] : kErrnos) {
    if (text == name) rule.io.error = value;
    known.push_back(text);
  }
  if (rule.io.error != 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("errno: one of ", absl::StrJoin(known, ", "), ", not \"", name, "\""));
}

absl::Status ParseTorn(absl::string_view arguments, FailpointRule& rule) {
  const std::pair<absl::string_view, absl::string_view> parts = absl::StrSplit(arguments, absl::MaxSplits(',', 1));
  uint64_t bytes = 0;
  RETURN_IF_ERROR(ParseNumber(parts.first, 0, bytes));
  rule.io = {.error = EIO, .bytes = bytes, .abort = parts.second == "abort"};
  if (parts.second.empty() || rule.io.abort) return absl::OkStatus();
  return absl::InvalidArgumentError("torn: BYTES or BYTES,abort");
}

// `text`: name(arguments), or only a name.
absl::Status ParseAction(absl::string_view text, FailpointRule& rule) {
  absl::string_view name = text, arguments;
  if (const size_t open = text.find('('); open != absl::string_view::npos) {
    if (text.back() != ')') return absl::InvalidArgumentError("the bracket is not closed");
    name = text.substr(0, open);
    arguments = text.substr(open + 1, text.size() - open - 2);
  }
  struct Form {
    absl::string_view name;
    FailpointAction action;
    absl::Status (*parse)(absl::string_view, FailpointRule&);  // Null: takes no arguments.
  };
  const auto parse_path = [](absl::string_view path, FailpointRule& paused) {
    paused.path = std::string(path);
    return path.empty() ? absl::InvalidArgumentError("pause: the path of a file is missing") : absl::OkStatus();
  };
  const Form forms[] = {
      {"delay", FailpointAction::kDelay, ParseDelay}, {"fail", FailpointAction::kFail, ParseFail},
      {"abort", FailpointAction::kAbort, nullptr},    {"pause", FailpointAction::kPause, parse_path},
      {"errno", FailpointAction::kErrno, ParseErrno}, {"torn", FailpointAction::kTorn, ParseTorn},
      {"on", FailpointAction::kOn, nullptr},
  };
  for (const Form& form : forms) {
    if (form.name != name) continue;
    rule.action = form.action;
    if (form.parse != nullptr) return form.parse(arguments, rule);
    return arguments.empty() ? absl::OkStatus() : absl::InvalidArgumentError(absl::StrCat(name, " takes no arguments"));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("no action \"", name, "\"; there are delay, fail, abort, pause, errno, torn and on"));
}

absl::Status ParseTrigger(absl::string_view text, FailpointRule& rule) {
  for (absl::string_view part : absl::StrSplit(text, ',')) {
    const std::pair<absl::string_view, absl::string_view> field = absl::StrSplit(part, absl::MaxSplits('=', 1));
    if (field.first == "hit") {
      RETURN_IF_ERROR(ParseNumber(field.second, 1, rule.first));
      rule.last = rule.first;
    } else if (field.first == "from") {
      RETURN_IF_ERROR(ParseNumber(field.second, 1, rule.first));
    } else if (field.first == "times") {
      RETURN_IF_ERROR(ParseNumber(field.second, 1, rule.times));
    } else if (field.first == "seed") {
      RETURN_IF_ERROR(ParseNumber(field.second, 0, rule.seed));
    } else if (field.first == "p") {
      if (!absl::SimpleAtod(field.second, &rule.probability) || !(rule.probability > 0 && rule.probability <= 1)) {
        return absl::InvalidArgumentError(absl::StrCat("p: a number in (0, 1], not \"", field.second, "\""));
      }
    } else {
      return absl::InvalidArgumentError(
          absl::StrCat("no trigger \"", field.first, "\"; there are hit, from, times, p and seed"));
    }
  }
  return absl::OkStatus();
}

bool CanDo(const FailpointInfo& point, FailpointAction action) {
  switch (action) {
    case FailpointAction::kOn:
      return point.kind == FailpointKind::kSwitch;
    case FailpointAction::kFail:
      return point.kind == FailpointKind::kFail;
    case FailpointAction::kErrno:
      return point.kind == FailpointKind::kIo;
    case FailpointAction::kTorn:
      return point.name == InfoOf(Failpoint::kFileWrite).name;
    default:
      return point.kind != FailpointKind::kSwitch;
  }
}

absl::Status CheckPoints(const FailpointRule& rule) {
  std::vector<absl::string_view> names;
  bool matches = false;
  for (const FailpointInfo& point : AllFailpoints()) {
    names.push_back(point.name);
    if (!rule.Matches(point.name)) continue;
    matches = true;
    if (!CanDo(point, rule.action)) {
      return absl::InvalidArgumentError(absl::StrCat("point ", point.name, " cannot do that"));
    }
  }
  if (matches) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("no failpoint \"", rule.pattern, "\"; there are ", absl::StrJoin(names, ", ")));
}

absl::StatusOr<FailpointRule> ParseRule(absl::string_view text) {
  const size_t equals = text.find('=');
  if (equals == absl::string_view::npos) return SyntaxError(text, "POINT=ACTION[@TRIGGER] is expected");
  FailpointRule rule = {.pattern = std::string(text.substr(0, equals))};
  // Messages and paths may hold an '@': the trigger begins behind the bracket.
  const absl::string_view rest = text.substr(equals + 1);
  const size_t bracket = rest.rfind(')');
  const size_t at = rest.find('@', bracket == absl::string_view::npos ? 0 : bracket);
  absl::Status status = ParseAction(rest.substr(0, at), rule);
  if (status.ok() && at != absl::string_view::npos) status = ParseTrigger(rest.substr(at + 1), rule);
  if (status.ok()) status = CheckPoints(rule);
  if (!status.ok()) return SyntaxError(text, status.message());
  return rule;
}

}  // namespace

bool FailpointRule::Matches(absl::string_view name) const {
  absl::string_view prefix = pattern;
  return absl::ConsumeSuffix(&prefix, "*") ? absl::StartsWith(name, prefix) : name == prefix;
}

bool FailpointRule::Fires() {
  ++hits;
  if (hits < first || hits > last || fired >= times) return false;
  if (probability < 1) {
    const auto words = Philox4x32({static_cast<uint32_t>(hits), static_cast<uint32_t>(hits >> 32), 0, 0},
                                  {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)});
    if (UniformFloat(words[0]) >= probability) return false;
  }
  ++fired;
  return true;
}

absl::StatusOr<std::vector<FailpointRule>> ParseFailpointRules(absl::string_view text) {
  std::vector<FailpointRule> rules;
  for (absl::string_view part : absl::StrSplit(text, ';', absl::SkipWhitespace())) {
    ASSIGN_OR_RETURN(FailpointRule rule, ParseRule(absl::StripAsciiWhitespace(part)));
    rules.push_back(std::move(rule));
  }
  return rules;
}

}  // namespace paramd
