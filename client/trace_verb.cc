// paramctl trace: what a job's nodes do during some steps, for a trace viewer
#include <cstdint>
#include <memory>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/chrome_trace.h"
#include "client/exit_code.h"
#include "client/invocation.h"
#include "client/output.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"

namespace paramd {
namespace {

struct TraceFlags {
  std::string job_id;
  uint32_t steps = 3;
  std::string timeout = "60s";
};

void Summarize(const std::string& job_id, const v1::TraceJobResponse& trace, std::ostream& err) {
  std::set<uint64_t> steps;
  std::set<std::string> nodes;
  for (const v1::TraceSpan& span : trace.spans()) {
    steps.insert(span.step());
    nodes.insert(span.node_id());
  }
  err << "job " << job_id << ": " << trace.spans_size() << " spans of " << nodes.size() << " nodes, steps "
      << *steps.begin() << " to " << *steps.rbegin() << "; look at them at https://ui.perfetto.dev\n";
  if (trace.truncated()) {
    err << "warning: the trace is truncated: a node did not answer or had more spans than it keeps, or there were "
           "fewer steps\n";
  }
  err << std::flush;
}

absl::Status TraceJob(const Invocation& invocation, const TraceFlags& flags) {
  const Environment& environment = invocation.environment;
  ASSIGN_OR_RETURN(OutputFormat format, invocation.options.Format());
  ASSIGN_OR_RETURN(absl::Duration timeout, ParsePositiveDuration("--timeout", flags.timeout));
  if (environment.terminal) {
    return MakeError(absl::StatusCode::kInvalidArgument, "OUTPUT_IS_TERMINAL",
                     absl::StrCat("a trace is for a viewer, not for a terminal: paramctl trace ", flags.job_id,
                                  " --steps ", flags.steps, " > trace.json"));
  }
  ASSIGN_OR_RETURN(std::unique_ptr<ClusterClient> client, invocation.Connect());
  ASSIGN_OR_RETURN(v1::TraceJobResponse trace, client->TraceJob(flags.job_id, flags.steps, timeout));
  if (trace.spans().empty()) return absl::InternalError("the coordinator sent a trace without spans");
  if (format == OutputFormat::kTable) {
    WriteChromeTrace(flags.job_id, trace, environment.out);
  } else {
    RETURN_IF_ERROR(WriteMessage(trace, format, environment.out));
  }
  if (!environment.out.good()) return absl::InternalError("cannot write the trace to the standard output");
  Summarize(flags.job_id, trace, environment.err);
  return absl::OkStatus();
}

}  // namespace

void AddTraceVerb(CLI::App& app, Invocation& invocation) {
  auto flags = std::make_shared<TraceFlags>();
  CLI::App* verb = AddJobVerb(app, "trace", "Record some steps of a running job, for a trace viewer", flags->job_id);
  verb->add_option("--steps", flags->steps, "How many steps")->check(CLI::Range(1, 100))->capture_default_str();
  verb->add_option("--timeout", flags->timeout, "How long to wait for them; what there is then is written")
      ->capture_default_str();
  verb->footer(
      "Writes Chrome's trace event JSON, which https://ui.perfetto.dev loads: a process per node, a thread per lane.\n"
      "With -o json or yaml: the coordinator's answer as it is.\n"
      "Example:\n"
      "  paramctl trace gpt-austen-x3k9qz --steps 3 > trace.json");
  verb->callback([flags, &invocation] {
    invocation.run = [flags, &invocation] { return invocation.Exit(TraceJob(invocation, *flags)); };
  });
}

}  // namespace paramd
