// Where gRPC's own log lines go: into the daemon's log in its form, or nowhere.
//
//   RouteGrpcLog();      // Daemons, after InitLogging.
//   SilenceGrpcLog();    // Tools, whose errors say what there is to say.
//
// Both belong to the process and before its first channel or server. GRPC_VERBOSITY, where it is set, chooses what gRPC
// says in both cases; else errors alone.
#ifndef PARAMD_COMMON_RPC_GRPC_LOG_H_
#define PARAMD_COMMON_RPC_GRPC_LOG_H_

namespace paramd {

void RouteGrpcLog();
void SilenceGrpcLog();

}  // namespace paramd

#endif  // PARAMD_COMMON_RPC_GRPC_LOG_H_
