// paramctl watch, wait; and the watching half of submit
#include <memory>
#include <optional>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "client/exit_code.h"
#include "client/follow.h"
#include "client/invocation.h"
#include "client/job_text.h"
#include "client/output.h"
#include "client/progress.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"

namespace paramd {
namespace {

int Detached(const Environment& environment, const std::string& job_id) {
  environment.err << "detached; the job goes on. Follow it again: paramctl watch " << job_id
                  << "    End it: paramctl cancel " << job_id << "\n"
                  << std::flush;
  return kExitInterrupted;
}

ProgressOptions ScreenOptions(const Environment& environment) {
  return {.terminal = environment.terminal,
          .color = environment.terminal && environment.variable("NO_COLOR").empty(),
          .width = environment.width,
          .zone = absl::LocalTimeZone()};
}

int WatchOnScreen(const Invocation& invocation, ClusterClient& client, const std::string& job_id) {
  Environment& environment = invocation.environment;
  Progress progress(ScreenOptions(environment), environment.clock, environment.out);
  v1::Job last;
  const auto end = FollowJob(client, {.job_id = job_id}, environment, [&](const v1::WatchJobResponse& update) {
    if (update.has_event()) {
      progress.OnEvent(update.event());
    } else if (update.has_job()) {
      last = update.job();
      progress.OnJob(last);
    }
    return true;
  });
  if (!end.ok() || *end == FollowEnd::kInterrupted) progress.Detach();
  if (!end.ok()) return invocation.Fail(end.status());
  if (*end == FollowEnd::kInterrupted) return Detached(environment, job_id);
  progress.Finish(last);
  return ExitCodeForState(last.state());
}

int WatchAsMessages(const Invocation& invocation, ClusterClient& client, const std::string& job_id,
                    OutputFormat format) {
  Environment& environment = invocation.environment;
  v1::JobState state = v1::JOB_STATE_UNSPECIFIED;
  absl::Status written;
  const auto end = FollowJob(client, {.job_id = job_id}, environment, [&](const v1::WatchJobResponse& update) {
    if (update.has_job()) state = update.job().state();
    written = WriteStreamMessage(update, format, environment.out);
    return written.ok();
  });
  if (!end.ok()) return invocation.Fail(end.status());
  if (!written.ok()) return invocation.Fail(written);
  if (*end == FollowEnd::kInterrupted) return Detached(environment, job_id);
  return ExitCodeForState(state);
}

int Watch(const Invocation& invocation, const std::string& job_id) {
  const auto client = invocation.Connect();
  if (!client.ok()) return invocation.Fail(client.status());
  return WatchAndReport(invocation, **client, job_id);
}

// "state=SUCCEEDED"
absl::StatusOr<v1::JobState> ParseCondition(const std::string& condition) {
  v1::JobState state = v1::JOB_STATE_UNSPECIFIED;
  absl::string_view name = condition;
  const bool parsed = absl::ConsumePrefix(&name, "state=") &&
                      v1::JobState_Parse(absl::StrCat("JOB_STATE_", absl::AsciiStrToUpper(name)), &state);
  if (parsed && state != v1::JOB_STATE_UNSPECIFIED) return state;
  return MakeError(absl::StatusCode::kInvalidArgument, "BAD_FLAG",
                   absl::StrCat("--for: must be state=STATE as in state=SUCCEEDED, got \"", condition, "\""));
}

struct WaitFlags {
  std::string job_id;
  std::string condition = "state=SUCCEEDED";
  std::string timeout = "1h";
};

// The exit code when the job's state settles the question, else nothing.
std::optional<int> Verdict(const Environment& environment, const v1::Job& job, v1::JobState wanted) {
  if (job.state() != wanted && !IsTerminal(job.state())) return std::nullopt;
  (job.state() == wanted ? environment.out : environment.err) << Summary(job) << std::flush;
  if (job.state() == wanted) return kExitOk;
  const int code = ExitCodeForState(job.state());
  return code == kExitOk ? kExitConflict : code;  // SUCCEEDED, but something else was waited for.
}

int WaitFor(const Invocation& invocation, const WaitFlags& flags) {
  const auto wanted = ParseCondition(flags.condition);
  if (!wanted.ok()) return invocation.Fail(wanted.status());
  const auto timeout = ParsePositiveDuration("--timeout", flags.timeout);
  if (!timeout.ok()) return invocation.Fail(timeout.status());
  const auto client = invocation.Connect();
  if (!client.ok()) return invocation.Fail(client.status());
  Environment& environment = invocation.environment;
  std::optional<int> verdict;
  const FollowOptions options{.job_id = flags.job_id, .deadline = absl::Now() + *timeout};
  const auto end = FollowJob(**client, options, environment, [&](const v1::WatchJobResponse& update) {
    if (update.has_job()) verdict = Verdict(environment, update.job(), *wanted);
    return !verdict.has_value();
  });
  if (!end.ok()) return invocation.Fail(end.status());
  if (verdict.has_value()) return *verdict;
  if (*end == FollowEnd::kInterrupted) return Detached(environment, flags.job_id);
  environment.err << "error: job " << flags.job_id << " did not reach " << StateName(*wanted) << " within "
                  << absl::FormatDuration(*timeout) << "\n"
                  << std::flush;
  return kExitTimeout;
}

}  // namespace

int WatchAndReport(const Invocation& invocation, ClusterClient& client, const std::string& job_id) {
  const auto format = invocation.options.Format();
  if (!format.ok()) return invocation.Fail(format.status());
  if (*format == OutputFormat::kTable) return WatchOnScreen(invocation, client, job_id);
  return WatchAsMessages(invocation, client, job_id, *format);
}

void AddWatchVerbs(CLI::App& app, Invocation& invocation) {
  auto job_id = std::make_shared<std::string>();
  AddJobVerb(app, "watch", "Follow a job until it is over", *job_id)->callback([job_id, &invocation] {
    invocation.run = [job_id, &invocation] { return Watch(invocation, *job_id); };
  });
  auto flags = std::make_shared<WaitFlags>();
  CLI::App* wait = AddJobVerb(app, "wait", "Wait for a state of a job", flags->job_id);
  wait->add_option("--for", flags->condition, "state=STATE")->capture_default_str();
  wait->add_option("--timeout", flags->timeout, "How long, as in 90s or 2h")->capture_default_str();
  wait->callback(
      [flags, &invocation] { invocation.run = [flags, &invocation] { return WaitFor(invocation, *flags); }; });
}

}  // namespace paramd
