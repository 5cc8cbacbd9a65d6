// gRPC's knobs, as paramd sets them on channels and servers; each with its reason in the source.
//
// Pure and thread safe.
#ifndef PARAMD_COMMON_RPC_CHANNEL_ARGUMENTS_H_
#define PARAMD_COMMON_RPC_CHANNEL_ARGUMENTS_H_

#include <vector>

namespace paramd {

struct IntArgument {
  const char* name;  // A GRPC_ARG_*.
  int value;
};

// `bulk`: tensors, else small messages.
std::vector<IntArgument> ClientArguments(bool bulk);
std::vector<IntArgument> ServerArguments(bool bulk);

}  // namespace paramd

#endif  // PARAMD_COMMON_RPC_CHANNEL_ARGUMENTS_H_
