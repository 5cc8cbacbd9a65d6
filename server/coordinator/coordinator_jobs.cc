// The engine's side for users: submit, get, list, cancel, delete, watch.
#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/error.h"
#include "common/base/failpoint.h"
#include "common/base/ids.h"
#include "common/base/status_macros.h"
#include "common/config/job_spec.h"
#include "common/config/version.h"
#include "google/protobuf/util/message_differencer.h"
#include "server/coordinator/coordinator.h"
#include "server/coordinator/page_token.h"
#include "server/coordinator/proto_time.h"

namespace paramd {
namespace {

using coordinator::JobRecord;

constexpr size_t kMaxRequestIdBytes = 128;
constexpr size_t kMaxJobIdBytes = 63;
constexpr int kSuffixLength = 6;
constexpr uint32_t kDefaultPage = 50;
constexpr uint32_t kMaxPage = 1000;
constexpr int kWatchPage = 64;
constexpr size_t kMaxWatches = 10000;

absl::Status NoSuchJob(const std::string& job_id) {
  return MakeError(absl::StatusCode::kNotFound, "JOB_NOT_FOUND", absl::StrCat("there is no job \"", job_id, "\""),
                   {{"jobId", job_id}});
}

// [a-z]([a-z0-9-]{0,61}[a-z0-9])?
bool ValidJobId(const std::string& id) {
  const auto allowed = [](unsigned char c) { return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '-'; };
  return !id.empty() && id.size() <= kMaxJobIdBytes && absl::ascii_islower(id.front()) && id.back() != '-' &&
         std::all_of(id.begin(), id.end(), allowed);
}

absl::Status CheckSubmit(const v1::SubmitJobRequest& request) {
  if (request.request_id().size() > kMaxRequestIdBytes) {
    return MakeError(
        absl::StatusCode::kInvalidArgument, "INVALID_REQUEST_ID",
        absl::StrCat("request_id: at most ", kMaxRequestIdBytes, " bytes, got ", request.request_id().size()));
  }
  if (!request.restore_from().empty() && request.restore_from()[0] != '/') {
    return MakeError(
        absl::StatusCode::kInvalidArgument, "INVALID_RESTORE_FROM",
        absl::StrFormat("restore_from: must be an absolute path, got \"%s\"", request.restore_from().substr(0, 100)));
  }
  if (request.job_id().empty() || ValidJobId(request.job_id())) return absl::OkStatus();
  return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_JOB_ID",
                   absl::StrFormat("job_id: must match [a-z]([a-z0-9-]{0,61}[a-z0-9])?, got \"%s\"",
                                   request.job_id().substr(0, 100)));
}

std::string GeneratedJobId(const std::string& name) {
  std::string prefix = name.substr(0, kMaxJobIdBytes - kSuffixLength - 1);
  if (prefix.empty() || !absl::ascii_islower(prefix.front()))
    prefix = absl::StrCat("job-", prefix.substr(0, prefix.size() > 50 ? 50 : prefix.size()));
  return absl::StrCat(prefix, "-", RandomSuffix(kSuffixLength));
}

}  // namespace

absl::StatusOr<JobRecord> Coordinator::FindJob(const std::string& job_id) {
  const ActiveJob* active = FindActive(job_id);
  if (active != nullptr) return active->record;
  const absl::Time start = absl::Now();
  absl::StatusOr<JobRecord> record = store_.GetJob(job_id);
  metrics_.StoreDuration("read", absl::Now() - start);
  if (absl::IsNotFound(record.status())) return NoSuchJob(job_id);
  return record;
}

absl::StatusOr<v1::SubmitJobResponse> Coordinator::Repeated(const v1::SubmitJobRequest& request,
                                                            const v1::JobSpec& spec, const v1::Job& earlier) {
  const bool same_id = request.job_id().empty() || request.job_id() == earlier.job_id();
  if (!same_id || !google::protobuf::util::MessageDifferencer::Equals(spec, earlier.spec())) {
    return MakeError(absl::StatusCode::kInvalidArgument, "REQUEST_ID_REUSED",
                     absl::StrCat("request_id \"", request.request_id(), "\" was used for job ", earlier.job_id(),
                                  " with another specification"),
                     {{"jobId", earlier.job_id()}});
  }
  v1::SubmitJobResponse response;
  *response.mutable_job() = earlier;
  response.set_already_existed(true);
  return response;
}

absl::StatusOr<std::string> Coordinator::ChooseJobId(const v1::SubmitJobRequest& request, const v1::JobSpec& spec) {
  if (!request.job_id().empty()) {
    ASSIGN_OR_RETURN(const bool taken, store_.JobIdTaken(request.job_id()));
    if (!taken) return request.job_id();
    return MakeError(absl::StatusCode::kAlreadyExists, "JOB_ALREADY_EXISTS",
                     absl::StrCat("job_id ", request.job_id(), " belongs to a job, or belonged to a deleted one"),
                     {{"jobId", request.job_id()}});
  }
  while (true) {
    const std::string job_id = GeneratedJobId(spec.name());
    ASSIGN_OR_RETURN(const bool taken, store_.JobIdTaken(job_id));
    if (!taken) return job_id;
  }
}

absl::StatusOr<v1::SubmitJobResponse> Coordinator::Submit(const v1::SubmitJobRequest& request) {
  RETURN_IF_ERROR(CheckSubmit(request));
  v1::JobSpec spec = request.spec();
  RETURN_IF_ERROR(FillDefaultsAndValidate(spec));
  ASSIGN_OR_RETURN(const ArenaDemand demand, PlanArena(spec));
  RETURN_IF_ERROR(HitFailpoint(Failpoint::kCoordinatorSubmit));

  absl::MutexLock lock(&mutex_);
  if (stopping_) return absl::UnavailableError("the coordinator is stopping");
  if (!request.request_id().empty()) {
    const absl::StatusOr<JobRecord> earlier = store_.GetJobByRequestId(request.request_id());
    if (earlier.ok()) {
      ASSIGN_OR_RETURN(const JobRecord record, FindJob(earlier->job().job_id()));  // With its newest progress.
      return Repeated(request, spec, record.job());
    }
    if (!absl::IsNotFound(earlier.status())) return earlier.status();
  }
  JobRecord record;
  v1::Job& job = *record.mutable_job();
  *job.mutable_spec() = spec;
  job.set_parameters(demand.parameters);
  job.set_request_id(request.request_id());
  ASSIGN_OR_RETURN(*job.mutable_job_id(), ChooseJobId(request, spec));
  v1::SubmitJobResponse response;
  if (!request.validate_only()) {
    const uint64_t ordinal = last_ordinal_ + 1;
    record.set_ordinal(ordinal);
    ActiveJob& active = active_[ordinal];
    active.record = record;
    const absl::Status stored = Transition(active, [&](JobMachine& machine) {
      if (!request.restore_from().empty()) machine.RestoreFrom(request.restore_from());
      machine.OnSubmitted();
    });
    if (!stored.ok()) {
      active_.erase(ordinal);
      return stored;
    }
    last_ordinal_ = ordinal;
    job = active.record.job();
  }
  *response.mutable_job() = job;
  return response;
}

absl::StatusOr<v1::Job> Coordinator::Get(const std::string& job_id) {
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(JobRecord record, FindJob(job_id));
  return std::move(*record.mutable_job());
}

absl::StatusOr<v1::ListJobsResponse> Coordinator::List(const v1::ListJobsRequest& request) {
  JobQuery query;
  for (int state : request.states()) {
    if (!v1::JobState_IsValid(state) || state == v1::JOB_STATE_UNSPECIFIED) {
      return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_STATE",
                       absl::StrCat("states: unknown state ", state));
    }
    query.states.push_back(static_cast<v1::JobState>(state));
  }
  // The same filter in another order is the same filter, to the store and to page tokens.
  std::sort(query.states.begin(), query.states.end());
  query.states.erase(std::unique(query.states.begin(), query.states.end()), query.states.end());
  const uint32_t page = request.page_size() == 0 ? kDefaultPage : std::min(request.page_size(), kMaxPage);
  query.limit = static_cast<int>(page) + 1;  // One more tells whether there is a next page.
  if (!request.page_token().empty()) {
    ASSIGN_OR_RETURN(query.below_ordinal, ParsePageToken(request.page_token(), query.states));
  }
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(std::vector<JobRecord> records, store_.ListJobs(query));
  v1::ListJobsResponse response;
  if (records.size() > page) {
    records.resize(page);
    response.set_next_page_token(MakePageToken(records.back().ordinal(), query.states));
  }
  for (JobRecord& record : records) {
    const auto active = active_.find(record.ordinal());  // Has newer progress than the store.
    *response.add_jobs() = active != active_.end() ? active->second.record.job() : std::move(*record.mutable_job());
  }
  return response;
}

absl::StatusOr<v1::Job> Coordinator::Cancel(const std::string& job_id, bool save) {
  absl::MutexLock lock(&mutex_);
  ActiveJob* active = FindActive(job_id);
  if (active == nullptr) {
    ASSIGN_OR_RETURN(JobRecord record, FindJob(job_id));
    JobMachine machine(record, options_.machine, clock_.Now());
    RETURN_IF_ERROR(machine.OnCancel(save));  // The job is over: says so.
    return std::move(*record.mutable_job());
  }
  absl::Status refused;
  RETURN_IF_ERROR(Transition(*active, [&](JobMachine& machine) { refused = machine.OnCancel(save); }));
  RETURN_IF_ERROR(refused);
  return active->record.job();
}

absl::Status Coordinator::Delete(const std::string& job_id) {
  absl::MutexLock lock(&mutex_);
  ASSIGN_OR_RETURN(const JobRecord record, FindJob(job_id));
  const v1::JobState state = record.job().state();
  if (!IsTerminal(state)) {
    return MakeError(absl::StatusCode::kFailedPrecondition, "JOB_NOT_FINISHED",
                     absl::StrCat("job ", job_id, " is ", v1::JobState_Name(state), "; cancel it first"),
                     {{"jobId", job_id}});
  }
  StoreBatch batch;
  batch.delete_jobs.push_back(job_id);
  RETURN_IF_ERROR(ApplyToStore(batch));
  active_.erase(record.ordinal());
  --job_counts_[state];
  metrics_.SetJobs(job_counts_);
  metrics_.RemoveJob(job_id);
  ended_series_.erase(job_id);
  NotifyWatchers(job_id);
  return absl::OkStatus();
}

// ------------------------------------------------------------------------------------------------ watchers

void Coordinator::StartWatch(const v1::WatchJobRequest& request, WatchSink* sink) {
  absl::MutexLock lock(&mutex_);
  absl::Status refused;
  if (stopping_)
    refused = MakeError(absl::StatusCode::kUnavailable, "COORDINATOR_STOPPING", "the coordinator is stopping");
  if (watches_.size() >= kMaxWatches) {
    refused =
        MakeError(absl::StatusCode::kResourceExhausted, "TOO_MANY_WATCHERS", absl::StrCat("more than ", kMaxWatches));
  }
  if (!refused.ok()) return sink->Finish(refused);
  watches_.emplace(sink, Watch{request.job_id(), WatchCursor(request.after_sequence())});
  AdvanceWatch(sink);
}

void Coordinator::WatchReady(WatchSink* sink) {
  absl::MutexLock lock(&mutex_);
  const auto found = watches_.find(sink);
  if (found == watches_.end()) return;
  found->second.writing = false;
  if (found->second.cancelled) return FinishWatch(sink, absl::CancelledError("the watch was cancelled"));
  if (stopping_) {
    return FinishWatch(
        sink, MakeError(absl::StatusCode::kUnavailable, "COORDINATOR_STOPPING", "the coordinator is stopping"));
  }
  AdvanceWatch(sink);
}

void Coordinator::CancelWatch(WatchSink* sink) {
  absl::MutexLock lock(&mutex_);
  const auto found = watches_.find(sink);
  if (found == watches_.end()) return;
  found->second.cancelled = true;
  if (!found->second.writing) FinishWatch(sink, absl::CancelledError("the watch was cancelled"));
}

void Coordinator::NotifyWatchers(const std::string& job_id) {
  std::vector<WatchSink*> sinks;  // A copy: a watch that ends leaves the map.
  for (const auto& [sink, watch] : watches_) {
    if (watch.job_id == job_id && !watch.writing) sinks.push_back(sink);
  }
  for (WatchSink* sink : sinks) AdvanceWatch(sink);
}

void Coordinator::AdvanceWatch(WatchSink* sink) {
  Watch& watch = watches_.at(sink);
  const ActiveJob* active = FindActive(watch.job_id);
  const absl::StatusOr<JobRecord> record = FindJob(watch.job_id);
  if (!record.ok()) return FinishWatch(sink, record.status());
  const auto read_events = [&](uint64_t after) {
    mutex_.AssertHeld();
    return store_.Events(watch.job_id, after, kWatchPage);
  };
  const uint64_t version = active != nullptr ? active->snapshot_version : 0;
  const auto next = watch.cursor.Next(record->job(), version, read_events);
  if (!next.ok()) return FinishWatch(sink, next.status());
  if (next->has_value()) {
    watch.writing = true;
    sink->Send(**next);
  } else if (watch.cursor.done()) {
    FinishWatch(sink, absl::OkStatus());
  }
}

void Coordinator::FinishWatch(WatchSink* sink, const absl::Status& status) {
  watches_.erase(sink);
  sink->Finish(status);
}

}  // namespace paramd
