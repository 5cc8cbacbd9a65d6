// paramctl pause, resume, checkpoint create|list|verify|restore|delete
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/invocation.h"
#include "client/job_text.h"
#include "client/output.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"

namespace paramd {
namespace {

constexpr absl::Duration kPoll = absl::Milliseconds(200);

struct CheckpointFlags {
  std::string job_id;
  uint64_t step = 0;
  bool force = false;
  bool no_wait = false;
  std::string timeout = "10m";
};

std::string CheckpointStateName(v1::CheckpointState state) {
  return v1::CheckpointState_Name(state).substr(sizeof("CHECKPOINT_STATE_") - 1);
}

std::string CheckpointTable(const v1::ListCheckpointsResponse& list, absl::Time now) {
  Table table({"STEP", "STATE", "SIZE", "AGE", "VERIFIED", "DIRECTORY", "MESSAGE"});
  for (const v1::Checkpoint& c : list.checkpoints()) {
    table.AddRow({absl::StrCat(c.step()), CheckpointStateName(c.state()), c.bytes() == 0 ? "-" : ByteCount(c.bytes()),
                  Age(c.create_time(), now), Age(c.verify_time(), now), c.directory(), c.message()});
  }
  return table.ToString();
}

absl::Status Print(const Invocation& invocation, OutputFormat format, const v1::Checkpoint& checkpoint) {
  Environment& environment = invocation.environment;
  if (format != OutputFormat::kTable) return WriteMessage(checkpoint, format, environment.out);
  v1::ListCheckpointsResponse one;
  *one.add_checkpoints() = checkpoint;
  environment.out << CheckpointTable(one, environment.clock.Now()) << std::flush;
  return absl::OkStatus();
}

// Looks at the job's checkpoints until `settled` returns something.
absl::StatusOr<v1::Checkpoint> Await(
    ClusterClient& client, const CheckpointFlags& flags,
    const std::function<std::optional<v1::Checkpoint>(const v1::ListCheckpointsResponse& list)>& settled) {
  ASSIGN_OR_RETURN(const absl::Duration timeout, ParsePositiveDuration("--timeout", flags.timeout));
  const absl::Time deadline = absl::Now() + timeout;
  while (true) {
    ASSIGN_OR_RETURN(const v1::ListCheckpointsResponse list, client.ListCheckpoints(flags.job_id));
    if (std::optional<v1::Checkpoint> checkpoint = settled(list)) return *std::move(checkpoint);
    if (absl::Now() >= deadline) {
      return MakeError(absl::StatusCode::kDeadlineExceeded, "CHECKPOINT_WAIT_TIMEOUT",
                       absl::StrCat("not over after ", flags.timeout, "; paramctl checkpoint list ", flags.job_id));
    }
    absl::SleepFor(kPoll);
  }
}

absl::Status Problem(absl::StatusCode code, absl::string_view reason, const v1::Checkpoint& checkpoint) {
  return MakeError(code, reason, absl::StrCat("checkpoint of step ", checkpoint.step(), ": ", checkpoint.message()));
}

absl::Status Create(const Invocation& invocation, const CheckpointFlags& flags) {
  ASSIGN_OR_RETURN(const OutputFormat format, invocation.options.Format());
  ASSIGN_OR_RETURN(std::unique_ptr<ClusterClient> client, invocation.Connect());
  ASSIGN_OR_RETURN(v1::Checkpoint checkpoint, client->CreateCheckpoint(flags.job_id));
  if (!flags.no_wait) {
    // Its step may change while it waits for its turn; the last entry is the newest, whatever became of it.
    ASSIGN_OR_RETURN(checkpoint, Await(*client, flags, [&](const v1::ListCheckpointsResponse& list) {
                       const bool over = !list.checkpoints().empty() &&
                                         list.checkpoints().rbegin()->step() >= checkpoint.step() &&
                                         list.checkpoints().rbegin()->state() != v1::CHECKPOINT_STATE_WRITING;
                       return over ? std::optional<v1::Checkpoint>(*list.checkpoints().rbegin()) : std::nullopt;
                     }));
  }
  RETURN_IF_ERROR(Print(invocation, format, checkpoint));
  if (checkpoint.state() != v1::CHECKPOINT_STATE_FAILED) return absl::OkStatus();
  return Problem(absl::StatusCode::kUnavailable, "CHECKPOINT_FAILED", checkpoint);
}

absl::Status List(const Invocation& invocation, const CheckpointFlags& flags) {
  ASSIGN_OR_RETURN(const OutputFormat format, invocation.options.Format());
  ASSIGN_OR_RETURN(std::unique_ptr<ClusterClient> client, invocation.Connect());
  ASSIGN_OR_RETURN(const v1::ListCheckpointsResponse list, client->ListCheckpoints(flags.job_id));
  Environment& environment = invocation.environment;
  if (format != OutputFormat::kTable) return WriteMessage(list, format, environment.out);
  environment.out << CheckpointTable(list, environment.clock.Now()) << std::flush;
  return absl::OkStatus();
}

// The checkpoint of `step` once it is not in `state` any more; nothing has step 0 then.
absl::StatusOr<v1::Checkpoint> AwaitNot(ClusterClient& client, const CheckpointFlags& flags, uint64_t step,
                                        v1::CheckpointState state) {
  return Await(client, flags, [&](const v1::ListCheckpointsResponse& list) -> std::optional<v1::Checkpoint> {
    for (const v1::Checkpoint& c : list.checkpoints()) {
      if (c.step() == step && c.state() == state) return std::nullopt;
      if (c.step() == step && c.state() != v1::CHECKPOINT_STATE_FAILED) return c;
    }
    return v1::Checkpoint();
  });
}

absl::Status Verify(const Invocation& invocation, const CheckpointFlags& flags) {
  ASSIGN_OR_RETURN(const OutputFormat format, invocation.options.Format());
  ASSIGN_OR_RETURN(std::unique_ptr<ClusterClient> client, invocation.Connect());
  ASSIGN_OR_RETURN(v1::Checkpoint checkpoint, client->VerifyCheckpoint(flags.job_id, flags.step));
  ASSIGN_OR_RETURN(checkpoint, AwaitNot(*client, flags, checkpoint.step(), v1::CHECKPOINT_STATE_VERIFYING));
  RETURN_IF_ERROR(Print(invocation, format, checkpoint));
  if (checkpoint.state() == v1::CHECKPOINT_STATE_CORRUPT) {
    return Problem(absl::StatusCode::kDataLoss, "CHECKPOINT_INVALID", checkpoint);
  }
  if (checkpoint.message().empty()) return absl::OkStatus();
  return Problem(absl::StatusCode::kUnavailable, "CHECKPOINT_NOT_VERIFIED", checkpoint);
}

absl::Status DeleteOne(const Invocation& invocation, const CheckpointFlags& flags) {
  RETURN_IF_ERROR(invocation.options.Format().status());
  ASSIGN_OR_RETURN(std::unique_ptr<ClusterClient> client, invocation.Connect());
  RETURN_IF_ERROR(client->DeleteCheckpoint(flags.job_id, flags.step, flags.force).status());
  ASSIGN_OR_RETURN(const v1::Checkpoint left, AwaitNot(*client, flags, flags.step, v1::CHECKPOINT_STATE_DELETING));
  if (left.step() != 0) return Problem(absl::StatusCode::kUnavailable, "CHECKPOINT_NOT_DELETED", left);
  invocation.environment.err << "checkpoint of step " << flags.step << " of job " << flags.job_id << " deleted\n";
  return absl::OkStatus();
}

absl::Status PrintJobState(const Invocation& invocation, const v1::Job& job) {
  ASSIGN_OR_RETURN(const OutputFormat format, invocation.options.Format());
  if (format != OutputFormat::kTable) return WriteMessage(job, format, invocation.environment.out);
  invocation.environment.out << "job " << job.job_id() << " " << StateName(job.state()) << " ("
                             << PhaseName(job.phase()) << ")\n"
                             << std::flush;
  return absl::OkStatus();
}

absl::Status Pause(const Invocation& invocation, const CheckpointFlags& flags) {
  RETURN_IF_ERROR(invocation.options.Format().status());
  ASSIGN_OR_RETURN(std::unique_ptr<ClusterClient> client, invocation.Connect());
  ASSIGN_OR_RETURN(const v1::Job job, client->PauseJob(flags.job_id));
  return PrintJobState(invocation, job);
}

absl::Status Resume(const Invocation& invocation, const CheckpointFlags& flags) {
  RETURN_IF_ERROR(invocation.options.Format().status());
  ASSIGN_OR_RETURN(std::unique_ptr<ClusterClient> client, invocation.Connect());
  ASSIGN_OR_RETURN(const v1::Job job, client->ResumeJob(flags.job_id, flags.step));
  return PrintJobState(invocation, job);
}

using Action = absl::Status (*)(const Invocation&, const CheckpointFlags&);

std::pair<CLI::App*, std::shared_ptr<CheckpointFlags>> AddVerb(CLI::App& app, Invocation& invocation,
                                                               const std::string& name, const std::string& help,
                                                               Action action) {
  auto flags = std::make_shared<CheckpointFlags>();
  CLI::App* verb = AddJobVerb(app, name, help, flags->job_id);
  verb->fallthrough();
  verb->callback([flags, action, &invocation] {
    invocation.run = [flags, action, &invocation] { return invocation.Exit(action(invocation, *flags)); };
  });
  return {verb, flags};
}

void AddTimeout(const std::pair<CLI::App*, std::shared_ptr<CheckpointFlags>>& verb) {
  verb.first->add_option("--timeout", verb.second->timeout, "How long to wait for it")->capture_default_str();
}

void AddStep(const std::pair<CLI::App*, std::shared_ptr<CheckpointFlags>>& verb, const char* help, bool required) {
  CLI::Option* step = verb.first->add_option("STEP", verb.second->step, help)->check(CLI::PositiveNumber);
  if (required) step->required();
}

}  // namespace

void AddCheckpointVerbs(CLI::App& app, Invocation& invocation) {
  AddVerb(app, invocation, "pause", "Save a checkpoint and let go of the nodes; resume goes on from it", Pause);
  AddVerb(app, invocation, "resume", "Go on with a PAUSED, FAILED or CANCELLED job from its newest good checkpoint",
          Resume);
  CLI::App* group = app.add_subcommand("checkpoint", "Take, list, verify, restore and delete a job's checkpoints");
  group->require_subcommand(1);
  const auto create = AddVerb(*group, invocation, "create", "Take a checkpoint of a running job", Create);
  create.first->add_flag("--no-wait", create.second->no_wait, "Do not wait until it is on disk");
  AddTimeout(create);
  AddVerb(*group, invocation, "list", "List a job's checkpoints, oldest first", List);
  const auto verify = AddVerb(*group, invocation, "verify", "Have a server read every byte of one", Verify);
  AddStep(verify, "Which; default: the newest", false);
  AddTimeout(verify);
  const auto restore =
      AddVerb(*group, invocation, "restore", "Go on with a job that does not run from this checkpoint", Resume);
  AddStep(restore, "Which; default: the newest good one", false);
  const auto remove = AddVerb(*group, invocation, "delete", "Delete one", DeleteOne);
  AddStep(remove, "Which", true);
  remove.first->add_flag("--force", remove.second->force, "Also the only good one");
  AddTimeout(remove);
}

}  // namespace paramd
