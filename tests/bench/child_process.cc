#include "tests/bench/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/status_macros.h"

namespace paramd {
namespace {

constexpr absl::Duration kExitLimit = absl::Seconds(10);

struct Pipe {
  FileDescriptor read_end;
  FileDescriptor write_end;
};

absl::StatusOr<Pipe> MakePipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return FileError(errno, "pipe2", "a child's pipe");
  return Pipe{FileDescriptor(ends[0]), FileDescriptor(ends[1])};
}

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (const std::string& s : strings) pointers.push_back(const_cast<char*>(s.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

// Between fork and exec: async-signal-safe calls only.
[[noreturn]] void BecomeChild(int cpu, int standard_input, int standard_output, char** arguments, char** environment) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (cpu >= 0) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set) != 0) _exit(126);
  }
  if (dup2(standard_input, STDIN_FILENO) < 0 || dup2(standard_output, STDOUT_FILENO) < 0) _exit(126);
  execve("/proc/self/exe", arguments, environment);
  _exit(127);
}

absl::Duration FromTimeval(const timeval& time) { return absl::DurationFromTimeval(time); }

bool Exited(pid_t pid, absl::Duration limit) {
  const absl::Time deadline = absl::Now() + limit;
  while (waitpid(pid, nullptr, WNOHANG) == 0) {
    if (absl::Now() > deadline) return false;
    absl::SleepFor(absl::Milliseconds(1));
  }
  return true;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ChildProcess>> ChildProcess::Start(const ChildOptions& options) {
  ASSIGN_OR_RETURN(Pipe requests, MakePipe());
  ASSIGN_OR_RETURN(Pipe answers, MakePipe());
  std::vector<std::string> arguments = {"child"};
  arguments.insert(arguments.end(), options.arguments.begin(), options.arguments.end());
  std::vector<std::string> environment = options.environment;
  for (char** variable = environ; *variable != nullptr; ++variable) environment.push_back(*variable);
  const std::vector<char*> argument_pointers = Pointers(arguments), environment_pointers = Pointers(environment);
  const pid_t pid = fork();
  if (pid < 0) return FileError(errno, "fork", "a child process");
  if (pid == 0) {
    BecomeChild(options.cpu, requests.read_end.get(), answers.write_end.get(),
                const_cast<char**>(argument_pointers.data()), const_cast<char**>(environment_pointers.data()));
  }
  return std::unique_ptr<ChildProcess>(
      new ChildProcess(pid, std::move(requests.write_end), std::move(answers.read_end)));
}

ChildProcess::ChildProcess(pid_t pid, FileDescriptor requests, FileDescriptor answers)
    : pid_(pid), requests_(std::move(requests)), answers_(std::move(answers)) {}

ChildProcess::~ChildProcess() {
  requests_.Close();
  if (Exited(pid_, kExitLimit)) return;
  std::fprintf(stderr, "process %d does not end; killed\n", static_cast<int>(pid_));
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

absl::StatusOr<nlohmann::json> ChildProcess::Call(const nlohmann::json& request, absl::Duration limit) {
  RETURN_IF_ERROR(Send(request));
  return Receive(limit);
}

absl::Status ChildProcess::Send(const nlohmann::json& request) {
  const std::string line = request.dump() + "\n";
  size_t sent = 0;
  while (sent < line.size()) {
    const ssize_t n = write(requests_.get(), line.data() + sent, line.size() - sent);
    if (n < 0 && errno != EINTR) return FileError(errno, "write", "a child's standard input");
    sent += std::max<ssize_t>(n, 0);
  }
  return absl::OkStatus();
}

absl::StatusOr<nlohmann::json> ChildProcess::Receive(absl::Duration limit) {
  ASSIGN_OR_RETURN(const std::string line, ReadLine(absl::Now() + limit));
  nlohmann::json answer = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!answer.is_object()) return absl::InternalError(absl::StrCat("a child answered: ", line));
  if (answer.contains("error")) return absl::InternalError(answer["error"].get<std::string>());
  return answer;
}

absl::StatusOr<std::string> ChildProcess::ReadLine(absl::Time deadline) {
  while (true) {
    const size_t end = received_.find('\n');
    if (end != std::string::npos) {
      std::string line = received_.substr(0, end);
      received_.erase(0, end + 1);
      return line;
    }
    const int64_t remaining_ms = absl::ToInt64Milliseconds(deadline - absl::Now());
    pollfd waiting = {.fd = answers_.get(), .events = POLLIN, .revents = 0};
    const int ready = poll(&waiting, 1, static_cast<int>(std::max<int64_t>(remaining_ms, 0)));
    if (ready == 0) return absl::DeadlineExceededError("a child process did not answer in time");
    char buffer[4096];
    const ssize_t n = read(answers_.get(), buffer, sizeof(buffer));
    if (n == 0) return absl::UnavailableError("a child process ended");
    if (n < 0 && errno != EINTR) return FileError(errno, "read", "a child's standard output");
    received_.append(buffer, std::max<ssize_t>(n, 0));
  }
}

int AnswerParent(const RequestHandler& handler) {
  std::FILE* answers = fdopen(dup(STDOUT_FILENO), "w");
  if (answers == nullptr || dup2(STDERR_FILENO, STDOUT_FILENO) < 0) return 1;
  std::string line;
  while (std::getline(std::cin, line)) {
    const nlohmann::json request = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    const absl::StatusOr<nlohmann::json> answer = handler(request);
    const nlohmann::json text = answer.ok() ? *answer : nlohmann::json{{"error", answer.status().ToString()}};
    std::fprintf(answers, "%s\n", text.dump().c_str());
    std::fflush(answers);
  }
  std::fclose(answers);
  return 0;
}

absl::Duration CpuTime() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return FromTimeval(usage.ru_utime) + FromTimeval(usage.ru_stime);
}

}  // namespace paramd
