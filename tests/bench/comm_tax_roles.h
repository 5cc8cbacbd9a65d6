// The processes of comm_tax: "local" trains alone; "server" is a coordinator and a server, and submits the jobs;
// "worker" is a worker. Driven over child_process.h:
//
//   server: {"command": "setup", "directory": D} -> {"address": the coordinator's}
//   worker: {"command": "setup", "coordinator": ADDRESS} -> {}
//   local, server: {"command": "train", "job": YAML} -> {"tokens_per_s": N}
#ifndef PARAMD_TESTS_BENCH_COMM_TAX_ROLES_H_
#define PARAMD_TESTS_BENCH_COMM_TAX_ROLES_H_

#include <string>

namespace paramd {

// Until the parent is done; returns main's exit code.
int RunTaxRole(const std::string& role);

}  // namespace paramd

#endif  // PARAMD_TESTS_BENCH_COMM_TAX_ROLES_H_
