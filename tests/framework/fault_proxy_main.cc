// The fault proxy as a program: commands on stdin, an answer a line on stdout. The first line is {"port":N}; a command
// that is wrong is answered "error: ...". It ends with its stdin.
//
//   fault_proxy [SEED]
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <string>

#include "absl/strings/numbers.h"
#include "tests/framework/fault_command.h"
#include "tests/framework/fault_proxy.h"

int main(int argc, char** argv) {
  uint64_t seed = 1;
  if (argc > 2 || (argc == 2 && !absl::SimpleAtoi(argv[1], &seed))) {
    std::fprintf(stderr, "usage: fault_proxy [SEED]\n");
    return 2;
  }
  const auto proxy = paramd::FaultProxy::Start({.seed = seed});
  if (!proxy.ok()) {
    std::fprintf(stderr, "fault_proxy: %s\n", std::string(proxy.status().message()).c_str());
    return 1;
  }
  std::cout << "{\"port\":" << (*proxy)->port() << "}" << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    const absl::StatusOr<std::string> answer = paramd::RunFaultCommand(line, **proxy);
    std::cout << (answer.ok() ? *answer : "error: " + std::string(answer.status().message())) << std::endl;
  }
  return 0;
}
