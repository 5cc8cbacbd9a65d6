#include "client/invocation.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "client/exit_code.h"
#include "common/base/status_macros.h"
#include "common/rpc/coordinator_choice.h"

namespace paramd {

absl::StatusOr<std::unique_ptr<ClusterClient>> Invocation::Connect() const {
  ASSIGN_OR_RETURN(const std::string address, options.Coordinator(environment));
  RETURN_IF_ERROR(ParseCoordinatorList(address).status());
  ASSIGN_OR_RETURN(absl::Duration timeout, options.RequestTimeout());
  ASSIGN_OR_RETURN(const TlsOptions tls, options.Tls(environment));
  ASSIGN_OR_RETURN(std::shared_ptr<const Credentials> credentials, Credentials::Load(tls));
  return std::make_unique<ClusterClient>(address, timeout, std::move(credentials));
}

int Invocation::Fail(const absl::Status& status) const {
  environment.err << "error: " << std::string(status.message()) << "\n" << std::flush;
  return ExitCodeForStatus(status);
}

int Invocation::Exit(const absl::Status& status) const { return status.ok() ? kExitOk : Fail(status); }

CLI::App* AddJobVerb(CLI::App& app, const std::string& name, const std::string& help, std::string& job_id) {
  CLI::App* verb = app.add_subcommand(name, help);
  verb->add_option("JOB", job_id, "The job's id")->required();
  return verb;
}

}  // namespace paramd
