// Which host this is, so that two processes can tell whether they share one.
//
//   registration.set_host_id(HostId());
//   if (placement.host_id() == HostId()) ...   // Worth trying its unix socket.
//
// Pure and thread safe.
#ifndef PARAMD_COMMON_BASE_HOST_H_
#define PARAMD_COMMON_BASE_HOST_H_

#include <string>

namespace paramd {

// Equal for all processes of one host and boot, containers included: the kernel's boot id. Empty, which is equal to
// nobody's, when there is none. It is a hint and no proof: virtual machines woken from one snapshot have the same, and
// a container may not see the sockets of another. Who acts on it must be able to fall back.
std::string HostId();

}  // namespace paramd

#endif  // PARAMD_COMMON_BASE_HOST_H_
