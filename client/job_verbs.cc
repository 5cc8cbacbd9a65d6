// paramctl get, list, describe, events, cancel, delete
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/follow.h"
#include "client/invocation.h"
#include "client/job_text.h"
#include "client/output.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"

namespace paramd {
namespace {

absl::Status PrintJob(const Invocation& invocation, const v1::Job& job) {
  ASSIGN_OR_RETURN(OutputFormat format, invocation.options.Format());
  Environment& environment = invocation.environment;
  if (format != OutputFormat::kTable) return WriteMessage(job, format, environment.out);
  environment.out << JobTable({job}, environment.clock.Now()) << std::flush;
  return absl::OkStatus();
}

absl::Status Get(const Invocation& invocation, const std::string& job_id) {
  RETURN_IF_ERROR(invocation.options.Format().status());
  ASSIGN_OR_RETURN(std::unique_ptr<ClusterClient> client, invocation.Connect());
  ASSIGN_OR_RETURN(v1::Job job, client->GetJob(job_id));
  return PrintJob(invocation, job);
}

absl::StatusOr<std::vector<v1::JobState>> ParseStates(const std::vector<std::string>& names) {
  std::vector<v1::JobState> states;
  for (const std::string& name : names) {
    v1::JobState state;
    if (!v1::JobState_Parse(absl::StrCat("JOB_STATE_", absl::AsciiStrToUpper(name)), &state)) {
      return MakeError(absl::StatusCode::kInvalidArgument, "BAD_FLAG",
                       absl::StrCat("--state: must be pending, running, paused, succeeded, failed or cancelled, got \"",
                                    name, "\""));
    }
    states.push_back(state);
  }
  return states;
}

absl::Status List(const Invocation& invocation, const std::vector<std::string>& state_names) {
  ASSIGN_OR_RETURN(OutputFormat format, invocation.options.Format());
  ASSIGN_OR_RETURN(std::vector<v1::JobState> states, ParseStates(state_names));
  ASSIGN_OR_RETURN(std::unique_ptr<ClusterClient> client, invocation.Connect());
  ASSIGN_OR_RETURN(v1::ListJobsResponse response, client->ListJobs(states));
  Environment& environment = invocation.environment;
  if (format != OutputFormat::kTable) return WriteMessage(response, format, environment.out);
  environment.out << JobTable({response.jobs().begin(), response.jobs().end()}, environment.clock.Now()) << std::flush;
  return absl::OkStatus();
}

// The job and all its events up to now.
struct JobHistory {
  v1::Job job;
  std::vector<v1::JobEvent> events;
};

absl::StatusOr<JobHistory> ReadHistory(const Invocation& invocation, ClusterClient& client, const std::string& job_id) {
  JobHistory history;
  ASSIGN_OR_RETURN(history.job, client.GetJob(job_id));
  const uint64_t last = history.job.last_event_sequence();
  if (last == 0) return history;
  ASSIGN_OR_RETURN(absl::Duration timeout, invocation.options.RequestTimeout());
  const FollowOptions options{.job_id = job_id, .deadline = absl::Now() + timeout};
  ASSIGN_OR_RETURN(FollowEnd end,
                   FollowJob(client, options, invocation.environment, [&](const v1::WatchJobResponse& update) {
                     if (update.has_event()) history.events.push_back(update.event());
                     return !update.has_event() || update.event().sequence() < last;
                   }));
  if (end != FollowEnd::kTimedOut) return history;
  return MakeError(absl::StatusCode::kUnavailable, "COORDINATOR_UNREACHABLE",
                   absl::StrCat("cannot reach the coordinator at ", client.address(),
                                ": the job's events did not come within ", absl::FormatDuration(timeout)));
}

absl::Status DescribeJob(const Invocation& invocation, const std::string& job_id) {
  ASSIGN_OR_RETURN(OutputFormat format, invocation.options.Format());
  ASSIGN_OR_RETURN(std::unique_ptr<ClusterClient> client, invocation.Connect());
  if (format != OutputFormat::kTable) {
    ASSIGN_OR_RETURN(v1::Job job, client->GetJob(job_id));
    return PrintJob(invocation, job);
  }
  ASSIGN_OR_RETURN(JobHistory history, ReadHistory(invocation, *client, job_id));
  Environment& environment = invocation.environment;
  environment.out << Describe(history.job, history.events, environment.clock.Now(), absl::LocalTimeZone())
                  << std::flush;
  return absl::OkStatus();
}

absl::Status Events(const Invocation& invocation, const std::string& job_id) {
  ASSIGN_OR_RETURN(OutputFormat format, invocation.options.Format());
  ASSIGN_OR_RETURN(std::unique_ptr<ClusterClient> client, invocation.Connect());
  ASSIGN_OR_RETURN(JobHistory history, ReadHistory(invocation, *client, job_id));
  std::ostream& out = invocation.environment.out;
  for (const v1::JobEvent& event : history.events) {
    if (format == OutputFormat::kTable) {
      out << EventLine(event, absl::LocalTimeZone()) << "\n";
    } else {
      RETURN_IF_ERROR(WriteStreamMessage(event, format, out));
    }
  }
  out << std::flush;
  return absl::OkStatus();
}

absl::Status Cancel(const Invocation& invocation, const std::string& job_id, bool save) {
  ASSIGN_OR_RETURN(OutputFormat format, invocation.options.Format());
  ASSIGN_OR_RETURN(std::unique_ptr<ClusterClient> client, invocation.Connect());
  ASSIGN_OR_RETURN(v1::Job job, client->CancelJob(job_id, save));
  if (format != OutputFormat::kTable) return PrintJob(invocation, job);
  invocation.environment.out << "job " << job.job_id() << " " << StateName(job.state()) << " ("
                             << PhaseName(job.phase()) << ")\n"
                             << std::flush;
  return absl::OkStatus();
}

absl::Status Delete(const Invocation& invocation, const std::string& job_id) {
  RETURN_IF_ERROR(invocation.options.Format().status());
  ASSIGN_OR_RETURN(std::unique_ptr<ClusterClient> client, invocation.Connect());
  RETURN_IF_ERROR(client->DeleteJob(job_id));
  invocation.environment.err << "job " << job_id << " deleted\n";
  return absl::OkStatus();
}

void AddSimpleVerb(CLI::App& app, Invocation& invocation, const std::string& name, const std::string& help,
                   absl::Status (*action)(const Invocation&, const std::string&)) {
  auto job_id = std::make_shared<std::string>();
  AddJobVerb(app, name, help, *job_id)->callback([job_id, action, &invocation] {
    invocation.run = [job_id, action, &invocation] { return invocation.Exit(action(invocation, *job_id)); };
  });
}

void AddListVerb(CLI::App& app, Invocation& invocation) {
  auto states = std::make_shared<std::vector<std::string>>();
  CLI::App* verb = app.add_subcommand("list", "List jobs, newest first");
  verb->add_option("--state", *states, "Only jobs in this state (repeatable, or with commas)")->delimiter(',');
  verb->callback([states, &invocation] {
    invocation.run = [states, &invocation] { return invocation.Exit(List(invocation, *states)); };
  });
}

void AddCancelVerb(CLI::App& app, Invocation& invocation) {
  auto job_id = std::make_shared<std::string>();
  auto save = std::make_shared<bool>(false);
  CLI::App* verb = AddJobVerb(app, "cancel", "End a job", *job_id);
  verb->add_flag("--save", *save, "Save the weights at a step that all workers reach, then end");
  verb->callback([job_id, save, &invocation] {
    invocation.run = [job_id, save, &invocation] { return invocation.Exit(Cancel(invocation, *job_id, *save)); };
  });
}

}  // namespace

void AddJobVerbs(CLI::App& app, Invocation& invocation) {
  AddSimpleVerb(app, invocation, "get", "Show a job in one line, or with -o json in full", Get);
  AddListVerb(app, invocation);
  AddSimpleVerb(app, invocation, "describe", "Show all about a job, its events last", DescribeJob);
  AddSimpleVerb(app, invocation, "events", "Show a job's events", Events);
  AddCancelVerb(app, invocation);
  AddSimpleVerb(app, invocation, "delete", "Forget a job that is over; its output directory stays", Delete);
}

}  // namespace paramd
