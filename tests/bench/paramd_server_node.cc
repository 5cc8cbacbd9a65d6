#include "tests/bench/paramd_server_node.h"

#include <filesystem>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "common/base/file.h"
#include "common/base/host.h"
#include "common/base/ids.h"
#include "common/base/logging.h"
#include "common/base/status_macros.h"
#include "common/rpc/test_certificates.h"
#include "server/server.h"
#include "tests/bench/paramd_job.h"

namespace paramd {
namespace {

class ServerNode final : public DataPlaneNode {
 public:
  ~ServerNode() override {
    server_.reset();
    if (!directory_.empty()) RemoveTree(directory_).IgnoreError();
  }

  absl::StatusOr<std::string> Setup(const NodeConfig& config) override {
    RETURN_IF_ERROR(InitLogging("data_plane", "error"));
    config_ = config;
    ASSIGN_OR_RETURN(job_, BenchJob::Create(config.measured, config.settings));
    directory_ = absl::StrCat(std::filesystem::temp_directory_path().string(), "/paramd-bench-", RandomSuffix(8));
    RETURN_IF_ERROR(EnsureDirectory(directory_));
    ServerAddress address = {.host_id = HostId()};
    ASSIGN_OR_RETURN(server_, ParameterServer::Start(Options(address)));
    address.tcp = absl::StrCat("127.0.0.1:", server_->port());
    return nlohmann::json(address).dump();
  }

  absl::Status Connect(const std::vector<std::string>& servers) override {
    std::vector<ServerAddress> addresses;
    for (const std::string& server : servers) addresses.push_back(nlohmann::json::parse(server).get<ServerAddress>());
    job_->Place(addresses);
    absl::Notification done;
    absl::Status prepared;
    server_->jobs().Prepare(job_->assignment(), config_.index, [&](const absl::StatusOr<int64_t>& memory) {
      prepared = memory.status();
      done.Notify();
    });
    done.WaitForNotification();
    return prepared;
  }

 private:
  // Nobody is there to be its coordinator: this node gives the commands.
  ServerOptions Options(ServerAddress& address) const {
    ServerOptions options;
    options.listen = options.metrics_listen = "127.0.0.1:0";
    options.coordinator = "127.0.0.1:1";
    options.log_level = "error";
    options.threads = config_.settings.owner_threads;
    options.output_dir = directory_ + "/output";
    options.bulk = config_.settings.transport;
    options.local_socket.place = directory_ + "/server.sock";
    address.local = "unix:" + options.local_socket.place;
    if (config_.measured.tls) {
      TestAuthority authority(directory_ + "/certificates");
      const TestCertificate certificate = authority.Issue("server", {"IP:127.0.0.1"});
      options.tls.cert = certificate.cert;
      options.tls.key = certificate.key;
      address.certificate_authority = authority.ca();
    }
    return options;
  }

  NodeConfig config_;
  std::string directory_;
  std::optional<BenchJob> job_;
  std::unique_ptr<ParameterServer> server_;
};

}  // namespace

std::unique_ptr<DataPlaneNode> ParamdServerNode() { return std::make_unique<ServerNode>(); }

}  // namespace paramd
