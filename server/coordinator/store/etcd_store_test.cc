// What is the etcd store's own: fencing, answers that are lost, an etcd that is away.
#include "server/coordinator/store/etcd_store.h"

#include <atomic>
#include <functional>
#include <memory>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/error.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/coordinator/testing/etcd_process.h"
#include "server/coordinator/testing/etcd_proxy.h"

namespace paramd {
namespace {

using coordinator::JobRecord;
using testing::HasSubstr;

JobRecord Job(uint64_t ordinal, const std::string& id, const std::string& message = "") {
  JobRecord record;
  record.set_ordinal(ordinal);
  record.mutable_job()->set_job_id(id);
  record.mutable_job()->set_message(message);
  return record;
}

StoreBatch Put(const JobRecord& record) { return {.put_jobs = {record}}; }

// One coordinator: its client goes through the proxy, its lease does not.
struct Candidate {
  explicit Candidate(const std::string& etcd)
      : proxy(etcd), client({.endpoints = {proxy.endpoint()}}), direct({.endpoints = {etcd}}) {}

  void Lead(absl::Duration lease = absl::Seconds(20), std::function<absl::Duration()> now = BootTime) {
    store.reset();
    auto campaigned = Leadership::Campaign(direct, {.prefix = "/t/", .lease = lease, .now = std::move(now)});
    ASSERT_OK(campaigned);
    ASSERT_NE(campaigned->leadership, nullptr);
    leadership = std::move(campaigned->leadership);
    auto opened = OpenEtcdStore(client, *leadership, "/t/");
    ASSERT_OK(opened);
    store = *std::move(opened);
  }

  EtcdProxy proxy;
  EtcdClient client;
  EtcdClient direct;
  std::unique_ptr<Leadership> leadership;
  std::unique_ptr<Store> store;
};

class EtcdStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::string directory =
        absl::StrCat(testing::TempDir(), "/", testing::UnitTest::GetInstance()->current_test_info()->name());
    RemoveTree(directory).IgnoreError();
    ASSERT_OK(EnsureDirectory(directory));
    ASSERT_OK_AND_ASSIGN(etcd_, EtcdProcess::Start(directory));
    first_ = std::make_unique<Candidate>(etcd_->endpoint());
    first_->Lead();
  }
  // Deletes the leader's key behind its back, and has another candidate take the lead.
  void Depose() {
    DeleteKey("/t/leader");
    second_ = std::make_unique<Candidate>(etcd_->endpoint());
    second_->Lead();
  }
  void DeleteKey(const std::string& key) {
    EtcdClient client({.endpoints = {etcd_->endpoint()}});
    etcdserverpb::TxnRequest txn;
    txn.add_success()->mutable_request_delete_range()->set_key(key);
    ASSERT_OK(client.Txn(txn));
  }
  void PutKey(const std::string& key, const std::string& value) {
    EtcdClient client({.endpoints = {etcd_->endpoint()}});
    etcdserverpb::TxnRequest txn;
    txn.add_success()->mutable_request_put()->set_key(key);
    txn.mutable_success(0)->mutable_request_put()->set_value(value);
    ASSERT_OK(client.Txn(txn));
  }

  std::unique_ptr<EtcdProcess> etcd_;
  std::unique_ptr<Candidate> first_;
  std::unique_ptr<Candidate> second_;
};

TEST_F(EtcdStoreTest, ADeposedLeaderWritesNothing) {
  ASSERT_OK(first_->store->Apply(Put(Job(1, "a", "of the first"))));
  Depose();  // The first does not know: its clock says that it leads.
  ASSERT_TRUE(first_->leadership->valid());
  EXPECT_THAT(first_->store->Apply(Put(Job(1, "a", "of a zombie"))),
              StatusIs(absl::StatusCode::kUnavailable, "NOT_LEADER"));
  EXPECT_FALSE(first_->leadership->valid());
  EXPECT_THAT(first_->store->GetJob("a"), StatusIs(absl::StatusCode::kUnavailable, "NOT_LEADER"));
  ASSERT_OK_AND_ASSIGN(const JobRecord a, second_->store->GetJob("a"));
  EXPECT_EQ(a.job().message(), "of the first");
  ASSERT_OK(second_->store->Apply(Put(Job(1, "a", "of the second"))));
}

TEST_F(EtcdStoreTest, ARequestThatIsUnderWayWhenTheLeadChangesIsRefused) {
  first_->proxy.BeforeTransaction([this] { Depose(); });
  EXPECT_THAT(first_->store->Apply(Put(Job(1, "late"))), StatusIs(absl::StatusCode::kUnavailable, "NOT_LEADER"));
  EXPECT_THAT(second_->store->GetJob("late"), StatusIs(absl::StatusCode::kNotFound));
}

TEST_F(EtcdStoreTest, ABatchWhoseAnswerIsLostIsAppliedOnce) {
  for (int lost = 1; lost <= 3; ++lost) {
    const int before = first_->proxy.transactions();
    first_->proxy.SpoilTransactions(EtcdProxy::Fault::kLoseAnswer, lost);
    StoreBatch batch = Put(Job(lost, absl::StrCat("j", lost)));
    batch.add_events.emplace_back();
    batch.add_events[0].set_job_id(absl::StrCat("j", lost));
    batch.add_events[0].set_sequence(1);
    ASSERT_OK(first_->store->Apply(batch));
    EXPECT_EQ(first_->proxy.transactions() - before, lost + 1);
    ASSERT_OK(first_->store->Apply(Put(Job(lost, absl::StrCat("j", lost), "again"))));  // The revisions are known.
  }
  EXPECT_TRUE(first_->leadership->valid());
}

TEST_F(EtcdStoreTest, ABatchThatDoesNotArriveIsSentAgain) {
  first_->proxy.SpoilTransactions(EtcdProxy::Fault::kLoseRequest, 3);
  ASSERT_OK(first_->store->Apply(Put(Job(1, "a"))));
  ASSERT_OK(first_->store->GetJob("a"));
}

TEST_F(EtcdStoreTest, AFullEtcdRefusesAndTheLeadStays) {
  first_->proxy.SpoilTransactions(EtcdProxy::Fault::kFull, 1);
  EXPECT_THAT(first_->store->Apply(Put(Job(1, "a"))), StatusIs(absl::StatusCode::kResourceExhausted, "STORE_FULL"));
  EXPECT_TRUE(first_->leadership->valid());
  ASSERT_OK(first_->store->Apply(Put(Job(1, "a"))));
}

TEST_F(EtcdStoreTest, KeysThatSomebodyElseChangedEndTheLead) {
  ASSERT_OK(first_->store->Apply(Put(Job(1, "a"))));
  PutKey("/t/jobs/00000000000000000001", Job(1, "a", "edited").SerializeAsString());
  EXPECT_THAT(first_->store->Apply(Put(Job(1, "a", "mine"))), StatusIs(absl::StatusCode::kAborted, "STORE_CONFLICT"));
  EXPECT_FALSE(first_->leadership->valid());
  first_->leadership->Resign();
  first_->Lead();
  ASSERT_OK_AND_ASSIGN(const JobRecord a, first_->store->GetJob("a"));
  EXPECT_EQ(a.job().message(), "edited");
}

TEST_F(EtcdStoreTest, ADeadEtcdEndsTheLeadAndTheWait) {
  first_->leadership->Resign();
  first_->Lead(absl::Seconds(2));
  etcd_->Kill();
  const absl::Time start = absl::Now();
  const absl::Status status = first_->store->Apply(Put(Job(1, "a")));
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable, "STORE_UNAVAILABLE"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("etcd at 127.0.0.1:"));
  EXPECT_LT(absl::Now() - start, absl::Seconds(10));
  EXPECT_FALSE(first_->leadership->valid());
  EXPECT_THAT(first_->store->GetJob("a"), StatusIs(absl::StatusCode::kUnavailable, "NOT_LEADER"));
}

// The lease goes past the proxy: it is renewed as ever.
TEST_F(EtcdStoreTest, AnEtcdThatStoresNothingEndsTheLead) {
  first_->proxy.SpoilTransactions(EtcdProxy::Fault::kLoseRequest, 1'000'000);
  EXPECT_THAT(first_->store->Apply(Put(Job(1, "a"))), StatusIs(absl::StatusCode::kUnavailable, "STORE_UNAVAILABLE"));
  EXPECT_THAT(first_->store->GetJob("a"), StatusIs(absl::StatusCode::kUnavailable, "NOT_LEADER"));
}

TEST_F(EtcdStoreTest, AnEtcdThatStandsStillForAMomentIsWaitedFor) {
  EtcdClient impatient({.endpoints = {etcd_->endpoint()}, .timeout = absl::Milliseconds(50)});
  ASSERT_OK_AND_ASSIGN(const auto store, OpenEtcdStore(impatient, *first_->leadership, "/t/"));
  etcd_->Pause();
  std::thread later([this] {
    absl::SleepFor(absl::Milliseconds(300));
    etcd_->Resume();
  });
  EXPECT_OK(store->Apply(Put(Job(1, "a"))));
  later.join();
  EXPECT_OK(store->GetJob("a"));
}

TEST_F(EtcdStoreTest, NothingIsAnsweredOnceTheLeaseMayHaveEnded) {
  first_->leadership->Resign();
  auto now = std::make_shared<std::atomic<int64_t>>(0);
  first_->Lead(absl::Seconds(20), [now] { return absl::Seconds(now->load()); });
  ASSERT_OK(first_->store->Apply(Put(Job(1, "a"))));
  const int before = first_->proxy.transactions();
  *now = 19;  // etcd's key is still there.
  EXPECT_THAT(first_->store->Apply(Put(Job(2, "b"))), StatusIs(absl::StatusCode::kUnavailable, "NOT_LEADER"));
  EXPECT_THAT(first_->store->CountJobs(), StatusIs(absl::StatusCode::kUnavailable, "NOT_LEADER"));
  EXPECT_THAT(first_->store->JobIdTaken("a"), StatusIs(absl::StatusCode::kUnavailable, "NOT_LEADER"));
  EXPECT_EQ(first_->proxy.transactions(), before);
}

TEST_F(EtcdStoreTest, ARecordThatEtcdWouldNotTakeIsRefused) {
  EXPECT_THAT(first_->store->Apply(Put(Job(1, "a", std::string(2 << 20, 'x')))),
              StatusIs(absl::StatusCode::kResourceExhausted, "STORE_RECORD_TOO_LARGE"));
  ASSERT_OK(first_->store->Apply(Put(Job(1, "a", std::string(1 << 20, 'x')))));
}

TEST_F(EtcdStoreTest, RefusesWhatItCannotRead) {
  ASSERT_OK(first_->store->Apply(Put(Job(1, "a"))));
  PutKey("/t/jobs/00000000000000000001", "\xff\xff");
  EXPECT_THAT(first_->store->GetJob("a"), StatusIs(absl::StatusCode::kDataLoss, "STORE_CORRUPT"));
  EXPECT_THAT(first_->store->ListJobs({}), StatusIs(absl::StatusCode::kDataLoss, "STORE_CORRUPT"));
  EXPECT_THAT(OpenEtcdStore(first_->client, *first_->leadership, "/t/"),
              StatusIs(absl::StatusCode::kDataLoss, "STORE_CORRUPT"));
  PutKey("/t/schema", "2");
  EXPECT_THAT(OpenEtcdStore(first_->client, *first_->leadership, "/t/"),
              StatusIs(absl::StatusCode::kFailedPrecondition, "STORE_VERSION"));
}

}  // namespace
}  // namespace paramd
