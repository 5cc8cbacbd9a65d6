// paramctl: see README.md, or paramctl --help.
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "client/environment.h"
#include "client/interrupt.h"
#include "client/paramctl.h"
#include "common/base/clock.h"
#include "common/rpc/grpc_log.h"

namespace {

std::string Variable(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value == nullptr ? "" : value;
}

int TerminalWidth() {
  winsize size = {};
  return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace

int main(int argc, char** argv) {
  paramd::SilenceGrpcLog();
  paramd::SignalInterrupt interrupt;
  paramd::RealClock clock;
  paramd::Environment environment{.in = std::cin,
                                  .out = std::cout,
                                  .err = std::cerr,
                                  .clock = clock,
                                  .interrupt = interrupt,
                                  .variable = Variable,
                                  .terminal = isatty(STDOUT_FILENO) == 1 && Variable("TERM") != "dumb",
                                  .width = TerminalWidth()};
  return paramd::RunParamctl(std::vector<std::string>(argv + 1, argv + argc), environment);
}
