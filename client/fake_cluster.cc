#include "client/fake_cluster.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server_builder.h"

namespace paramd {

FakeCluster::FakeCluster(int port) {
  grpc::ServerBuilder builder;
  builder.AddListeningPort(absl::StrCat("127.0.0.1:", port), grpc::InsecureServerCredentials(), &port_);
  builder.RegisterService(static_cast<v1::JobService::Service*>(this));
  builder.RegisterService(static_cast<v1::ClusterService::Service*>(this));
  builder.RegisterService(static_cast<v1::InferenceService::Service*>(this));
  server_ = builder.BuildAndStart();
}

FakeCluster::~FakeCluster() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  if (server_ != nullptr) server_->Shutdown(absl::ToChronoTime(absl::Now()));
}

std::string FakeCluster::address() const { return absl::StrCat("127.0.0.1:", port_); }

void FakeCluster::SetJob(const v1::Job& job) {
  absl::MutexLock lock(&mutex_);
  std::erase_if(jobs_, [&](const v1::Job& known) { return known.job_id() == job.job_id(); });
  jobs_.push_back(job);
}

void FakeCluster::AddNode(const v1::Node& node) {
  absl::MutexLock lock(&mutex_);
  nodes_.push_back(node);
}

void FakeCluster::AddWatchScript(WatchScript script) {
  absl::MutexLock lock(&mutex_);
  scripts_.push_back(std::move(script));
}

void FakeCluster::FailWith(grpc::Status status) {
  absl::MutexLock lock(&mutex_);
  failure_ = std::move(status);
}

void FakeCluster::SetTrace(const v1::TraceJobResponse& trace) {
  absl::MutexLock lock(&mutex_);
  trace_ = trace;
}

void FakeCluster::SetPageSize(int size) {
  absl::MutexLock lock(&mutex_);
  page_size_ = size;
}

std::vector<uint64_t> FakeCluster::watch_sequences() const {
  absl::MutexLock lock(&mutex_);
  return watch_sequences_;
}

v1::SubmitJobRequest FakeCluster::last_submit() const {
  absl::MutexLock lock(&mutex_);
  return last_submit_;
}

v1::CancelJobRequest FakeCluster::last_cancel() const {
  absl::MutexLock lock(&mutex_);
  return last_cancel_;
}

v1::GenerateRequest FakeCluster::last_generate() const {
  absl::MutexLock lock(&mutex_);
  return last_generate_;
}

v1::TraceJobRequest FakeCluster::last_trace() const {
  absl::MutexLock lock(&mutex_);
  return last_trace_;
}

absl::Duration FakeCluster::last_trace_timeout() const {
  absl::MutexLock lock(&mutex_);
  return last_trace_timeout_;
}

grpc::Status FakeCluster::Find(const std::string& job_id, v1::Job& job) {
  if (!failure_.ok()) return failure_;
  const auto found = std::find_if(jobs_.begin(), jobs_.end(), [&](const auto& j) { return j.job_id() == job_id; });
  if (found == jobs_.end()) return {grpc::StatusCode::NOT_FOUND, absl::StrCat("job ", job_id, " not found")};
  job = *found;
  return grpc::Status::OK;
}

grpc::Status FakeCluster::SubmitJob(grpc::ServerContext*, const v1::SubmitJobRequest* request,
                                    v1::SubmitJobResponse* response) {
  absl::MutexLock lock(&mutex_);
  if (!failure_.ok()) return failure_;
  last_submit_ = *request;
  if (!jobs_.empty()) *response->mutable_job() = jobs_.back();
  *response->mutable_job()->mutable_spec() = request->spec();
  return grpc::Status::OK;
}

grpc::Status FakeCluster::GetJob(grpc::ServerContext*, const v1::GetJobRequest* request, v1::GetJobResponse* response) {
  absl::MutexLock lock(&mutex_);
  return Find(request->job_id(), *response->mutable_job());
}

grpc::Status FakeCluster::ListJobs(grpc::ServerContext*, const v1::ListJobsRequest* request,
                                   v1::ListJobsResponse* response) {
  absl::MutexLock lock(&mutex_);
  if (!failure_.ok()) return failure_;
  size_t position = 0;
  if (!request->page_token().empty() && !absl::SimpleAtoi(request->page_token(), &position)) {
    return {grpc::StatusCode::INVALID_ARGUMENT, "bad page token"};
  }
  for (; position < jobs_.size() && response->jobs_size() < page_size_; ++position) {
    const auto& states = request->states();
    const bool wanted = states.empty() || std::count(states.begin(), states.end(), jobs_[position].state()) > 0;
    if (wanted) *response->add_jobs() = jobs_[position];
  }
  if (position < jobs_.size()) response->set_next_page_token(absl::StrCat(position));
  return grpc::Status::OK;
}

grpc::Status FakeCluster::WatchJob(grpc::ServerContext* context, const v1::WatchJobRequest* request,
                                   grpc::ServerWriter<v1::WatchJobResponse>* writer) {
  WatchScript script;
  {
    absl::MutexLock lock(&mutex_);
    watch_sequences_.push_back(request->after_sequence());
    if (scripts_.empty()) return {grpc::StatusCode::INTERNAL, "the test has no more watch scripts"};
    script = std::move(scripts_.front());
    scripts_.pop_front();
  }
  for (const v1::WatchJobResponse& update : script.updates) writer->Write(update);
  while (script.hang && !context->IsCancelled()) {
    absl::MutexLock lock(&mutex_);
    if (stopping_) break;
    mutex_.AwaitWithTimeout(absl::Condition(&stopping_), absl::Milliseconds(5));
  }
  return script.end;
}

grpc::Status FakeCluster::CancelJob(grpc::ServerContext*, const v1::CancelJobRequest* request,
                                    v1::CancelJobResponse* response) {
  absl::MutexLock lock(&mutex_);
  last_cancel_ = *request;
  return Find(request->job_id(), *response->mutable_job());
}

grpc::Status FakeCluster::DeleteJob(grpc::ServerContext*, const v1::DeleteJobRequest* request, v1::DeleteJobResponse*) {
  absl::MutexLock lock(&mutex_);
  v1::Job job;
  grpc::Status status = Find(request->job_id(), job);
  std::erase_if(jobs_, [&](const v1::Job& known) { return known.job_id() == request->job_id(); });
  return status;
}

void FakeCluster::SetCheckpoints(std::vector<v1::ListCheckpointsResponse> lists) {
  absl::MutexLock lock(&mutex_);
  checkpoints_.assign(lists.begin(), lists.end());
}

std::vector<std::string> FakeCluster::checkpoint_calls() const {
  absl::MutexLock lock(&mutex_);
  return checkpoint_calls_;
}

grpc::Status FakeCluster::CreateCheckpoint(grpc::ServerContext*, const v1::CreateCheckpointRequest*,
                                           v1::CreateCheckpointResponse* response) {
  absl::MutexLock lock(&mutex_);
  checkpoint_calls_.push_back("create");
  response->mutable_checkpoint()->set_step(15);
  response->mutable_checkpoint()->set_state(v1::CHECKPOINT_STATE_WRITING);
  return failure_;
}

grpc::Status FakeCluster::ListCheckpoints(grpc::ServerContext*, const v1::ListCheckpointsRequest*,
                                          v1::ListCheckpointsResponse* response) {
  absl::MutexLock lock(&mutex_);
  if (!checkpoints_.empty()) *response = checkpoints_.front();
  if (checkpoints_.size() > 1) checkpoints_.pop_front();
  return failure_;
}

grpc::Status FakeCluster::VerifyCheckpoint(grpc::ServerContext*, const v1::VerifyCheckpointRequest* request,
                                           v1::VerifyCheckpointResponse* response) {
  absl::MutexLock lock(&mutex_);
  checkpoint_calls_.push_back(absl::StrCat("verify ", request->step()));
  response->mutable_checkpoint()->set_step(request->step() == 0 ? 20 : request->step());
  response->mutable_checkpoint()->set_state(v1::CHECKPOINT_STATE_VERIFYING);
  return failure_;
}

grpc::Status FakeCluster::DeleteCheckpoint(grpc::ServerContext*, const v1::DeleteCheckpointRequest* request,
                                           v1::DeleteCheckpointResponse* response) {
  absl::MutexLock lock(&mutex_);
  checkpoint_calls_.push_back(absl::StrCat("delete ", request->step(), request->force() ? " force" : ""));
  response->mutable_checkpoint()->set_step(request->step());
  response->mutable_checkpoint()->set_state(v1::CHECKPOINT_STATE_DELETING);
  return failure_;
}

grpc::Status FakeCluster::PauseJob(grpc::ServerContext*, const v1::PauseJobRequest* request,
                                   v1::PauseJobResponse* response) {
  absl::MutexLock lock(&mutex_);
  checkpoint_calls_.push_back("pause");
  return Find(request->job_id(), *response->mutable_job());
}

grpc::Status FakeCluster::ResumeJob(grpc::ServerContext*, const v1::ResumeJobRequest* request,
                                    v1::ResumeJobResponse* response) {
  absl::MutexLock lock(&mutex_);
  checkpoint_calls_.push_back(absl::StrCat("resume ", request->step()));
  return Find(request->job_id(), *response->mutable_job());
}

grpc::Status FakeCluster::TraceJob(grpc::ServerContext* context, const v1::TraceJobRequest* request,
                                   v1::TraceJobResponse* response) {
  absl::MutexLock lock(&mutex_);
  last_trace_ = *request;
  last_trace_timeout_ = absl::FromChrono(context->deadline()) - absl::Now();
  *response = trace_;
  v1::Job job;
  return Find(request->job_id(), job);
}

grpc::Status FakeCluster::ListNodes(grpc::ServerContext*, const v1::ListNodesRequest*,
                                    v1::ListNodesResponse* response) {
  absl::MutexLock lock(&mutex_);
  if (!failure_.ok()) return failure_;
  for (const v1::Node& node : nodes_) *response->add_nodes() = node;
  response->set_coordinator_version("fake-1");
  return grpc::Status::OK;
}

grpc::Status FakeCluster::Generate(grpc::ServerContext*, const v1::GenerateRequest* request,
                                   grpc::ServerWriter<v1::GenerateResponse>* writer) {
  {
    absl::MutexLock lock(&mutex_);
    last_generate_ = *request;
  }
  for (const char* text : {"She ", "was ", "happy."}) {
    v1::GenerateResponse piece;
    piece.set_text(text);
    writer->Write(piece);
  }
  return grpc::Status::OK;
}

}  // namespace paramd
