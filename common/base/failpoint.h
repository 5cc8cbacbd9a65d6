// Failpoints: named places in the code at which a test makes something go wrong in a real process.
//
//   RETURN_IF_ERROR(HitFailpoint(Failpoint::kStoreCommit));      // In the code.
//   PARAMD_FAILPOINTS='store.commit=abort@hit=3' paramd-coordinator ...    # In a test: the third commit kills it.
//
// A point does nothing until a rule names it. Rules come from the environment variable PARAMD_FAILPOINTS, which the
// daemons' main reads once, or from ScopedFailpoints in tests of one process; syntax and list: docs/failpoints.md.
// What a point can do depends on its kind; all but switches can delay, pause and abort (SIGKILL to oneself: nothing is
// flushed, no destructor runs):
//
//   kPass    no more than that
//   kFail    also fail: the place goes on as if this status had come out of what it does
//   kIo      also errno, and torn where bytes are written
//   kSwitch  only on: the place does what its line in the list says
//
// Cost: while nothing is armed, one relaxed load. With PARAMD_NO_FAILPOINTS defined (--config=release) the points
// compile to nothing and arming is an error. The state is the one global of its kind: a point must be reachable from
// code that is handed nothing, such as the file functions.
//
// Thread safe. The points may block: call them without locks held, where a delay is to hurt nobody else.
#ifndef PARAMD_COMMON_BASE_FAILPOINT_H_
#define PARAMD_COMMON_BASE_FAILPOINT_H_

#include <atomic>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace paramd {

enum class Failpoint : int {
#define X(identifier, name, kind, what) identifier,
#include "common/base/failpoint_list.inc"
#undef X
};

enum class FailpointKind { kPass, kFail, kIo, kSwitch };

struct FailpointInfo {
  absl::string_view name;
  FailpointKind kind;
  absl::string_view what;
};

// What a point of kind kIo does. `error` 0: nothing.
struct IoFault {
  int error = 0;       // An errno value.
  size_t bytes = 0;    // Writes: so many bytes reach the file first.
  bool abort = false;  // Writes: the process dies after them.
};

// How often a point that a rule names was passed, and how often a rule made it do something.
struct FailpointCount {
  Failpoint point;
  uint64_t hits = 0;
  uint64_t fired = 0;
};

namespace failpoint_internal {

// What is to happen at a point that cannot delay, pause or abort any more: those have happened.
struct Outcome {
  absl::Status status;
  IoFault io;
  bool on = false;
};

#ifdef PARAMD_NO_FAILPOINTS
constexpr bool armed() { return false; }
#else
inline constinit std::atomic<bool> any_armed{false};
inline bool armed() { return any_armed.load(std::memory_order_relaxed); }
#endif

Outcome Pass(Failpoint point);

}  // namespace failpoint_internal

#ifdef PARAMD_NO_FAILPOINTS
inline constexpr bool kHasFailpoints = false;
#else
inline constexpr bool kHasFailpoints = true;
#endif

// A point of kind kPass.
inline void PassFailpoint(Failpoint point) {
  if (failpoint_internal::armed()) [[unlikely]]
    failpoint_internal::Pass(point);
}

// A point of kind kFail.
inline absl::Status HitFailpoint(Failpoint point) {
  if (!failpoint_internal::armed()) [[likely]]
    return absl::OkStatus();
  return failpoint_internal::Pass(point).status;
}

// A point of kind kIo.
inline IoFault IoFailpoint(Failpoint point) {
  if (!failpoint_internal::armed()) [[likely]]
    return {};
  return failpoint_internal::Pass(point).io;
}

// A point of kind kSwitch.
inline bool SwitchFailpoint(Failpoint point) {
  if (!failpoint_internal::armed()) [[likely]]
    return false;
  return failpoint_internal::Pass(point).on;
}

// Dies as `abort` does: for torn writes, which do something first.
[[noreturn]] void AbortAtFailpoint(Failpoint point);

// All points, in the order of the enumerators.
absl::Span<const FailpointInfo> AllFailpoints();
const FailpointInfo& InfoOf(Failpoint point);

// Replaces all rules by those of `text` and starts counting anew. kInvalidArgument (FAILPOINT_SYNTAX) says what is
// wrong, and lists the known points when one is unknown; kFailedPrecondition (NO_FAILPOINTS) in builds without them.
absl::Status ArmFailpoints(absl::string_view text);
void DisarmFailpoints();

// Of the points that rules name, in the order of the list; empty when nothing is armed.
std::vector<FailpointCount> CountFailpoints();

}  // namespace paramd

#endif  // PARAMD_COMMON_BASE_FAILPOINT_H_
