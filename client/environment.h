// What paramctl takes from the process around it: streams, variables, terminal, clock, ^C. Tests pass their own.
//
//   Environment environment{.in = std::cin, .out = std::cout, .err = std::cerr, .clock = clock, .interrupt =
//   interrupt}; return RunParamctl(arguments, environment);
//
// A plain aggregate of references: whoever builds it keeps the objects alive. Not thread safe.
#ifndef PARAMD_CLIENT_ENVIRONMENT_H_
#define PARAMD_CLIENT_ENVIRONMENT_H_

#include <functional>
#include <istream>
#include <ostream>
#include <string>

#include "absl/time/time.h"
#include "client/interrupt.h"
#include "common/base/clock.h"

namespace paramd {

struct Environment {
  std::istream& in;
  std::ostream& out;  // Data.
  std::ostream& err;  // Messages.
  const Clock& clock;
  Interrupt& interrupt;
  // Value of an environment variable, "" when it is not set.
  std::function<std::string(const std::string& name)> variable = [](const std::string&) { return std::string(); };
  bool terminal = false;  // Whether `out` is a terminal that understands carriage returns (not TERM=dumb).
  int width = 80;         // Columns of the terminal.
  // How long a broken watch tries to come back before it gives up.
  absl::Duration reconnect_for = absl::Minutes(5);
};

}  // namespace paramd

#endif  // PARAMD_CLIENT_ENVIRONMENT_H_
