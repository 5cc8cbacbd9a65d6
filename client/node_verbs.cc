// paramctl nodes, version
#include <memory>
#include <string>

#include "client/exit_code.h"
#include "client/invocation.h"
#include "client/job_text.h"
#include "client/output.h"
#include "common/base/status_macros.h"
#include "common/config/version.h"

namespace paramd {
namespace {

absl::Status Nodes(const Invocation& invocation) {
  ASSIGN_OR_RETURN(OutputFormat format, invocation.options.Format());
  ASSIGN_OR_RETURN(std::unique_ptr<ClusterClient> client, invocation.Connect());
  ASSIGN_OR_RETURN(v1::ListNodesResponse nodes, client->ListNodes());
  Environment& environment = invocation.environment;
  if (format != OutputFormat::kTable) return WriteMessage(nodes, format, environment.out);
  environment.out << NodeTable(nodes, environment.clock.Now()) << std::flush;
  return absl::OkStatus();
}

// Says paramctl's version whatever happens; that of the coordinator only if it answers, which decides the exit code.
int Version(const Invocation& invocation, bool client_only) {
  std::ostream& out = invocation.environment.out;
  out << "paramctl " << kVersion << "\n" << std::flush;
  if (client_only) return kExitOk;
  const auto client = invocation.Connect();
  if (!client.ok()) return invocation.Fail(client.status());
  const auto nodes = (*client)->ListNodes();
  if (!nodes.ok()) return invocation.Fail(nodes.status());
  out << "coordinator " << nodes->coordinator_version() << "\n" << std::flush;
  return kExitOk;
}

}  // namespace

void AddNodeVerbs(CLI::App& app, Invocation& invocation) {
  app.add_subcommand("nodes", "List the servers and workers of the cluster")->callback([&invocation] {
    invocation.run = [&invocation] { return invocation.Exit(Nodes(invocation)); };
  });
  auto client_only = std::make_shared<bool>(false);
  CLI::App* version = app.add_subcommand("version", "Show the versions of paramctl and of the coordinator");
  version->add_flag("--client", *client_only, "Only paramctl's; asks nobody");
  version->callback([client_only, &invocation] {
    invocation.run = [client_only, &invocation] { return Version(invocation, *client_only); };
  });
}

}  // namespace paramd
