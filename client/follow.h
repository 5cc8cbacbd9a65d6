// Follows a job until something ends it: the job, the caller, ^C, a deadline. Survives a restart of the coordinator:
// the stream is opened again after the last event seen, so that no event is lost or delivered twice.
//
//   ASSIGN_OR_RETURN(FollowEnd end, FollowJob(client, options, environment, [&](const v1::WatchJobResponse& update) {
//     ...; return true;   // false stops
//   }));
//
// Blocks the calling thread; `on_update` is called on it.
#ifndef PARAMD_CLIENT_FOLLOW_H_
#define PARAMD_CLIENT_FOLLOW_H_

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/cluster_client.h"
#include "client/environment.h"
#include "proto/job.pb.h"

namespace paramd {

enum class FollowEnd {
  kJobOver,      // The stream ended after the terminal event.
  kStopped,      // on_update returned false.
  kInterrupted,  // ^C.
  kTimedOut,     // options.deadline passed.
};

struct FollowOptions {
  std::string job_id;
  uint64_t after_sequence = 0;
  absl::Time deadline = absl::InfiniteFuture();
};

// Fails at once when the coordinator cannot be reached or does not know the job; when it was reached before, tries for
// environment.reconnect_for to reach it again.
absl::StatusOr<FollowEnd> FollowJob(ClusterClient& client, const FollowOptions& options, Environment& environment,
                                    const std::function<bool(const v1::WatchJobResponse&)>& on_update);

}  // namespace paramd

#endif  // PARAMD_CLIENT_FOLLOW_H_
