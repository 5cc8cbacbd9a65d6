// The only place where statuses cross between absl, gRPC and google.rpc. Pure and thread safe.
//
// A status that goes out carries exactly one google.rpc.ErrorInfo (domain "paramd.v1"; the reason is the code's name
// when none was given) and RetryInfo with kUnavailable. What comes in keeps reason and metadata (common/base/error.h).
#ifndef PARAMD_COMMON_RPC_ERROR_STATUS_H_
#define PARAMD_COMMON_RPC_ERROR_STATUS_H_

#include "absl/status/status.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/support/status.h"

namespace paramd {

grpc::Status ToGrpcStatus(const absl::Status& status);
absl::Status FromGrpcStatus(const grpc::Status& status);

google::rpc::Status ToRpcStatus(const absl::Status& status);
absl::Status FromRpcStatus(const google::rpc::Status& status);

}  // namespace paramd

#endif  // PARAMD_COMMON_RPC_ERROR_STATUS_H_
