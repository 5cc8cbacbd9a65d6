#include "common/rpc/server_runner.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <set>
#include <string>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "common/base/error.h"
#include "common/rpc/call.h"
#include "common/rpc/channel.h"
#include "common/rpc/error_status.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/generic/generic_stub.h"
#include "gtest/gtest.h"
#include "prometheus/registry.h"
#include "prometheus/text_serializer.h"
#include "proto/job.grpc.pb.h"

namespace paramd {
namespace {

constexpr char kService[] = "paramd.v1.JobService";

// GetJob echoes the call's client metadata in the message of a NOT_FOUND; DeleteJob waits until it is cancelled.
class FakeJobService final : public v1::JobService::CallbackService {
 public:
  grpc::ServerUnaryReactor* GetJob(grpc::CallbackServerContext* context, const v1::GetJobRequest* request,
                                   v1::GetJobResponse* response) override {
    auto* reactor = context->DefaultReactor();
    if (request->job_id() == "large") {
      response->mutable_job()->set_message(std::string(100000, 'x'));
      reactor->Finish(grpc::Status::OK);
      return reactor;
    }
    std::string seen;
    for (const char* key : {kClientVersionKey, kRequestIdKey}) {
      const auto found = context->client_metadata().find(key);
      if (found != context->client_metadata().end())
        absl::StrAppend(&seen, std::string(found->second.data(), found->second.size()), ";");
    }
    reactor->Finish(ToGrpcStatus(MakeError(absl::StatusCode::kNotFound, "JOB_NOT_FOUND", seen)));
    return reactor;
  }

  grpc::ServerUnaryReactor* DeleteJob(grpc::CallbackServerContext* context, const v1::DeleteJobRequest* request,
                                      v1::DeleteJobResponse* response) override {
    class UntilCancelled final : public grpc::ServerUnaryReactor {
     public:
      explicit UntilCancelled(absl::Notification& started) { started.Notify(); }
      void OnCancel() override { Finish(grpc::Status::CANCELLED); }
      void OnDone() override { delete this; }
    };
    return new UntilCancelled(deletion_started);
  }

  absl::Notification deletion_started;
};

class ServerRunnerTest : public ::testing::Test {
 protected:
  void Start(ServerRunnerOptions options) {
    options.listen_address = "127.0.0.1:0";
    runner_ = std::make_unique<ServerRunner>(options);
    runner_->AddService(&service_, kService);
    const absl::Status status = runner_->Start();
    ASSERT_TRUE(status.ok()) << status;
    ASSERT_GT(runner_->port(), 0);
    channel_ = CreateChannel(Address(), {});
    stub_ = v1::JobService::NewStub(channel_);
  }

  std::string Address() const { return absl::StrCat("127.0.0.1:", runner_->port()); }

  absl::Status GetJob(const std::string& id) {
    grpc::ClientContext context;
    PrepareCall({.timeout = absl::Seconds(20), .request_id = "id-7"}, context);
    v1::GetJobRequest request;
    request.set_job_id(id);
    v1::GetJobResponse response;
    return FromGrpcStatus(stub_->GetJob(&context, request, &response));
  }

  // A unary call with raw bytes, for services whose protos are gRPC's own.
  grpc::Status CallRaw(const std::string& method, const std::string& request, std::string& response) {
    grpc::GenericStub stub(channel_);
    grpc::ClientContext context;
    PrepareCall({.timeout = absl::Seconds(20)}, context);
    grpc::CompletionQueue queue;
    grpc::Slice slice(request);
    auto call = stub.PrepareUnaryCall(&context, method, grpc::ByteBuffer(&slice, 1), &queue);
    grpc::ByteBuffer buffer;
    grpc::Status status;
    call->StartCall();
    call->Finish(&buffer, &status, nullptr);
    void* tag;
    bool ok;
    queue.Next(&tag, &ok);
    if (status.ok()) {
      grpc::Slice result;
      buffer.DumpToSingleSlice(&result);
      response.assign(reinterpret_cast<const char*>(result.begin()), result.size());
    }
    return status;
  }

  // grpc.health.v1.HealthCheckResponse.status (field 1): 1 SERVING, 2 NOT_SERVING; -1 when the service is not known.
  int Health(const std::string& service) {
    std::string request;
    if (!service.empty()) request = absl::StrCat("\x0A", std::string(1, static_cast<char>(service.size())), service);
    std::string response;
    const grpc::Status status = CallRaw("/grpc.health.v1.Health/Check", request, response);
    if (!status.ok() || response.size() != 2) return -1;
    return response[1];
  }

  // Services by reflection; ok is false when the server has none.
  bool ReflectionLists(const std::string& service) {
    grpc::GenericStub stub(channel_);
    grpc::ClientContext context;
    PrepareCall({.timeout = absl::Seconds(20)}, context);
    grpc::CompletionQueue queue;
    auto call = stub.PrepareCall(&context, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &queue);
    const auto wait = [&] {
      void* tag;
      bool ok = false;
      queue.Next(&tag, &ok);
      return ok;
    };
    call->StartCall(nullptr);
    wait();
    grpc::Slice slice(std::string("\x3A\x00", 2));  // list_services = "".
    call->Write(grpc::ByteBuffer(&slice, 1), nullptr);
    wait();
    grpc::ByteBuffer buffer;
    call->Read(&buffer, nullptr);
    grpc::Slice result;
    const bool listed = wait() && buffer.DumpToSingleSlice(&result).ok() &&
                        absl::StrContains(std::string(result.begin(), result.end()), service);
    context.TryCancel();
    grpc::Status status;
    call->Finish(&status, nullptr);
    wait();
    return listed;
  }

  FakeJobService service_;
  std::unique_ptr<ServerRunner> runner_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::JobService::Stub> stub_;
};

TEST_F(ServerRunnerTest, ServesCallsWithErrorsAndMetadata) {
  Start({});
  const absl::Status status = GetJob("x");
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ErrorReason(status), "JOB_NOT_FOUND");
  EXPECT_EQ(status.message(), "0.1.0;id-7;");
}

TEST_F(ServerRunnerTest, HealthFollowsSetServing) {
  Start({});
  EXPECT_EQ(Health(""), 1);
  EXPECT_EQ(Health(kService), 2);
  EXPECT_EQ(Health("no.such.Service"), -1);
  runner_->SetServing(true);
  EXPECT_EQ(Health(kService), 1);
  runner_->SetServing(false);
  EXPECT_EQ(Health(kService), 2);
}

TEST_F(ServerRunnerTest, ReflectionListsServices) {
  Start({});
  EXPECT_TRUE(ReflectionLists(kService));
  EXPECT_TRUE(ReflectionLists("grpc.health.v1.Health"));
  EXPECT_FALSE(ReflectionLists("paramd.v1.NoSuchService"));
}

TEST_F(ServerRunnerTest, ReflectionCanBeOff) {
  Start({.reflection = false});
  EXPECT_FALSE(ReflectionLists(kService));
}

TEST_F(ServerRunnerTest, PortInUseIsAnError) {
  Start({});
  ServerRunner second({.listen_address = Address()});
  const absl::Status status = second.Start();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ErrorReason(status), "ADDRESS_IN_USE") << status;
  EXPECT_TRUE(absl::StrContains(status.message(), Address())) << status;
}

TEST_F(ServerRunnerTest, AddressThatIsNotOursIsAnError) {
  ServerRunner runner({.listen_address = "192.0.2.1:0"});
  EXPECT_EQ(ErrorReason(runner.Start()), "LISTEN_FAILED");
  ServerRunner bad({.listen_address = "no-port"});
  EXPECT_EQ(ErrorReason(bad.Start()), "INVALID_ADDRESS");
}

TEST_F(ServerRunnerTest, RefusesMessagesAboveTheLimit) {
  Start({.max_message_bytes = 50000});
  EXPECT_EQ(GetJob("large").code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(GetJob(std::string(60000, 'x')).code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(ServerRunnerTest, BulkServerTakesBulkChannels) {
  Start({.max_message_bytes = 8 << 20, .kind = ChannelKind::kBulk});
  channel_ = CreateChannel(Address(), {.kind = ChannelKind::kBulk, .max_message_bytes = 8 << 20});
  stub_ = v1::JobService::NewStub(channel_);
  EXPECT_TRUE(GetJob("large").ok());
}

TEST_F(ServerRunnerTest, ServesOnAUnixSocketToo) {
  char directory[] = "/tmp/paramd-test.XXXXXX";  // Short, as the paths of sockets must be.
  ASSERT_NE(mkdtemp(directory), nullptr);
  Start({.local_socket = {.place = absl::StrCat(directory, "/s")}, .kind = ChannelKind::kBulk});
  EXPECT_EQ(runner_->local_address(), absl::StrCat("unix:", directory, "/s"));
  EXPECT_TRUE(GetJob("large").ok()) << "over TCP";
  channel_ = CreateChannel(runner_->local_address(), {.kind = ChannelKind::kBulk});
  stub_ = v1::JobService::NewStub(channel_);
  EXPECT_TRUE(GetJob("large").ok());
  ServerRunner second({.listen_address = "127.0.0.1:0", .local_socket = {.place = absl::StrCat(directory, "/s")}});
  EXPECT_EQ(ErrorReason(second.Start()), "ADDRESS_IN_USE");
  EXPECT_TRUE(GetJob("large").ok()) << "the second has not taken the socket";
  runner_->Drain(absl::ZeroDuration());
  EXPECT_EQ(runner_->local_address(), "");
  EXPECT_EQ(rmdir(directory), 0) << "empty";
}

TEST_F(ServerRunnerTest, AUnixSocketThatCannotBeIsAnErrorUnlessItIsAutomatic) {
  ServerRunner fixed({.listen_address = "127.0.0.1:0", .local_socket = {.place = "/no/such/directory/s"}});
  EXPECT_EQ(ErrorReason(fixed.Start()), "LOCAL_SOCKET_FAILED");
  char directory[] = "/tmp/paramd-test.XXXXXX";
  ASSERT_NE(mkdtemp(directory), nullptr);
  const std::string below = absl::StrCat(directory, "/paramd");
  ASSERT_EQ(mkdir(below.c_str(), 0700), 0);
  const int lock = open(below.c_str(), O_RDONLY | O_DIRECTORY);
  ASSERT_EQ(flock(lock, LOCK_EX), 0);
  Start({.local_socket = {.place = "auto", .runtime_dir = directory, .lock_timeout = absl::Milliseconds(20)}});
  EXPECT_EQ(runner_->local_address(), "");
  EXPECT_TRUE(GetJob("large").ok());
  close(lock);
  std::filesystem::remove_all(directory);
}

TEST_F(ServerRunnerTest, DrainEndsOpenCallsAfterTheGrace) {
  Start({});
  runner_->SetServing(true);
  absl::Status status;
  std::thread caller([&] {
    grpc::ClientContext context;
    PrepareCall({.timeout = absl::Seconds(60)}, context);
    v1::DeleteJobResponse response;
    status = FromGrpcStatus(stub_->DeleteJob(&context, {}, &response));
  });
  service_.deletion_started.WaitForNotification();
  const absl::Time start = absl::Now();
  runner_->Drain(absl::Milliseconds(100));
  caller.join();
  EXPECT_FALSE(status.ok());
  EXPECT_LT(absl::Now() - start, absl::Seconds(20));
  EXPECT_EQ(GetJob("x").code(), absl::StatusCode::kUnavailable);
  runner_->Drain(absl::ZeroDuration());  // Again: nothing happens.
  runner_->SetServing(true);
}

TEST_F(ServerRunnerTest, CountsCalls) {
  auto registry = std::make_shared<prometheus::Registry>();
  Start({.registry = registry});
  EXPECT_FALSE(GetJob("x").ok());
  EXPECT_FALSE(GetJob("x").ok());
  EXPECT_TRUE(GetJob("large").ok());
  std::string response;
  EXPECT_FALSE(CallRaw("/paramd.v1.JobService/NoSuchMethod", "", response).ok());
  runner_->Drain(absl::Seconds(5));
  const std::string text = prometheus::TextSerializer().Serialize(registry->Collect());
  const std::string labels = R"(grpc_method="GetJob",grpc_service="paramd.v1.JobService",grpc_type="unary"})";
  for (const std::string& line : {
           absl::StrCat("grpc_server_started_total{", labels, " 3"),
           absl::StrCat(R"(grpc_server_handled_total{grpc_code="NotFound",)", labels, " 2"),
           absl::StrCat(R"(grpc_server_handled_total{grpc_code="OK",)", labels, " 1"),
           absl::StrCat("grpc_server_handling_seconds_count{", labels, " 3"),
       }) {
    EXPECT_TRUE(absl::StrContains(text, line)) << line << "\nnot in\n" << text;
  }
  EXPECT_FALSE(absl::StrContains(text, "NoSuchMethod")) << "a peer must not make up label values";
  EXPECT_TRUE(absl::StrContains(text, R"(grpc_method="unknown")")) << text;
}

TEST(AdvertisedAddressTest, Rules) {
  char name[256] = {};
  gethostname(name, sizeof(name) - 1);
  EXPECT_EQ(AdvertisedAddress("a:1", "0.0.0.0:0", 5), "a:1");
  EXPECT_EQ(AdvertisedAddress("", "127.0.0.1:0", 5), "127.0.0.1:5");
  EXPECT_EQ(AdvertisedAddress("", "127.0.0.1:9", 9), "127.0.0.1:9");
  EXPECT_EQ(AdvertisedAddress("", "[::1]:0", 5), "[::1]:5");
  EXPECT_EQ(AdvertisedAddress("", "0.0.0.0:0", 5), absl::StrCat(name, ":5"));
}

}  // namespace
}  // namespace paramd
