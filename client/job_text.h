// Jobs, events and nodes in words for people. Pure: the current time is an argument. Thread safe.
#ifndef PARAMD_CLIENT_JOB_TEXT_H_
#define PARAMD_CLIENT_JOB_TEXT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "google/protobuf/timestamp.pb.h"
#include "proto/cluster.pb.h"
#include "proto/job.pb.h"

namespace paramd {

std::string StateName(v1::JobState state);  // "RUNNING"
std::string PhaseName(v1::JobPhase phase);  // "TRAINING"
// "42s", "5m", "3h", "2d": the largest whole unit; "-" for an unset time.
std::string Age(const google::protobuf::Timestamp& time, absl::Time now);
// "42s", "1m20s", "3h05m": two units.
std::string ShortDuration(absl::Duration duration);
// "512 B", "1.5 MiB".
std::string ByteCount(uint64_t bytes);
// "tokens" of a language model, "samples" of a classifier: what tokens_per_second counts.
std::string ThroughputUnit(const v1::Job& job);

// JOB STATE PHASE STEP LOSS VAL_LOSS RATE AGE
std::string JobTable(const std::vector<v1::Job>& jobs, absl::Time now);
// NODE ROLE STATE ADDRESS JOBS MEMORY DEVICE VERSION HEARTBEAT
std::string NodeTable(const v1::ListNodesResponse& nodes, absl::Time now);
// "12:03:44  STARTED  message"; warnings are marked with "!". Local time of `zone`.
std::string EventLine(const v1::JobEvent& event, absl::TimeZone zone);
// Everything about a job as "Key: value" lines, its specification as YAML, and its events last.
std::string Describe(const v1::Job& job, const std::vector<v1::JobEvent>& events, absl::Time now, absl::TimeZone zone);
// What a finished job came to, in a few lines.
std::string Summary(const v1::Job& job);

}  // namespace paramd

#endif  // PARAMD_CLIENT_JOB_TEXT_H_
