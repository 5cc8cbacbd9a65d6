#include "server/coordinator/testing/coordinator_server_fixture.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"
#include "common/rpc/channel.h"
#include "common/rpc/error_status.h"

namespace paramd {

CoordinatorServerFixture::CoordinatorServerFixture() {
  const auto* info = testing::UnitTest::GetInstance()->current_test_info();
  options_.data_dir = absl::StrCat(testing::TempDir(), "/", info->name(), "-", absl::ToUnixNanos(absl::Now()));
  options_.listen = "127.0.0.1:0";
  options_.metrics_listen = "127.0.0.1:0";
  options_.lease = absl::Seconds(2);
  options_.restart_grace = absl::Seconds(2);
}

CoordinatorServerFixture::~CoordinatorServerFixture() {
  for (auto& daemon : daemons_) daemon->Kill();
  server_.reset();
  RemoveTree(options_.data_dir).IgnoreError();
}

void CoordinatorServerFixture::StartServer() {
  server_ = std::make_unique<CoordinatorServer>(options_);
  ASSERT_OK(server_->Start());
  options_.listen = absl::StrCat("127.0.0.1:", server_->port());  // The same port after a restart.
  jobs_ = v1::JobService::NewStub(CreateChannel(options_.listen, {}));
  cluster_ = v1::ClusterService::NewStub(CreateChannel(options_.listen, {}));
}

FakeDaemon& CoordinatorServerFixture::Add(FakeDaemonOptions options) {
  options.address = options_.listen;
  daemons_.push_back(std::make_unique<FakeDaemon>(std::move(options)));
  daemons_.back()->Start();
  EXPECT_TRUE(daemons_.back()->WaitForCommand(v1::CoordinatorMessage::kWelcome, kPatience));
  return *daemons_.back();
}

FakeDaemon& CoordinatorServerFixture::AddServer(const std::string& id) {
  return Add({.node_id = id, .role = v1::NODE_ROLE_SERVER});
}

FakeDaemon& CoordinatorServerFixture::AddWorker(const std::string& id, bool train, uint64_t stop_point) {
  return Add({.node_id = id, .train = train, .stop_point = stop_point});
}

v1::JobSpec CoordinatorServerFixture::Spec(uint32_t workers, uint32_t servers) {
  v1::JobSpec spec;
  spec.set_name("tiny");
  for (uint32_t width : {784, 16, 10}) spec.mutable_model()->mutable_mlp()->add_widths(width);
  spec.mutable_data()->mutable_idx()->set_train_images("/data/images");
  spec.mutable_data()->mutable_idx()->set_train_labels("/data/labels");
  spec.mutable_training()->set_steps(20);
  spec.mutable_training()->set_slots(4);
  spec.mutable_optimizer()->set_learning_rate(0.1);
  spec.mutable_resources()->set_workers(workers);
  spec.mutable_resources()->set_servers(servers);
  return spec;
}

std::unique_ptr<grpc::ClientContext> CoordinatorServerFixture::Context() {
  auto context = std::make_unique<grpc::ClientContext>();
  context->set_wait_for_ready(true);
  context->set_deadline(absl::ToChronoTime(absl::Now() + kPatience));
  return context;
}

absl::StatusOr<v1::SubmitJobResponse> CoordinatorServerFixture::Submit(const v1::SubmitJobRequest& request) {
  v1::SubmitJobResponse response;
  const grpc::Status status = jobs_->SubmitJob(Context().get(), request, &response);
  if (!status.ok()) return FromGrpcStatus(status);
  return response;
}

std::string CoordinatorServerFixture::Submit(const v1::JobSpec& spec, const std::string& job_id) {
  v1::SubmitJobRequest request;
  *request.mutable_spec() = spec;
  request.set_job_id(job_id);
  const auto response = Submit(request);
  EXPECT_OK(response);
  return response.ok() ? response->job().job_id() : "";
}

absl::StatusOr<v1::Job> CoordinatorServerFixture::Get(const std::string& job_id) {
  v1::GetJobRequest request;
  request.set_job_id(job_id);
  v1::GetJobResponse response;
  const grpc::Status status = jobs_->GetJob(Context().get(), request, &response);
  if (!status.ok()) return FromGrpcStatus(status);
  return response.job();
}

absl::Status CoordinatorServerFixture::Cancel(const std::string& job_id, bool save) {
  v1::CancelJobRequest request;
  request.set_job_id(job_id);
  request.set_save(save);
  v1::CancelJobResponse response;
  return FromGrpcStatus(jobs_->CancelJob(Context().get(), request, &response));
}

absl::Status CoordinatorServerFixture::Delete(const std::string& job_id) {
  v1::DeleteJobRequest request;
  request.set_job_id(job_id);
  v1::DeleteJobResponse response;
  return FromGrpcStatus(jobs_->DeleteJob(Context().get(), request, &response));
}

absl::StatusOr<v1::TraceJobResponse> CoordinatorServerFixture::Trace(const std::string& job_id, uint32_t steps,
                                                                     absl::Duration timeout) {
  v1::TraceJobRequest request;
  request.set_job_id(job_id);
  request.set_steps(steps);
  v1::TraceJobResponse response;
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
  const auto stub = v1::JobService::NewStub(CreateChannel(options_.listen, {.max_message_bytes = 16 << 20}));
  const grpc::Status status = stub->TraceJob(&context, request, &response);
  if (!status.ok()) return FromGrpcStatus(status);
  return response;
}

std::vector<v1::WatchJobResponse> CoordinatorServerFixture::Watch(
    const std::string& job_id, uint64_t after, const std::function<bool(const v1::WatchJobResponse&)>& enough) {
  v1::WatchJobRequest request;
  request.set_job_id(job_id);
  request.set_after_sequence(after);
  auto context = Context();
  auto reader = jobs_->WatchJob(context.get(), request);
  std::vector<v1::WatchJobResponse> updates;
  v1::WatchJobResponse update;
  while (reader->Read(&update)) {
    updates.push_back(update);
    if (enough && enough(update)) context->TryCancel();
  }
  watch_status_ = FromGrpcStatus(reader->Finish());
  return updates;
}

v1::Job CoordinatorServerFixture::WaitFor(const std::string& job_id,
                                          const std::function<bool(const v1::Job&)>& condition) {
  v1::Job last;
  Watch(job_id, UINT64_MAX, [&](const v1::WatchJobResponse& update) {
    if (update.has_job()) last = update.job();
    return update.has_job() && condition(last);
  });
  EXPECT_TRUE(condition(last)) << last.ShortDebugString();
  return last;
}

v1::Job CoordinatorServerFixture::WaitForEnd(const std::string& job_id) {
  return WaitFor(job_id, [](const v1::Job& job) { return job.state() > v1::JOB_STATE_PAUSED; });
}

v1::Job CoordinatorServerFixture::WaitForPhase(const std::string& job_id, v1::JobPhase phase) {
  return WaitFor(job_id, [phase](const v1::Job& job) { return job.phase() == phase; });
}

std::string CoordinatorServerFixture::WaitForEvent(const std::string& job_id, const std::string& reason) {
  std::string message = "no such event";
  Watch(job_id, 0, [&](const v1::WatchJobResponse& update) {
    if (!update.has_event() || update.event().reason() != reason) return false;
    message = update.event().message();
    return true;
  });
  return message;
}

}  // namespace paramd
