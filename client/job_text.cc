#include "client/job_text.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "client/exit_code.h"
#include "client/output.h"
#include "common/config/job_spec.h"

namespace paramd {
namespace {

// "JOB_STATE_RUNNING" without "JOB_STATE_"; numbers this build does not know stay numbers.
std::string WithoutPrefix(const std::string& name, absl::string_view prefix, int number) {
  if (name.empty()) return absl::StrCat(number);
  return std::string(absl::StripPrefix(name, prefix));
}

absl::Time ToTime(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
}

std::string TimeText(const google::protobuf::Timestamp& time, absl::TimeZone zone) {
  if (time.seconds() == 0) return "-";
  return absl::FormatTime("%Y-%m-%d %H:%M:%S %z", ToTime(time), zone);
}

std::string StepText(const v1::JobProgress& progress) {
  return absl::StrCat(progress.step(), "/", progress.total_steps());
}

std::string LossText(const v1::JobProgress& progress) {
  return progress.step() == 0 ? "-" : absl::StrFormat("%.4f", progress.loss());
}

std::string ValidationLossText(const v1::JobProgress& progress) {
  return progress.has_validation_loss() ? absl::StrFormat("%.4f", progress.validation_loss()) : "-";
}

std::string RateText(const v1::Job& job) {
  if (job.progress().tokens_per_second() <= 0) return "-";
  return absl::StrFormat("%.0f %s/s", job.progress().tokens_per_second(), ThroughputUnit(job));
}

void AddLine(std::string& text, const std::string& key, const std::string& value) {
  if (!value.empty()) absl::StrAppend(&text, absl::StrFormat("%-17s %s\n", absl::StrCat(key, ":"), value));
}

void AddProgress(std::string& text, const v1::Job& job) {
  const v1::JobProgress& progress = job.progress();
  AddLine(text, "Step", StepText(progress));
  AddLine(text, "Loss",
          absl::StrCat(LossText(progress), " (first ", absl::StrFormat("%.4f", progress.first_loss()), ")"));
  if (progress.has_validation_loss()) {
    AddLine(text, "Validation loss",
            absl::StrCat(ValidationLossText(progress), " at step ", progress.validation_step()));
  }
  if (progress.has_validation_accuracy()) {
    AddLine(text, "Accuracy", absl::StrFormat("%.2f %%", 100 * progress.validation_accuracy()));
  }
  AddLine(text, "Rate", RateText(job));
  AddLine(text, "Learning rate", absl::StrFormat("%.6g", progress.learning_rate()));
  if (progress.gradient_norm() > 0) AddLine(text, "Gradient norm", absl::StrFormat("%.4g", progress.gradient_norm()));
  if (progress.non_finite_skipped() > 0)
    AddLine(text, "Non-finite", absl::StrCat(progress.non_finite_skipped(), " skipped"));
}

void AddPlacement(std::string& text, const v1::Placement& placement) {
  for (const v1::ServerPlacement& server : placement.servers()) {
    AddLine(text, "Server",
            absl::StrCat(server.node_id(), " at ", server.address(), ", ", ByteCount(server.memory_bytes())));
  }
  for (const v1::WorkerPlacement& worker : placement.workers()) {
    AddLine(text, "Worker",
            absl::StrCat(worker.node_id(), ", slots ", worker.first_slot(), " to ",
                         worker.first_slot() + worker.slot_count() - 1));
  }
}

std::string Indented(const std::string& block) {
  std::string text;
  for (absl::string_view line : absl::StrSplit(absl::StripTrailingAsciiWhitespace(block), '\n')) {
    absl::StrAppend(&text, "  ", line, "\n");
  }
  return text;
}

}  // namespace

std::string StateName(v1::JobState state) { return WithoutPrefix(v1::JobState_Name(state), "JOB_STATE_", state); }

std::string PhaseName(v1::JobPhase phase) { return WithoutPrefix(v1::JobPhase_Name(phase), "JOB_PHASE_", phase); }

std::string Age(const google::protobuf::Timestamp& time, absl::Time now) {
  if (time.seconds() == 0) return "-";
  const int64_t seconds = std::max<int64_t>(0, absl::ToInt64Seconds(now - ToTime(time)));
  if (seconds < 120) return absl::StrCat(seconds, "s");
  if (seconds < 120 * 60) return absl::StrCat(seconds / 60, "m");
  if (seconds < 48 * 3600) return absl::StrCat(seconds / 3600, "h");
  return absl::StrCat(seconds / 86400, "d");
}

std::string ShortDuration(absl::Duration duration) {
  const int64_t seconds = std::max<int64_t>(0, absl::ToInt64Seconds(duration + absl::Milliseconds(500)));
  if (seconds < 60) return absl::StrCat(seconds, "s");
  if (seconds < 3600) return absl::StrFormat("%dm%02ds", seconds / 60, seconds % 60);
  return absl::StrFormat("%dh%02dm", seconds / 3600, seconds / 60 % 60);
}

std::string ByteCount(uint64_t bytes) {
  static constexpr const char* kUnits[] = {"KiB", "MiB", "GiB", "TiB"};
  if (bytes < 1024) return absl::StrCat(bytes, " B");
  double value = static_cast<double>(bytes) / 1024;
  int unit = 0;
  for (; value >= 1024 && unit < 3; ++unit) value /= 1024;
  return absl::StrFormat("%.1f %s", value, kUnits[unit]);
}

std::string ThroughputUnit(const v1::Job& job) { return job.spec().model().has_mlp() ? "samples" : "tokens"; }

std::string JobTable(const std::vector<v1::Job>& jobs, absl::Time now) {
  Table table({"JOB", "STATE", "PHASE", "STEP", "LOSS", "VAL_LOSS", "RATE", "AGE"});
  for (const v1::Job& job : jobs) {
    const v1::JobProgress& progress = job.progress();
    table.AddRow({job.job_id(), StateName(job.state()), PhaseName(job.phase()), StepText(progress), LossText(progress),
                  ValidationLossText(progress), RateText(job), Age(job.create_time(), now)});
  }
  return table.ToString();
}

std::string NodeTable(const v1::ListNodesResponse& nodes, absl::Time now) {
  Table table({"NODE", "ROLE", "STATE", "ADDRESS", "METRICS", "JOBS", "MEMORY", "DEVICE", "VERSION", "HEARTBEAT"});
  for (const v1::Node& node : nodes.nodes()) {
    const bool server = node.role() == v1::NODE_ROLE_SERVER;
    const std::string memory =
        server ? absl::StrCat(ByteCount(node.memory_reserved_bytes()), " of ", ByteCount(node.memory_limit_bytes()))
               : "-";
    table.AddRow({node.node_id(), WithoutPrefix(v1::NodeRole_Name(node.role()), "NODE_ROLE_", node.role()),
                  WithoutPrefix(v1::NodeState_Name(node.state()), "NODE_STATE_", node.state()), node.address(),
                  node.metrics_address(), absl::StrCat(node.jobs_size()), memory,
                  node.device().empty() ? "-" : node.device(), node.version(), Age(node.last_heartbeat_time(), now)});
  }
  return table.ToString();
}

std::string EventLine(const v1::JobEvent& event, absl::TimeZone zone) {
  return absl::StrFormat("%s %s %-20s %s", absl::FormatTime("%H:%M:%S", ToTime(event.time()), zone),
                         event.warning() ? "!" : " ", event.reason(), event.message());
}

std::string Describe(const v1::Job& job, const std::vector<v1::JobEvent>& events, absl::Time now, absl::TimeZone zone) {
  std::string text;
  AddLine(text, "Job", job.job_id());
  AddLine(text, "State", absl::StrCat(StateName(job.state()), " (", PhaseName(job.phase()), ")"));
  AddLine(text, "Reason", job.reason());
  AddLine(text, "Message", job.message());
  AddLine(text, "Created", absl::StrCat(TimeText(job.create_time(), zone), " (", Age(job.create_time(), now), " ago)"));
  AddLine(text, "Started", TimeText(job.start_time(), zone));
  AddLine(text, "Ended", TimeText(job.end_time(), zone));
  AddLine(text, "Request id", job.request_id());
  AddLine(text, "Generation", absl::StrCat(job.generation()));
  AddLine(text, "Parameters", absl::StrCat(job.parameters()));
  AddProgress(text, job);
  AddPlacement(text, job.placement());
  AddLine(text, "Output", job.output_directory());
  AddLine(text, "Weights SHA-256", job.final_weights_sha256());
  if (!job.sample_text().empty()) absl::StrAppend(&text, "Sample:\n", Indented(job.sample_text()));
  absl::StrAppend(&text, "Spec:\n", Indented(JobSpecToYaml(job.spec())));
  absl::StrAppend(&text, "Events:\n");
  for (const v1::JobEvent& event : events) absl::StrAppend(&text, "  ", EventLine(event, zone), "\n");
  return text;
}

std::string Summary(const v1::Job& job) {
  const v1::JobProgress& progress = job.progress();
  std::string text = absl::StrCat("job ", job.job_id(), " ", StateName(job.state()));
  if (!job.message().empty() && job.state() != v1::JOB_STATE_SUCCEEDED) absl::StrAppend(&text, ": ", job.message());
  absl::StrAppend(&text, "\n");
  if (progress.step() > 0) {
    absl::StrAppend(
        &text, absl::StrFormat("  step %s  loss %.4f -> %.4f  validation loss %s  %s\n", StepText(progress),
                               progress.first_loss(), progress.loss(), ValidationLossText(progress), RateText(job)));
  }
  if (progress.has_validation_accuracy()) {
    absl::StrAppend(&text, absl::StrFormat("  validation accuracy %.2f %%\n", 100 * progress.validation_accuracy()));
  }
  if (!job.output_directory().empty()) {
    absl::StrAppend(&text, "  weights ", job.output_directory(), "/model.safetensors  sha256 ",
                    job.final_weights_sha256(), "\n");
  }
  return text;
}

}  // namespace paramd
