#include "server/coordinator/store/etcd_transaction.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

TEST(EtcdTransactionTest, HasConditionsDeletionsAndPuts) {
  EtcdTransaction txn;
  txn.RequireRevision("jobs/1", 7);
  txn.Put("jobs/1", "record");
  txn.Delete("requests/r");
  const etcdserverpb::TxnRequest request = txn.Build();
  ASSERT_EQ(request.compare_size(), 1);
  EXPECT_EQ(request.compare(0).target(), etcdserverpb::Compare::MOD);
  EXPECT_EQ(request.compare(0).result(), etcdserverpb::Compare::EQUAL);
  EXPECT_EQ(request.compare(0).key(), "jobs/1");
  EXPECT_EQ(request.compare(0).mod_revision(), 7);
  ASSERT_EQ(request.success_size(), 2);
  EXPECT_EQ(request.success(0).request_delete_range().key(), "requests/r");
  EXPECT_EQ(request.success(0).request_delete_range().range_end(), "");
  EXPECT_EQ(request.success(1).request_put().value(), "record");
}

TEST(EtcdTransactionTest, TouchesNoKeyTwice) {
  EtcdTransaction txn;
  txn.Put("events/a/1", "x");
  txn.Put("events/a/2", "x");
  txn.Put("events/a/2", "y");
  txn.Put("events/ab/1", "z");
  txn.DeleteRange("events/a/0", "events/a/2");
  etcdserverpb::TxnRequest request = txn.Build();
  ASSERT_EQ(request.success_size(), 3);
  EXPECT_EQ(request.success(1).request_put().value(), "y");
  EXPECT_EQ(request.success(2).request_put().key(), "events/ab/1");

  txn.DeletePrefix("events/a/");
  request = txn.Build();
  ASSERT_EQ(request.success_size(), 3);
  EXPECT_EQ(request.success(0).request_delete_range().key(), "events/a/");
  EXPECT_EQ(request.success(0).request_delete_range().range_end(), "events/a0");
  EXPECT_EQ(request.success(2).request_put().key(), "events/ab/1");
}

TEST(EtcdTransactionTest, RangesFromOneKeyAreMerged) {
  EtcdTransaction txn;
  txn.DeleteRange("a", "c");
  txn.DeleteRange("a", "b");
  const etcdserverpb::TxnRequest request = txn.Build();
  ASSERT_EQ(request.success_size(), 1);
  EXPECT_EQ(request.success(0).request_delete_range().range_end(), "c");
}

}  // namespace
}  // namespace paramd
