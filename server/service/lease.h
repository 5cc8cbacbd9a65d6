// Where this server stands with the coordinator.
#ifndef PARAMD_SERVER_SERVICE_LEASE_H_
#define PARAMD_SERVER_SERVICE_LEASE_H_

namespace paramd {

enum class Lease {
  kNone,  // No coordinator has welcomed it yet, and none may know that it was started again.
  kHeld,
  kLost,  // Its jobs may have been given to others.
};

}  // namespace paramd

#endif  // PARAMD_SERVER_SERVICE_LEASE_H_
