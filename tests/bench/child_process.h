// Processes of a benchmark: this executable again, in another role, that answers JSON objects, one a line.
//
//   ASSIGN_OR_RETURN(auto child, ChildProcess::Start({.arguments = {"--role=server"}}));
//   ASSIGN_OR_RETURN(nlohmann::json answer, child->Call({{"command", "setup"}}));
//   // In the child:
//   return AnswerParent([&](const nlohmann::json& request) { return node.Handle(request); });
//
// The child is executed anew, not only forked: gRPC does not survive a fork. Nothing but answers goes through its
// standard output: what a library prints there comes out on standard error. A child whose parent is gone ends.
//
// One thread per ChildProcess. The destructor ends the child and waits for it.
#ifndef PARAMD_TESTS_BENCH_CHILD_PROCESS_H_
#define PARAMD_TESTS_BENCH_CHILD_PROCESS_H_

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/file.h"
#include "nlohmann/json.hpp"

namespace paramd {

struct ChildOptions {
  std::vector<std::string> arguments;    // After the program's name.
  std::vector<std::string> environment;  // NAME=value, added to this process's.
  int cpu = -1;                          // The only processor it may run on; -1: any.
};

class ChildProcess {
 public:
  static absl::StatusOr<std::unique_ptr<ChildProcess>> Start(const ChildOptions& options);
  ChildProcess(const ChildProcess&) = delete;
  ~ChildProcess();

  // The child's answer. Its own errors come back as kInternal with its message; kUnavailable when it ended,
  // kDeadlineExceeded after `limit`.
  absl::StatusOr<nlohmann::json> Call(const nlohmann::json& request, absl::Duration limit = absl::Seconds(60));
  // The two halves of Call, for children that work at the same time.
  absl::Status Send(const nlohmann::json& request);
  absl::StatusOr<nlohmann::json> Receive(absl::Duration limit = absl::Seconds(60));

 private:
  ChildProcess(pid_t pid, FileDescriptor requests, FileDescriptor answers);
  absl::StatusOr<std::string> ReadLine(absl::Time deadline);

  const pid_t pid_;
  FileDescriptor requests_;
  FileDescriptor answers_;
  std::string received_;
};

using RequestHandler = std::function<absl::StatusOr<nlohmann::json>(const nlohmann::json& request)>;

// Answers every line of standard input until it ends; returns main's exit code. Only once in a process.
int AnswerParent(const RequestHandler& handler);

// User and system time of this process so far.
absl::Duration CpuTime();

}  // namespace paramd

#endif  // PARAMD_TESTS_BENCH_CHILD_PROCESS_H_
