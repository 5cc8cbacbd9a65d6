#include "client/interrupt.h"

#include <signal.h>
#include <sys/types.h>
#include <unistd.h>

#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "client/exit_code.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

TEST(ManualInterrupt, DeliversToTheHandlerOfTheMoment) {
  ManualInterrupt interrupt;
  EXPECT_FALSE(interrupt.Raise());
  int calls = 0;
  interrupt.SetHandler([&] { ++calls; });
  EXPECT_TRUE(interrupt.Raise());
  interrupt.SetHandler(nullptr);
  EXPECT_FALSE(interrupt.Raise());
  EXPECT_EQ(calls, 1);
}

TEST(SignalInterrupt, CallsTheHandlerOnSigint) {
  SignalInterrupt interrupt;
  absl::Notification called;
  interrupt.SetHandler([&] { called.Notify(); });
  kill(getpid(), SIGINT);
  EXPECT_TRUE(called.WaitForNotificationWithTimeout(absl::Seconds(30)));
  interrupt.SetHandler(nullptr);
}

TEST(SignalInterruptDeathTest, EndsTheProcessWithoutAHandler) {
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(
      {
        SignalInterrupt interrupt;
        kill(getpid(), SIGINT);
        while (true) pause();
      },
      ::testing::ExitedWithCode(kExitInterrupted), "");
}

}  // namespace
}  // namespace paramd
