// gRPC's socket mutator, as libgrpc 1.51 exports it for ChannelArguments::SetSocketMutator without installing its
// header.
//
// The layout must be the library's; third_party pins the version, and socket_options_test sees the mutator at work.
#ifndef PARAMD_COMMON_RPC_SOCKET_MUTATOR_H_
#define PARAMD_COMMON_RPC_SOCKET_MUTATOR_H_

#include "grpc/impl/codegen/grpc_types.h"
#include "grpc/support/sync.h"

enum grpc_fd_usage {
  GRPC_FD_CLIENT_CONNECTION_USAGE,  // Not connected yet.
  GRPC_FD_SERVER_LISTENER_USAGE,
  GRPC_FD_SERVER_CONNECTION_USAGE,  // Accepted.
};

struct grpc_mutate_socket_info {
  int fd;
  grpc_fd_usage usage;
};

struct grpc_socket_mutator_vtable {
  bool (*mutate_fd)(int fd, grpc_socket_mutator* mutator);
  int (*compare)(grpc_socket_mutator* a, grpc_socket_mutator* b);
  void (*destroy)(grpc_socket_mutator* mutator);
  bool (*mutate_fd_2)(const grpc_mutate_socket_info* info, grpc_socket_mutator* mutator);  // Used when not null.
};

struct grpc_socket_mutator {
  const grpc_socket_mutator_vtable* vtable;
  gpr_refcount refcount;
};

void grpc_socket_mutator_init(grpc_socket_mutator* mutator, const grpc_socket_mutator_vtable* vtable);

#endif  // PARAMD_COMMON_RPC_SOCKET_MUTATOR_H_
