#include "common/metrics/series_keeper.h"

#include "gtest/gtest.h"
#include "prometheus/counter.h"
#include "prometheus/registry.h"

namespace paramd {
namespace {

class SeriesKeeperTest : public testing::Test {
 protected:
  size_t Count() const {
    const auto families = registry_.Collect();
    return families.empty() ? 0 : families[0].metric.size();
  }

  prometheus::Registry registry_;
  prometheus::Family<prometheus::Counter>& family_ = prometheus::BuildCounter().Name("steps").Register(registry_);
  SeriesKeeper keeper_;
};

TEST_F(SeriesKeeperTest, WhatWasCountedLingers) {
  prometheus::Counter& steps = keeper_.Add(family_, {{"train_job", "a"}});
  steps.Increment(3);
  keeper_.Remove(&steps);
  keeper_.Expire(absl::Now() + kSeriesLinger - absl::Minutes(1));
  EXPECT_EQ(Count(), 1u);
  keeper_.Expire(absl::Now() + kSeriesLinger);
  EXPECT_EQ(Count(), 0u);
}

TEST_F(SeriesKeeperTest, AJobThatBeginsAgainCountsOn) {
  prometheus::Counter& before = keeper_.Add(family_, {{"train_job", "a"}});
  before.Increment(3);
  keeper_.Remove(&before);
  prometheus::Counter& after = keeper_.Add(family_, {{"train_job", "a"}});
  EXPECT_EQ(after.Value(), 3);
  keeper_.Expire(absl::Now() + 2 * kSeriesLinger);
  EXPECT_EQ(Count(), 1u);
}

TEST_F(SeriesKeeperTest, TheEndOfOneLifeIsNotThatOfAnother) {
  prometheus::Counter& older = keeper_.Add(family_, {{"train_job", "a"}});
  prometheus::Counter& newer = keeper_.Add(family_, {{"train_job", "a"}});
  keeper_.RemoveNow(&older);
  ASSERT_EQ(Count(), 1u);
  newer.Increment();
  keeper_.RemoveNow(&newer);
  EXPECT_EQ(Count(), 0u);
}

}  // namespace
}  // namespace paramd
