// paramctl generate: text from a job's saved model, by a worker of the cluster
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/exit_code.h"
#include "client/invocation.h"
#include "client/job_text.h"
#include "client/output.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"
#include "common/rpc/call.h"
#include "common/rpc/channel.h"
#include "common/rpc/error_status.h"
#include "proto/inference.grpc.pb.h"

namespace paramd {
namespace {

struct GenerateFlags {
  std::string job_id;
  std::string prompt = "\n";
  uint32_t tokens = 200;
  float temperature = 0.8f;
  uint32_t top_k = 0;
  uint64_t seed = 1;
  std::string timeout = "5m";
};

v1::GenerateRequest MakeRequest(const GenerateFlags& flags, const std::string& model_directory) {
  v1::GenerateRequest request;
  request.set_model_directory(model_directory);
  request.set_prompt(flags.prompt);
  request.set_max_tokens(flags.tokens);
  request.set_temperature(flags.temperature);
  request.set_top_k(flags.top_k);
  request.set_seed(flags.seed);
  return request;
}

absl::StatusOr<std::string> ModelDirectory(ClusterClient& client, const std::string& job_id) {
  ASSIGN_OR_RETURN(v1::Job job, client.GetJob(job_id));
  if (!job.output_directory().empty()) return job.output_directory();
  return MakeError(absl::StatusCode::kFailedPrecondition, "NO_SAVED_WEIGHTS",
                   absl::StrCat("job ", job_id, " has no saved weights: it is ", StateName(job.state())));
}

absl::StatusOr<std::vector<v1::Node>> ReadyWorkers(ClusterClient& client) {
  ASSIGN_OR_RETURN(v1::ListNodesResponse nodes, client.ListNodes());
  std::vector<v1::Node> workers;
  for (const v1::Node& node : nodes.nodes()) {
    if (node.role() == v1::NODE_ROLE_WORKER && node.state() == v1::NODE_STATE_READY) workers.push_back(node);
  }
  if (!workers.empty()) return workers;
  return MakeError(absl::StatusCode::kUnavailable, "NO_WORKER", "no worker of the cluster is READY");
}

// Where the text goes, and whether any of it has come.
struct TextSink {
  OutputFormat format;
  std::ostream& out;
  bool started = false;
};

absl::Status GenerateOn(const v1::Node& worker, const ChannelOptions& channel, const v1::GenerateRequest& request,
                        absl::Time deadline, TextSink& sink) {
  const auto stub = v1::InferenceService::NewStub(CreateChannel(worker.address(), channel));
  grpc::ClientContext context;
  PrepareCall({.timeout = deadline - absl::Now()}, context);
  const auto reader = stub->Generate(&context, request);
  v1::GenerateResponse piece;
  while (reader->Read(&piece)) {
    sink.started = true;
    if (sink.format == OutputFormat::kTable) {
      sink.out << piece.text() << std::flush;
    } else {
      RETURN_IF_ERROR(WriteStreamMessage(piece, sink.format, sink.out));
    }
  }
  if (sink.started && sink.format == OutputFormat::kTable) sink.out << "\n" << std::flush;
  return Annotate(FromGrpcStatus(reader->Finish()),
                  absl::StrCat("worker ", worker.node_id(), " at ", worker.address()));
}

absl::Status Generate(const Invocation& invocation, const GenerateFlags& flags) {
  ASSIGN_OR_RETURN(OutputFormat format, invocation.options.Format());
  ASSIGN_OR_RETURN(absl::Duration timeout, ParsePositiveDuration("--timeout", flags.timeout));
  const absl::Time deadline = absl::Now() + timeout;
  ASSIGN_OR_RETURN(std::unique_ptr<ClusterClient> client, invocation.Connect());
  ASSIGN_OR_RETURN(std::string directory, ModelDirectory(*client, flags.job_id));
  ASSIGN_OR_RETURN(std::vector<v1::Node> workers, ReadyWorkers(*client));
  const v1::GenerateRequest request = MakeRequest(flags, directory);
  absl::Status status;
  for (const v1::Node& worker : workers) {
    TextSink sink{.format = format, .out = invocation.environment.out};
    status = GenerateOn(worker, {.credentials = client->credentials()}, request, deadline, sink);
    if (sink.started || status.code() != absl::StatusCode::kUnavailable) return status;
  }
  return status;
}

}  // namespace

void AddGenerateVerb(CLI::App& app, Invocation& invocation) {
  auto flags = std::make_shared<GenerateFlags>();
  CLI::App* verb = AddJobVerb(app, "generate", "Continue a prompt with a job's saved language model", flags->job_id);
  verb->add_option("--prompt", flags->prompt, "Text to continue (default: a newline)");
  verb->add_option("--tokens", flags->tokens, "How many tokens")->check(CLI::Range(1, 65536))->capture_default_str();
  verb->add_option("--temperature", flags->temperature, "0 takes the likeliest token each time")
      ->check(CLI::Range(0.0f, 1000.0f))
      ->capture_default_str();
  verb->add_option("--top-k", flags->top_k, "Choose among the k likeliest; 0: all")->capture_default_str();
  verb->add_option("--seed", flags->seed, "The same seed gives the same text")->capture_default_str();
  verb->add_option("--timeout", flags->timeout, "How long to wait for the whole text")->capture_default_str();
  verb->callback([flags, &invocation] {
    invocation.run = [flags, &invocation] { return invocation.Exit(Generate(invocation, *flags)); };
  });
}

}  // namespace paramd
