// Checks of PEM files with certificates and keys, before gRPC gets them: it only logs what it does not like.
//
//   RETURN_IF_ERROR(CheckCertificates("/etc/paramd/node.pem"));
//   RETURN_IF_ERROR(CheckKey("/etc/paramd/node.key", "/etc/paramd/node.pem"));
//
// kInvalidArgument or the error of reading, with the path in the message. Pure but for the files; thread safe.
#ifndef PARAMD_COMMON_RPC_PEM_H_
#define PARAMD_COMMON_RPC_PEM_H_

#include <string>

#include "absl/status/status.h"

namespace paramd {

// At least one certificate, and the first is valid now.
absl::Status CheckCertificates(const std::string& path);

// A private key without a passphrase, of the first certificate in `certificate_path`.
absl::Status CheckKey(const std::string& path, const std::string& certificate_path);

}  // namespace paramd

#endif  // PARAMD_COMMON_RPC_PEM_H_
