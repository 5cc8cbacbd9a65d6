// absl::Time to and from google.protobuf.Timestamp. Pure and thread safe.
#ifndef PARAMD_SERVER_COORDINATOR_PROTO_TIME_H_
#define PARAMD_SERVER_COORDINATOR_PROTO_TIME_H_

#include "absl/time/time.h"
#include "google/protobuf/timestamp.pb.h"

namespace paramd {

inline google::protobuf::Timestamp ToTimestamp(absl::Time time) {
  const int64_t nanos = absl::ToUnixNanos(time);
  google::protobuf::Timestamp timestamp;
  timestamp.set_seconds(nanos / 1000000000);
  timestamp.set_nanos(static_cast<int32_t>(nanos % 1000000000));
  return timestamp;
}

inline absl::Time FromTimestamp(const google::protobuf::Timestamp& timestamp) {
  return absl::FromUnixSeconds(timestamp.seconds()) + absl::Nanoseconds(timestamp.nanos());
}

}  // namespace paramd

#endif  // PARAMD_SERVER_COORDINATOR_PROTO_TIME_H_
