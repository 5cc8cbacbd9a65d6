#include "common/base/host.h"

#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "gtest/gtest.h"

namespace paramd {
namespace {

TEST(HostIdTest, IsAUuid) { EXPECT_EQ(HostId().size(), 36u) << HostId(); }

TEST(HostIdTest, IsTheSameInAnotherProcess) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    const std::string id = HostId();
    _exit(write(ends[1], id.data(), id.size()) == static_cast<ssize_t>(id.size()) ? 0 : 1);
  }
  char id[64] = {};
  const ssize_t size = read(ends[0], id, sizeof(id));
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(HostId(), std::string(id, static_cast<size_t>(size)));
  close(ends[0]);
  close(ends[1]);
}

}  // namespace
}  // namespace paramd
