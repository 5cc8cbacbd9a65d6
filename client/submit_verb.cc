// paramctl submit
#include <fstream>
#include <iterator>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/exit_code.h"
#include "client/invocation.h"
#include "client/job_text.h"
#include "client/output.h"
#include "client/spec_overrides.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"
#include "common/config/job_spec.h"

namespace paramd {
namespace {

struct SubmitFlags {
  std::string file;
  std::vector<std::string> overrides;
  std::string request_id;
  std::string job_id;
  std::string restore_from;
  bool watch = false;
  bool validate_only = false;
};

absl::StatusOr<std::string> ReadAll(const std::string& path, std::istream& standard_input) {
  std::ostringstream text;
  if (path == "-") {
    text << standard_input.rdbuf();
    return text.str();
  }
  std::ifstream file(path);
  if (file) text << file.rdbuf();
  if (!file) {
    return MakeError(absl::StatusCode::kInvalidArgument, "BAD_FILE", absl::StrCat("cannot read ", path));
  }
  return text.str();
}

absl::StatusOr<v1::SubmitJobRequest> MakeRequest(const SubmitFlags& flags, std::istream& standard_input) {
  ASSIGN_OR_RETURN(std::string text, ReadAll(flags.file, standard_input));
  ASSIGN_OR_RETURN(text, ApplyOverrides(text, flags.overrides));
  v1::SubmitJobRequest request;
  absl::StatusOr<v1::JobSpec> spec = ParseJobSpec(text);
  if (!spec.ok()) return Annotate(spec.status(), flags.file == "-" ? "standard input" : flags.file);
  *request.mutable_spec() = *std::move(spec);
  request.set_request_id(flags.request_id);
  request.set_job_id(flags.job_id);
  request.set_restore_from(flags.restore_from);
  request.set_validate_only(flags.validate_only);
  return request;
}

absl::Status PrintValidated(const Invocation& invocation, OutputFormat format, const v1::SubmitJobResponse& response) {
  std::ostream& out = invocation.environment.out;
  if (format != OutputFormat::kTable) return WriteMessage(response.job(), format, out);
  out << "valid: " << response.job().parameters() << " parameters\n"
      << JobSpecToYaml(response.job().spec()) << std::flush;
  return absl::OkStatus();
}

absl::Status PrintSubmitted(const Invocation& invocation, OutputFormat format, const v1::SubmitJobResponse& response,
                            bool watch) {
  const v1::Job& job = response.job();
  if (format == OutputFormat::kTable) {
    invocation.environment.out << "job " << job.job_id()
                               << (response.already_existed() ? " existed already" : " submitted") << "\n"
                               << std::flush;
  } else if (!watch) {
    RETURN_IF_ERROR(WriteMessage(job, format, invocation.environment.out));
  }
  if (!watch && format == OutputFormat::kTable) {
    invocation.environment.err << "next: paramctl watch " << job.job_id() << "    paramctl describe " << job.job_id()
                               << "    paramctl cancel " << job.job_id() << "\n";
  }
  return absl::OkStatus();
}

int Submit(const Invocation& invocation, const SubmitFlags& flags) {
  const auto format = invocation.options.Format();
  if (!format.ok()) return invocation.Fail(format.status());
  auto client = invocation.Connect();
  if (!client.ok()) return invocation.Fail(client.status());
  auto request = MakeRequest(flags, invocation.environment.in);
  if (!request.ok()) return invocation.Fail(request.status());
  auto response = (*client)->SubmitJob(*request);
  if (!response.ok()) return invocation.Fail(response.status());
  if (flags.validate_only) return invocation.Exit(PrintValidated(invocation, *format, *response));
  const absl::Status printed = PrintSubmitted(invocation, *format, *response, flags.watch);
  if (!printed.ok() || !flags.watch) return invocation.Exit(printed);
  return WatchAndReport(invocation, **client, response->job().job_id());
}

}  // namespace

void AddSubmitVerb(CLI::App& app, Invocation& invocation) {
  auto flags = std::make_shared<SubmitFlags>();
  CLI::App* verb = app.add_subcommand("submit", "Submit a job from a YAML or JSON specification");
  verb->add_option("-f,--file", flags->file, "The specification; - reads standard input")->required();
  verb->add_option("--set", flags->overrides, "Change a field: path=value, as in training.steps=100 (repeatable)")
      ->take_all()
      ->expected(1)
      ->allow_extra_args(false);
  verb->add_option("--request-id", flags->request_id, "Submitting again with the same id returns the first job");
  verb->add_option("--job-id", flags->job_id, "The job's id; default: NAME-XXXXXX");
  verb->add_option("--restore-from", flags->restore_from,
                   "Start from a checkpoint: its directory, or the output directory of a job with checkpoints, as the "
                   "servers see it");
  CLI::Option* watch = verb->add_flag("--watch,-w", flags->watch, "Follow the job until it is over");
  verb->add_flag("--validate-only", flags->validate_only, "Check it and show it with all defaults; submit nothing")
      ->excludes(watch);
  verb->callback(
      [flags, &invocation] { invocation.run = [flags, &invocation] { return Submit(invocation, *flags); }; });
}

}  // namespace paramd
