#include "common/base/failpoint.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "common/base/error.h"
#include "common/base/failpoint_rule.h"
#include "common/base/scoped_failpoints.h"
#include "common/base/status_macros.h"
#include "common/base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

using absl::StatusCode;
using ::testing::HasSubstr;

// Numbers of the hits, of `hits`, at which the rule's point fails.
std::vector<int> FailingHits(const std::string& rule, int hits) {
  const ScopedFailpoints armed(rule);
  std::vector<int> failing;
  for (int hit = 1; hit <= hits; ++hit) {
    if (!HitFailpoint(Failpoint::kStoreCommit).ok()) failing.push_back(hit);
  }
  EXPECT_EQ(armed.fired(), failing.size());
  EXPECT_EQ(CountFailpoints()[0].hits, static_cast<uint64_t>(hits));
  return failing;
}

TEST(FailpointTest, NothingHappensUnlessArmed) {
  EXPECT_OK(HitFailpoint(Failpoint::kStoreCommit));
  EXPECT_EQ(IoFailpoint(Failpoint::kFileSync).error, 0);
  EXPECT_FALSE(SwitchFailpoint(Failpoint::kClientSendTwice));
  EXPECT_TRUE(CountFailpoints().empty());
}

TEST(FailpointTest, Triggers) {
  const struct {
    const char* trigger;
    std::vector<int> failing;  // Of 6 hits.
  } cases[] = {
      {"", {1, 2, 3, 4, 5, 6}},     {"@hit=3", {3}},      {"@hit=7", {}},
      {"@from=5", {5, 6}},          {"@times=2", {1, 2}}, {"@from=2,times=2", {2, 3}},
      {"@p=1", {1, 2, 3, 4, 5, 6}},
  };
  for (const auto& test : cases) {
    EXPECT_EQ(FailingHits(absl::StrCat("store.commit=fail(UNAVAILABLE)", test.trigger), 6), test.failing)
        << test.trigger;
  }
}

TEST(FailpointTest, ProbabilityIsAFunctionOfTheSeed) {
  const auto run = [](int seed) {
    return FailingHits(absl::StrCat("store.commit=fail(ABORTED)@p=0.3,seed=", seed), 1000);
  };
  const std::vector<int> first = run(1);
  EXPECT_EQ(run(1), first);
  EXPECT_NE(run(2), first);
  EXPECT_GT(first.size(), 200u);
  EXPECT_LT(first.size(), 400u);
}

TEST(FailpointTest, FailsWithTheStatusAskedFor) {
  const ScopedFailpoints armed("store.commit=fail(RESOURCE_EXHAUSTED,disk full, (really) @ 3)");
  const absl::Status status = HitFailpoint(Failpoint::kStoreCommit);
  EXPECT_THAT(status, StatusIs(StatusCode::kResourceExhausted, "FAILPOINT"));
  EXPECT_EQ(status.message(), "failpoint store.commit: disk full, (really) @ 3");
  EXPECT_EQ(GetErrorMetadata(status).at("failpoint"), "store.commit");
  EXPECT_OK(HitFailpoint(Failpoint::kStoreBegin));
}

TEST(FailpointTest, IoFaultsAndSwitches) {
  const ScopedFailpoints armed("file.sync=errno(ENOSPC);file.write=torn(512);client.send.twice=on@hit=2");
  EXPECT_EQ(IoFailpoint(Failpoint::kFileSync).error, ENOSPC);
  const IoFault torn = IoFailpoint(Failpoint::kFileWrite);
  EXPECT_EQ(torn.error, EIO);
  EXPECT_EQ(torn.bytes, 512u);
  EXPECT_FALSE(torn.abort);
  EXPECT_FALSE(SwitchFailpoint(Failpoint::kClientSendTwice));
  EXPECT_TRUE(SwitchFailpoint(Failpoint::kClientSendTwice));
}

TEST(FailpointTest, RulesOfSeveralPointsCountTogether) {
  const ScopedFailpoints armed(" file.*=errno(EIO)@hit=3 ; ");
  EXPECT_EQ(IoFailpoint(Failpoint::kFileCreate).error, 0);
  EXPECT_EQ(IoFailpoint(Failpoint::kFileWrite).error, 0);
  EXPECT_EQ(IoFailpoint(Failpoint::kDirectorySync).error, 0);  // Not one of them.
  EXPECT_EQ(IoFailpoint(Failpoint::kFileSync).error, EIO);
  for (const FailpointCount& count : CountFailpoints()) {
    const bool here = count.point == Failpoint::kFileSync;
    EXPECT_EQ(count.fired, here ? 1u : 0u) << InfoOf(count.point).name;
  }
}

TEST(FailpointTest, TheFirstRuleThatFiresActs) {
  const ScopedFailpoints armed("store.commit=fail(ABORTED)@hit=2;store.commit=fail(UNAVAILABLE)");
  EXPECT_THAT(HitFailpoint(Failpoint::kStoreCommit), StatusIs(StatusCode::kUnavailable));
  EXPECT_THAT(HitFailpoint(Failpoint::kStoreCommit), StatusIs(StatusCode::kAborted));
}

TEST(FailpointTest, DelaysAtLeastSoLong) {
  const ScopedFailpoints armed("server.answer=delay(30)");
  const absl::Time start = absl::Now();
  PassFailpoint(Failpoint::kServerAnswer);
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(30));
}

TEST(FailpointTest, PausesUntilTheFileIsThere) {
  const std::string path = testing::TempDir() + "/go-on";
  unlink(path.c_str());
  const ScopedFailpoints armed(absl::StrCat("server.answer=pause(", path, ")"));
  absl::Notification passed;
  std::thread thread([&] {
    PassFailpoint(Failpoint::kServerAnswer);
    passed.Notify();
  });
  while (armed.fired() == 0) absl::SleepFor(absl::Milliseconds(1));
  EXPECT_FALSE(passed.WaitForNotificationWithTimeout(absl::Milliseconds(20)));
  close(open(path.c_str(), O_CREAT | O_WRONLY, 0644));
  EXPECT_TRUE(passed.WaitForNotificationWithTimeout(absl::Seconds(30)));
  thread.join();
}

TEST(FailpointTest, AbortKillsTheProcessAtOnce) {
  const ScopedFailpoints armed("store.commit=abort@hit=2");
  const pid_t child = fork();
  if (child == 0) {
    (void)HitFailpoint(Failpoint::kStoreCommit);
    (void)HitFailpoint(Failpoint::kStoreCommit);
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGKILL);
}

TEST(FailpointTest, WrongRulesAreRefused) {
  const struct {
    const char* rules;
    const char* says;
  } cases[] = {
      {"store.comit=abort", "no failpoint \"store.comit\"; there are file.open, "},
      {"nothing.*=abort", "no failpoint"},
      {"store.commit", "POINT=ACTION"},
      {"store.commit=", "no action \"\""},
      {"store.commit=explode", "no action \"explode\"; there are delay"},
      {"store.commit=abort(1)", "abort takes no arguments"},
      {"store.commit=delay(-1)", "\"-1\" is not a number"},
      {"store.commit=delay(3", "the bracket is not closed"},
      {"store.commit=fail(EIO)", "\"EIO\" is no status code"},
      {"store.commit=fail(OK)", "\"OK\" is no status code"},
      {"store.commit=pause", "pause: the path of a file is missing"},
      {"file.sync=errno(EWHAT)", "one of EIO, ENOSPC"},
      {"file.write=torn(1,kill)", "BYTES,abort"},
      {"file.sync=torn(1)", "file.sync cannot do that"},
      {"store.commit=on", "store.commit cannot do that"},
      {"store.commit=errno(EIO)", "store.commit cannot do that"},
      {"store.committed=fail(ABORTED)", "store.committed cannot do that"},
      {"client.send.twice=delay(1)", "client.send.twice cannot do that"},
      {"store.*=fail(ABORTED)", "store.committed cannot do that"},
      {"store.commit=abort@soon", "no trigger \"soon\""},
      {"store.commit=abort@hit=0", "\"0\" is not a number of at least 1"},
      {"store.commit=abort@p=1.5", "p: a number in (0, 1]"},
      {"store.begin=abort;store.commit=abort@p=x", "rule \"store.commit=abort@p=x\""},
  };
  for (const auto& test : cases) {
    const absl::Status status = ArmFailpoints(test.rules);
    EXPECT_THAT(status, StatusIs(StatusCode::kInvalidArgument, "FAILPOINT_SYNTAX")) << test.rules;
    EXPECT_THAT(std::string(status.message()), HasSubstr(test.says));
  }
  EXPECT_TRUE(CountFailpoints().empty());
}

TEST(FailpointTest, NamesAreUniqueAndEnough) {
  std::vector<absl::string_view> names;
  for (const FailpointInfo& point : AllFailpoints()) names.push_back(point.name);
  EXPECT_GE(names.size(), 40u);
  std::sort(names.begin(), names.end());
  EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end());
}

}  // namespace
}  // namespace paramd
