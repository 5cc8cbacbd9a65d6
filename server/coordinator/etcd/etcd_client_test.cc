#include "server/coordinator/etcd/etcd_client.h"

#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/coordinator/testing/etcd_process.h"

namespace paramd {
namespace {

using testing::HasSubstr;

std::string Directory() {
  return absl::StrCat(testing::TempDir(), "/", testing::UnitTest::GetInstance()->current_test_info()->name(), "-",
                      absl::ToUnixNanos(absl::Now()));
}

etcdserverpb::RangeRequest Key(const std::string& key) {
  etcdserverpb::RangeRequest request;
  request.set_key(key);
  return request;
}

TEST(EtcdClientTest, LeasesLiveAsLongAsTheyAreRenewed) {
  ASSERT_OK_AND_ASSIGN(const auto etcd, EtcdProcess::Start(Directory()));
  EtcdClient client({.endpoints = {etcd->endpoint()}});
  ASSERT_OK_AND_ASSIGN(const etcdserverpb::LeaseGrantResponse lease, client.LeaseGrant(30));
  EXPECT_EQ(lease.ttl(), 30);
  ASSERT_OK_AND_ASSIGN(const int64_t ttl, client.LeaseKeepAlive(lease.id()));
  EXPECT_EQ(ttl, 30);
  etcdserverpb::TxnRequest txn;
  etcdserverpb::PutRequest& put = *txn.add_success()->mutable_request_put();
  put.set_key("k");
  put.set_value("v");
  put.set_lease(lease.id());
  ASSERT_OK_AND_ASSIGN(const etcdserverpb::TxnResponse done, client.Txn(txn));
  EXPECT_TRUE(done.succeeded());
  ASSERT_OK_AND_ASSIGN(const etcdserverpb::RangeResponse found, client.Range(Key("k")));
  ASSERT_EQ(found.kvs_size(), 1);
  EXPECT_EQ(found.kvs(0).value(), "v");
  EXPECT_EQ(found.kvs(0).create_revision(), done.header().revision());
  ASSERT_OK(client.LeaseRevoke(lease.id()));
  ASSERT_OK_AND_ASSIGN(const etcdserverpb::RangeResponse gone, client.Range(Key("k")));
  EXPECT_EQ(gone.kvs_size(), 0);
  EXPECT_THAT(client.LeaseKeepAlive(lease.id()), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(client.LeaseRevoke(lease.id()), StatusIs(absl::StatusCode::kNotFound));
}

TEST(EtcdClientTest, AnEndpointThatDoesNotAnswerIsLeftForTheNext) {
  ASSERT_OK_AND_ASSIGN(const auto etcd, EtcdProcess::Start(Directory()));
  EtcdClient client({.endpoints = {"127.0.0.1:1", etcd->endpoint()}});
  const auto first = client.Range(Key("k"));
  EXPECT_THAT(first, StatusIs(absl::StatusCode::kUnavailable, "STORE_UNAVAILABLE"));
  EXPECT_THAT(std::string(first.status().message()), HasSubstr("etcd at 127.0.0.1:1: range: "));
  ASSERT_OK(client.Range(Key("k")));
  ASSERT_OK(client.Range(Key("k")));
}

TEST(EtcdClientTest, EveryCallHasADeadline) {
  ASSERT_OK_AND_ASSIGN(const auto etcd, EtcdProcess::Start(Directory()));
  EtcdClient client({.endpoints = {etcd->endpoint()}, .timeout = absl::Milliseconds(100)});
  ASSERT_OK(client.Range(Key("k")));
  etcd->Pause();
  const absl::Time start = absl::Now();
  EXPECT_THAT(client.Range(Key("k")), StatusIs(absl::StatusCode::kUnavailable, "STORE_UNAVAILABLE"));
  EXPECT_THAT(client.LeaseGrant(5), StatusIs(absl::StatusCode::kUnavailable, "STORE_UNAVAILABLE"));
  EXPECT_THAT(client.LeaseKeepAlive(5), StatusIs(absl::StatusCode::kUnavailable, "STORE_UNAVAILABLE"));
  EXPECT_LT(absl::Now() - start, absl::Seconds(10));
  etcd->Resume();
}

TEST(EtcdClientTest, WhatEtcdRefusesIsNotWorthAnotherTry) {
  ASSERT_OK_AND_ASSIGN(const auto etcd, EtcdProcess::Start(Directory()));
  EtcdClient client({.endpoints = {etcd->endpoint()}});
  etcdserverpb::TxnRequest txn;
  for (int i = 0; i < 2; ++i) txn.add_success()->mutable_request_put()->set_key("twice");
  EXPECT_THAT(client.Txn(txn), StatusIs(absl::StatusCode::kInvalidArgument, "STORE_REFUSED"));
}

TEST(EtcdClientTest, PrefixEnds) {
  EXPECT_EQ(EtcdPrefixEnd("/paramd/"), "/paramd0");
  EXPECT_EQ(EtcdPrefixEnd("a\xff"), "b");
  EXPECT_EQ(EtcdPrefixEnd("\xff"), std::string(1, '\0'));
}

}  // namespace
}  // namespace paramd
