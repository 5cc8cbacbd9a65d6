// Failpoints armed for a part of a test.
//
//   const ScopedFailpoints armed("file.sync=errno(EIO)@hit=2");
//   EXPECT_THAT(AtomicWriteFile(path, text), StatusIs(absl::StatusCode::kUnavailable, "FILE_ERROR"));
//   EXPECT_EQ(armed.fired(), 1u);
//
// One at a time: the points are the process's. Not thread safe.
#ifndef PARAMD_COMMON_BASE_SCOPED_FAILPOINTS_H_
#define PARAMD_COMMON_BASE_SCOPED_FAILPOINTS_H_

#include <cstdint>

#include "absl/strings/string_view.h"
#include "common/base/failpoint.h"
#include "common/base/status_matchers.h"
#include "gtest/gtest.h"

namespace paramd {

class ScopedFailpoints {
 public:
  explicit ScopedFailpoints(absl::string_view rules) { EXPECT_OK(ArmFailpoints(rules)); }
  ScopedFailpoints(const ScopedFailpoints&) = delete;
  ScopedFailpoints& operator=(const ScopedFailpoints&) = delete;
  ~ScopedFailpoints() { DisarmFailpoints(); }

  // How often any of the rules did something.
  uint64_t fired() const {
    uint64_t fired = 0;
    for (const FailpointCount& count : CountFailpoints()) fired += count.fired;
    return fired;
  }
};

}  // namespace paramd

#endif  // PARAMD_COMMON_BASE_SCOPED_FAILPOINTS_H_
