#include "common/rpc/termination.h"

#include <unistd.h>

#include <csignal>
#include <thread>

#include "gtest/gtest.h"

namespace paramd {
namespace {

TEST(TerminationTest, RequestsAndSignals) {
  BlockTerminationSignals();
  RequestTermination();
  EXPECT_EQ(WaitForTermination(), 0);
  kill(getpid(), SIGTERM);
  EXPECT_EQ(WaitForTermination(), SIGTERM);
  std::thread later([] { kill(getpid(), SIGINT); });
  EXPECT_EQ(WaitForTermination(), SIGINT);
  later.join();
  std::thread requester([] { RequestTermination(); });
  EXPECT_EQ(WaitForTermination(), 0);
  requester.join();
}

}  // namespace
}  // namespace paramd
