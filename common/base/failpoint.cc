#include "common/base/failpoint.h"

#include <signal.h>
#include <unistd.h>

#include <array>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/base/error.h"
#include "common/base/failpoint_rule.h"
#include "common/base/status_macros.h"

namespace paramd {
namespace {

// Nobody waits for ever, not even for a test that forgot to go on.
constexpr absl::Duration kLongestPause = absl::Minutes(1);
constexpr absl::Duration kPausePoll = absl::Milliseconds(5);

constexpr FailpointInfo kPoints[] = {
#define X(identifier, name, kind, what) {name, FailpointKind::kind, what},
#include "common/base/failpoint_list.inc"
#undef X
};
constexpr size_t kPointCount = std::size(kPoints);

struct State {
  absl::Mutex mutex;
  std::vector<FailpointRule> rules ABSL_GUARDED_BY(mutex);
  std::array<FailpointCount, kPointCount> counts ABSL_GUARDED_BY(mutex) = {};
};

// Never destroyed: threads that outlive main may pass a point.
State& TheState() {
  static State& state = *new State;
  return state;
}

// The rule that is to act at this hit.
std::optional<FailpointRule> Firing(Failpoint point) {
  State& state = TheState();
  absl::MutexLock lock(&state.mutex);
  std::optional<FailpointRule> firing;
  bool named = false;
  for (FailpointRule& rule : state.rules) {
    if (!rule.Matches(InfoOf(point).name)) continue;
    named = true;
    if (rule.Fires() && !firing.has_value()) firing = rule;
  }
  FailpointCount& count = state.counts[static_cast<size_t>(point)];
  if (named) ++count.hits;
  if (firing.has_value()) ++count.fired;
  return firing;
}

void Pause(const std::string& path) {
  const absl::Time end = absl::Now() + kLongestPause;
  while (access(path.c_str(), F_OK) != 0 && absl::Now() < end) absl::SleepFor(kPausePoll);
}

}  // namespace

namespace failpoint_internal {

Outcome Pass(Failpoint point) {
  const std::optional<FailpointRule> rule = Firing(point);
  if (!rule.has_value()) return {};
  const std::string name(InfoOf(point).name);
  switch (rule->action) {
    case FailpointAction::kDelay:
      absl::SleepFor(rule->delay);
      return {};
    case FailpointAction::kPause:
      Pause(rule->path);
      return {};
    case FailpointAction::kAbort:
      AbortAtFailpoint(point);
    case FailpointAction::kFail:
      return {.status =
                  MakeError(rule->status.code(), "FAILPOINT",
                            absl::StrCat("failpoint ", name, ": ", rule->status.message()), {{"failpoint", name}})};
    case FailpointAction::kErrno:
    case FailpointAction::kTorn:
      return {.io = rule->io};
    case FailpointAction::kOn:
      return {.on = true};
  }
  return {};
}

}  // namespace failpoint_internal

void AbortAtFailpoint(Failpoint point) {
  const std::string line = absl::StrCat("failpoint ", InfoOf(point).name, ": abort\n");
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, line.data(), line.size());
  while (true) kill(getpid(), SIGKILL);  // The signal may reach another thread first.
}

absl::Span<const FailpointInfo> AllFailpoints() { return kPoints; }

const FailpointInfo& InfoOf(Failpoint point) { return kPoints[static_cast<size_t>(point)]; }

absl::Status ArmFailpoints(absl::string_view text) {
#ifdef PARAMD_NO_FAILPOINTS
  return MakeError(absl::StatusCode::kFailedPrecondition, "NO_FAILPOINTS", "this program was built without failpoints");
#else
  ASSIGN_OR_RETURN(std::vector<FailpointRule> rules, ParseFailpointRules(text));
  State& state = TheState();
  absl::MutexLock lock(&state.mutex);
  state.rules = std::move(rules);
  for (size_t i = 0; i < kPointCount; ++i) state.counts[i] = {.point = static_cast<Failpoint>(i)};
  failpoint_internal::any_armed.store(!state.rules.empty(), std::memory_order_relaxed);
  return absl::OkStatus();
#endif
}

void DisarmFailpoints() {
#ifndef PARAMD_NO_FAILPOINTS
  State& state = TheState();
  absl::MutexLock lock(&state.mutex);
  failpoint_internal::any_armed.store(false, std::memory_order_relaxed);
  state.rules.clear();
#endif
}

std::vector<FailpointCount> CountFailpoints() {
  State& state = TheState();
  absl::MutexLock lock(&state.mutex);
  std::vector<FailpointCount> counts;
  for (const FailpointCount& count : state.counts) {
    for (const FailpointRule& rule : state.rules) {
      if (!rule.Matches(InfoOf(count.point).name)) continue;
      counts.push_back(count);
      break;
    }
  }
  return counts;
}

}  // namespace paramd
