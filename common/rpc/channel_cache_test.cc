#include "common/rpc/channel_cache.h"

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

TEST(ChannelCacheTest, SameAddressSameChannel) {
  ChannelCache cache({.kind = ChannelKind::kControl});
  const auto first = cache.Get("127.0.0.1:1");
  EXPECT_EQ(cache.Get("127.0.0.1:1"), first);
  EXPECT_NE(cache.Get("127.0.0.1:2"), first);
}

TEST(ChannelCacheTest, KeepsUsedChannelsAndFewUnusedOnes) {
  ChannelCache cache({.kind = ChannelKind::kControl});
  const auto used = cache.Get("127.0.0.1:1");
  for (int port = 2; port < 100; ++port) cache.Get(absl::StrCat("127.0.0.1:", port));
  EXPECT_LE(cache.size(), ChannelCache::kMaxUnused + 2);  // The used one, and the one that was got last.
  EXPECT_EQ(cache.Get("127.0.0.1:1"), used);
}

}  // namespace
}  // namespace paramd
