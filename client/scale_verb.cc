// paramctl scale: how many workers a job is to have.
#include <cstdint>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/invocation.h"
#include "client/output.h"
#include "common/base/status_macros.h"

namespace paramd {
namespace {

struct ScaleFlags {
  std::string job_id;
  uint32_t workers = 0;
};

absl::Status Scale(const Invocation& invocation, const ScaleFlags& flags) {
  ASSIGN_OR_RETURN(const OutputFormat format, invocation.options.Format());
  ASSIGN_OR_RETURN(std::unique_ptr<ClusterClient> client, invocation.Connect());
  ASSIGN_OR_RETURN(const v1::Job job, client->ScaleJob(flags.job_id, flags.workers));
  Environment& environment = invocation.environment;
  if (format != OutputFormat::kTable) return WriteMessage(job, format, environment.out);
  environment.out << absl::StrCat("job ", job.job_id(), " is to have ", flags.workers, " workers; it has ",
                                  job.placement().workers_size(), "\n")
                  << std::flush;
  return absl::OkStatus();
}

}  // namespace

void AddScaleVerb(CLI::App& app, Invocation& invocation) {
  auto flags = std::make_shared<ScaleFlags>();
  CLI::App* verb = AddJobVerb(app, "scale", "Change how many workers a job has, while it trains", flags->job_id);
  verb->add_option("--workers", flags->workers, "1 to the job's slots")->required();
  verb->callback([flags, &invocation] {
    invocation.run = [flags, &invocation] { return invocation.Exit(Scale(invocation, *flags)); };
  });
}

}  // namespace paramd
