// A real etcd on free ports of the loopback, for tests. It ends with the object, or with the test.
//
//   ASSERT_OK_AND_ASSIGN(auto etcd, EtcdProcess::Start(directory));
//   EtcdClient client({.endpoints = {etcd->endpoint()}});
//   etcd->Pause();     // SIGSTOP
//
// Not thread safe.
#ifndef PARAMD_SERVER_COORDINATOR_TESTING_ETCD_PROCESS_H_
#define PARAMD_SERVER_COORDINATOR_TESTING_ETCD_PROCESS_H_

#include <sys/types.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace paramd {

class EtcdProcess {
 public:
  // Returns when it answers. kNotFound with the command that installs etcd when there is none on this machine.
  static absl::StatusOr<std::unique_ptr<EtcdProcess>> Start(const std::string& directory);
  ~EtcdProcess();

  const std::string& endpoint() const { return endpoint_; }  // host:port.
  void Pause();                                              // SIGSTOP: connections stay, nothing answers.
  void Resume();
  void Kill();  // SIGKILL.
  // After Kill: the same data on the same ports.
  absl::Status Restart();

 private:
  explicit EtcdProcess(std::string directory) : directory_(std::move(directory)) {}
  absl::Status Launch();
  absl::Status AwaitAnswer();

  const std::string directory_;
  int client_port_ = 0;
  int peer_port_ = 0;
  std::string endpoint_;
  pid_t pid_ = -1;
};

}  // namespace paramd

#endif  // PARAMD_SERVER_COORDINATOR_TESTING_ETCD_PROCESS_H_
