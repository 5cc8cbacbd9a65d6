#include "server/coordinator/testing/etcd_process.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "server/coordinator/etcd/etcd_client.h"

namespace paramd {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(20);
constexpr int kAttempts = 5;  // A port that was free may be taken the moment after.
constexpr char kMissing[] = "etcd is not installed; these tests need it: apt-get install etcd-server";

int FreePort() {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  const bool bound = bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
                     getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0;
  close(fd);
  return bound ? ntohs(address.sin_port) : 0;
}

bool Installed() {
  for (const char* path : {"/usr/bin/etcd", "/usr/local/bin/etcd"}) {
    if (access(path, X_OK) == 0) return true;
  }
  return false;
}

// In the child. The test's own signal mask must not reach etcd.
[[noreturn]] void Execute(const std::vector<std::string>& arguments, const std::string& log) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  const int fd = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  dup2(fd, STDOUT_FILENO);
  dup2(fd, STDERR_FILENO);
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  execvp(argv[0], argv.data());
  _exit(127);
}

}  // namespace

absl::StatusOr<std::unique_ptr<EtcdProcess>> EtcdProcess::Start(const std::string& directory) {
  if (!Installed()) return absl::NotFoundError(kMissing);
  RETURN_IF_ERROR(EnsureDirectory(directory));
  std::unique_ptr<EtcdProcess> etcd(new EtcdProcess(directory));
  absl::Status status;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    etcd->client_port_ = FreePort();
    etcd->peer_port_ = FreePort();
    etcd->endpoint_ = absl::StrCat("127.0.0.1:", etcd->client_port_);
    status = etcd->Launch();
    if (status.ok()) return etcd;
    etcd->Kill();
  }
  return status;
}

EtcdProcess::~EtcdProcess() { Kill(); }

absl::Status EtcdProcess::Launch() {
  const std::string client = absl::StrCat("http://127.0.0.1:", client_port_);
  const std::string peer = absl::StrCat("http://127.0.0.1:", peer_port_);
  // Short heartbeats: etcd derives the shortest lease from them.
  const std::vector<std::string> arguments = {"etcd",
                                              "--name=test",
                                              absl::StrCat("--data-dir=", directory_, "/etcd"),
                                              absl::StrCat("--listen-client-urls=", client),
                                              absl::StrCat("--advertise-client-urls=", client),
                                              absl::StrCat("--listen-peer-urls=", peer),
                                              absl::StrCat("--initial-advertise-peer-urls=", peer),
                                              absl::StrCat("--initial-cluster=test=", peer),
                                              "--heartbeat-interval=50",
                                              "--election-timeout=500",
                                              "--log-level=error"};
  pid_ = fork();
  if (pid_ == 0) Execute(arguments, absl::StrCat(directory_, "/etcd.log"));
  if (pid_ < 0) return absl::InternalError(absl::StrCat("fork: ", strerror(errno)));
  return AwaitAnswer();
}

absl::Status EtcdProcess::AwaitAnswer() {
  EtcdClient client({.endpoints = {endpoint_}});
  etcdserverpb::RangeRequest request;
  request.set_key("ready");
  const absl::Time deadline = absl::Now() + kPatience;
  while (true) {
    const absl::Status status = client.Range(request).status();
    if (status.ok()) return status;
    if (waitpid(pid_, nullptr, WNOHANG) == pid_) {
      pid_ = -1;
      return absl::UnavailableError(absl::StrCat("etcd ended; see ", directory_, "/etcd.log"));
    }
    if (absl::Now() > deadline) return status;
    absl::SleepFor(absl::Milliseconds(20));
  }
}

void EtcdProcess::Pause() { kill(pid_, SIGSTOP); }

void EtcdProcess::Resume() { kill(pid_, SIGCONT); }

void EtcdProcess::Kill() {
  if (pid_ <= 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

absl::Status EtcdProcess::Restart() { return Launch(); }

}  // namespace paramd
