#include "common/rpc/credentials.h"

#include <filesystem>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/status_matchers.h"
#include "common/rpc/call.h"
#include "common/rpc/channel.h"
#include "common/rpc/error_status.h"
#include "common/rpc/server_runner.h"
#include "common/rpc/test_certificates.h"
#include "gtest/gtest.h"
#include "openssl/ssl.h"
#include "proto/job.grpc.pb.h"

namespace paramd {
namespace {

// Answers GetJob with the cipher and version of nothing: only that it was reached.
class FakeJobService final : public v1::JobService::CallbackService {
 public:
  grpc::ServerUnaryReactor* GetJob(grpc::CallbackServerContext* context, const v1::GetJobRequest*,
                                   v1::GetJobResponse*) override {
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
};

class CredentialsTest : public testing::Test {
 protected:
  // A server on 127.0.0.1, and on a unix socket.
  void Serve(const TlsOptions& options) {
    ASSERT_OK_AND_ASSIGN(const auto credentials, Credentials::LoadForServer(options));
    char pattern[] = "/tmp/paramd-test.XXXXXX";
    ASSERT_NE(mkdtemp(pattern), nullptr);
    sockets_ = pattern;
    runner_ = std::make_unique<ServerRunner>(ServerRunnerOptions{
        .listen_address = "127.0.0.1:0", .local_socket = {.place = sockets_ + "/s"}, .credentials = credentials});
    runner_->AddService(&service_, "paramd.v1.JobService");
    ASSERT_OK(runner_->Start());
  }
  void TearDown() override {
    runner_.reset();
    if (!sockets_.empty()) std::filesystem::remove_all(sockets_);
  }

  absl::Status Call(const std::string& address, const std::shared_ptr<const Credentials>& credentials) {
    const auto stub = v1::JobService::NewStub(CreateChannel(address, {.credentials = credentials}));
    grpc::ClientContext context;
    PrepareCall({.timeout = absl::Seconds(20)}, context);
    v1::GetJobResponse response;
    return FromGrpcStatus(stub->GetJob(&context, {}, &response));
  }
  absl::Status Call(const TlsOptions& options, const std::string& host = "127.0.0.1") {
    ASSIGN_OR_RETURN(const auto credentials, Credentials::Load(options));
    return Call(absl::StrCat(host, ":", runner_->port()), credentials);
  }

  TestAuthority authority_{testing::TempDir() + "/ours"};
  TestAuthority stranger_{testing::TempDir() + "/theirs"};
  const TestCertificate node_ = authority_.Issue("node", {"DNS:localhost", "IP:127.0.0.1"});
  const TlsOptions mutual_ = {.cert = node_.cert, .key = node_.key, .ca = authority_.ca()};
  FakeJobService service_;
  std::string sockets_;
  std::unique_ptr<ServerRunner> runner_;
};

TEST_F(CredentialsTest, NoneAreNull) {
  ASSERT_OK_AND_ASSIGN(const auto credentials, Credentials::Load({}));
  EXPECT_EQ(credentials, nullptr);
}

TEST_F(CredentialsTest, MutualTls) {
  Serve(mutual_);
  EXPECT_OK(Call(mutual_));
  EXPECT_OK(Call(mutual_, "localhost"));
  EXPECT_THAT(Call({.ca = authority_.ca()}), StatusIs(absl::StatusCode::kUnavailable)) << "no client certificate";
  const TestCertificate foreign = stranger_.Issue("foreign", {"IP:127.0.0.1"});
  EXPECT_THAT(Call({.cert = foreign.cert, .key = foreign.key, .ca = authority_.ca()}),
              StatusIs(absl::StatusCode::kUnavailable));
}

TEST_F(CredentialsTest, ServerOnlyTls) {
  Serve({.cert = node_.cert, .key = node_.key});
  EXPECT_OK(Call({.ca = authority_.ca()}));
  EXPECT_THAT(Call({.ca = stranger_.ca()}), StatusIs(absl::StatusCode::kUnavailable));
}

TEST_F(CredentialsTest, TheServersNameMustBeTheAddresss) {
  const TestCertificate elsewhere = authority_.Issue("elsewhere", {"DNS:server.example", "IP:10.0.0.1"});
  Serve({.cert = elsewhere.cert, .key = elsewhere.key});
  const absl::Status status = Call({.ca = authority_.ca()});
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("ostname")) << status;
  EXPECT_OK(Call({.ca = authority_.ca(), .server_name = "server.example"}));
}

TEST_F(CredentialsTest, PlainTextClientIsRefusedAtOnce) {
  Serve(mutual_);
  const absl::Time start = absl::Now();
  EXPECT_THAT(Call(TlsOptions()), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_LT(absl::Now() - start, absl::Seconds(10));
}

TEST_F(CredentialsTest, PlainTextServerIsRefusedAtOnce) {
  Serve({});
  const absl::Time start = absl::Now();
  EXPECT_THAT(Call(mutual_), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_LT(absl::Now() - start, absl::Seconds(10));
}

TEST_F(CredentialsTest, UnixSocketsArePlainText) {
  Serve(mutual_);
  EXPECT_OK(Call(runner_->local_address(), Credentials::Load(mutual_).value()));
  EXPECT_OK(Call(runner_->local_address(), nullptr));
}

// A handshake of OpenSSL's own with the server; returns the protocol's name, "" when it fails.
std::string Handshake(int port, int max_version, std::string* cipher) {
  SSL_CTX* const context = SSL_CTX_new(TLS_client_method());
  SSL_CTX_clear_options(context, SSL_OP_NO_TLSv1_2);
  SSL_CTX_set_max_proto_version(context, max_version);
  BIO* const bio = BIO_new_ssl_connect(context);
  BIO_set_conn_hostname(bio, absl::StrCat("127.0.0.1:", port).c_str());
  SSL* ssl = nullptr;
  BIO_get_ssl(bio, &ssl);
  const bool done = BIO_do_connect(bio) == 1 && BIO_do_handshake(bio) == 1;
  const std::string version = done ? SSL_get_version(ssl) : "";
  if (done && cipher != nullptr) *cipher = SSL_get_cipher(ssl);
  BIO_free_all(bio);
  SSL_CTX_free(context);
  return version;
}

TEST_F(CredentialsTest, TlsThirteenOrNothing) {
  Serve({.cert = node_.cert, .key = node_.key});
  std::string cipher;
  EXPECT_EQ(Handshake(runner_->port(), TLS1_3_VERSION, &cipher), "TLSv1.3");
  EXPECT_EQ(cipher, "TLS_AES_128_GCM_SHA256");
  EXPECT_EQ(Handshake(runner_->port(), TLS1_2_VERSION, nullptr), "");
}

TEST_F(CredentialsTest, ReplacedCertificatesTakeEffect) {
  TlsOptions options = {.cert = node_.cert, .key = node_.key};
  options.refresh_seconds = 1;
  Serve(options);
  const TlsOptions client = {.ca = authority_.ca(), .server_name = "renewed.example"};
  EXPECT_FALSE(Call(client).ok());
  authority_.Issue("node", {"DNS:renewed.example"});
  const absl::Time deadline = absl::Now() + absl::Seconds(20);
  absl::Status status;
  do {
    status = Call(client);
  } while (!status.ok() && absl::Now() < deadline);
  EXPECT_OK(status);
}

TEST_F(CredentialsTest, BadFilesAreNamedByTheirFlags) {
  const TestCertificate other = authority_.Issue("other", {});
  const struct {
    TlsOptions options;
    const char* flag;
  } kCases[] = {
      {{.cert = node_.cert}, "--tls-key: missing"},
      {{.key = node_.key}, "--tls-cert: missing"},
      {{.cert = node_.cert, .key = other.key}, "--tls-key: "},
      {{.cert = node_.key, .key = node_.key}, "--tls-cert: "},
      {{.cert = "/no/such/file", .key = node_.key}, "--tls-cert: "},
      {{.cert = node_.cert, .key = "/no/such/file"}, "--tls-key: "},
      {{.cert = node_.cert, .key = node_.key, .ca = "/no/such/file"}, "--tls-ca: "},
      {{.ca = node_.key}, "--tls-ca: "},
  };
  for (const auto& [options, flag] : kCases) {
    const absl::Status status = Credentials::Load(options).status();
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_FLAG")) << flag;
    EXPECT_THAT(std::string(status.message()), testing::StartsWith(flag));
  }
  EXPECT_OK(Credentials::Load({.ca = authority_.ca()}));
  EXPECT_THAT(Credentials::LoadForServer({.ca = authority_.ca()}),
              StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_FLAG"));
}

}  // namespace
}  // namespace paramd
