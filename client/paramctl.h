// The whole program behind main: parses the command line and runs one verb.
//
//   return RunParamctl({"get", "gpt-austen-x3k9qz", "-o", "json"}, environment);
//
// Never throws. Blocks until the verb is done.
#ifndef PARAMD_CLIENT_PARAMCTL_H_
#define PARAMD_CLIENT_PARAMCTL_H_

#include <string>
#include <vector>

#include "client/environment.h"

namespace paramd {

// `arguments` without the program's name. Returns the exit code (client/exit_code.h).
int RunParamctl(const std::vector<std::string>& arguments, Environment& environment);

}  // namespace paramd

#endif  // PARAMD_CLIENT_PARAMCTL_H_
