// What every Store does alike: the same tests for SQLite and for a real etcd.
#include "server/coordinator/store/store.h"

#include <memory>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/coordinator/store/etcd_store.h"
#include "server/coordinator/store/sqlite_store.h"
#include "server/coordinator/testing/etcd_process.h"

namespace paramd {
namespace {

using coordinator::JobRecord;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

JobRecord Job(uint64_t ordinal, const std::string& id, v1::JobState state = v1::JOB_STATE_PENDING,
              const std::string& request_id = "") {
  JobRecord record;
  record.set_ordinal(ordinal);
  record.mutable_job()->set_job_id(id);
  record.mutable_job()->set_state(state);
  record.mutable_job()->set_request_id(request_id);
  return record;
}

v1::JobEvent Event(const std::string& id, uint64_t sequence, const std::string& message = "") {
  v1::JobEvent event;
  event.set_job_id(id);
  event.set_sequence(sequence);
  event.set_reason("TESTED");
  event.set_message(message);
  return event;
}

// Opens one kind of store, any number of times one after another.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual absl::Status Start(const std::string& directory) = 0;
  // The store before must be gone.
  virtual absl::StatusOr<std::unique_ptr<Store>> Open() = 0;
};

class SqliteBackend final : public Backend {
 public:
  absl::Status Start(const std::string& directory) override {
    path_ = directory + "/paramd.db";
    return absl::OkStatus();
  }
  absl::StatusOr<std::unique_ptr<Store>> Open() override { return OpenSqliteStore(path_); }

 private:
  std::string path_;
};

class EtcdBackend final : public Backend {
 public:
  absl::Status Start(const std::string& directory) override {
    auto etcd = EtcdProcess::Start(directory);
    if (!etcd.ok()) return etcd.status();
    etcd_ = *std::move(etcd);
    client_ = std::make_unique<EtcdClient>(EtcdOptions{.endpoints = {etcd_->endpoint()}});
    return absl::OkStatus();
  }
  // Each time as another leader.
  absl::StatusOr<std::unique_ptr<Store>> Open() override {
    leadership_.reset();
    auto campaigned = Leadership::Campaign(*client_, {.prefix = "/test/", .lease = absl::Seconds(10)});
    if (!campaigned.ok()) return campaigned.status();
    leadership_ = std::move(campaigned->leadership);
    if (leadership_ == nullptr) return absl::InternalError("somebody leads already");
    return OpenEtcdStore(*client_, *leadership_, "/test/");
  }

 private:
  std::unique_ptr<EtcdProcess> etcd_;
  std::unique_ptr<EtcdClient> client_;
  std::unique_ptr<Leadership> leadership_;
};

class StoreTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    std::string name = testing::UnitTest::GetInstance()->current_test_info()->name();
    for (char& c : name) c = c == '/' ? '-' : c;
    const std::string directory = absl::StrCat(testing::TempDir(), "/", name);
    RemoveTree(directory).IgnoreError();
    ASSERT_OK(EnsureDirectory(directory));
    if (std::string(GetParam()) == "sqlite") {
      backend_ = std::make_unique<SqliteBackend>();
    } else {
      backend_ = std::make_unique<EtcdBackend>();
    }
    ASSERT_OK(backend_->Start(directory));
    Open();
  }
  void Open() {
    store_.reset();
    auto store = backend_->Open();
    ASSERT_OK(store);
    store_ = *std::move(store);
  }
  std::vector<std::string> List(const JobQuery& query) {
    std::vector<std::string> ids;
    const auto records = store_->ListJobs(query);
    EXPECT_OK(records);
    if (!records.ok()) return ids;
    for (const JobRecord& record : *records) ids.push_back(record.job().job_id());
    return ids;
  }
  std::vector<uint64_t> Sequences(const std::string& job_id, uint64_t after, int limit) {
    std::vector<uint64_t> sequences;
    const auto events = store_->Events(job_id, after, limit);
    EXPECT_OK(events);
    if (!events.ok()) return sequences;
    for (const v1::JobEvent& event : *events) sequences.push_back(event.sequence());
    return sequences;
  }

  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Store> store_;
};

TEST_P(StoreTest, IsEmptyAtFirst) {
  EXPECT_THAT(store_->GetJob("a"), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(List({}), IsEmpty());
  EXPECT_THAT(Sequences("a", 0, 10), IsEmpty());
  ASSERT_OK_AND_ASSIGN(const uint64_t last, store_->LastOrdinal());
  EXPECT_EQ(last, 0u);
  ASSERT_OK_AND_ASSIGN(const auto counts, store_->CountJobs());
  EXPECT_THAT(counts, IsEmpty());
}

TEST_P(StoreTest, KeepsEverythingAcrossReopening) {
  ASSERT_OK(store_->Apply({.put_jobs = {Job(1, "a", v1::JOB_STATE_PENDING, "r-1"), Job(2, "b", v1::JOB_STATE_FAILED)},
                           .add_events = {Event("a", 1), Event("a", 2), Event("b", 1)}}));
  JobRecord running = Job(1, "a", v1::JOB_STATE_RUNNING, "r-1");
  running.mutable_job()->mutable_placement()->set_arena_elements(77);
  ASSERT_OK(store_->Apply({.put_jobs = {running}}));
  Open();
  ASSERT_OK_AND_ASSIGN(const JobRecord a, store_->GetJob("a"));
  EXPECT_EQ(a.SerializeAsString(), running.SerializeAsString());
  ASSERT_OK_AND_ASSIGN(const JobRecord by_request, store_->GetJobByRequestId("r-1"));
  EXPECT_EQ(by_request.job().job_id(), "a");
  EXPECT_THAT(store_->GetJob("z"), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(store_->GetJobByRequestId("r-2"), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(Sequences("a", 1, 10), ElementsAre(2));
  ASSERT_OK_AND_ASSIGN(const uint64_t last, store_->LastOrdinal());
  EXPECT_EQ(last, 2u);
  ASSERT_OK_AND_ASSIGN(const auto counts, store_->CountJobs());
  EXPECT_THAT(counts, ElementsAre(Pair(v1::JOB_STATE_RUNNING, 1), Pair(v1::JOB_STATE_FAILED, 1)));
  ASSERT_OK(store_->Apply({.put_jobs = {Job(1, "a", v1::JOB_STATE_SUCCEEDED, "r-1"), Job(3, "c")}}));
  EXPECT_THAT(List({}), ElementsAre("c", "b", "a"));
}

TEST_P(StoreTest, ListsNewestFirstByStateBelowAnOrdinal) {
  StoreBatch batch;
  for (int i = 1; i <= 30; ++i) {
    batch.put_jobs.push_back(Job(i, absl::StrCat("j", i), i % 2 == 0 ? v1::JOB_STATE_RUNNING : v1::JOB_STATE_FAILED));
  }
  ASSERT_OK(store_->Apply(batch));
  EXPECT_THAT(List({.limit = 2}), ElementsAre("j30", "j29"));
  EXPECT_THAT(List({.below_ordinal = 5, .limit = 2}), ElementsAre("j4", "j3"));
  EXPECT_THAT(List({.below_ordinal = 7, .states = {v1::JOB_STATE_RUNNING}}), ElementsAre("j6", "j4", "j2"));
  EXPECT_THAT(List({.below_ordinal = 1}), IsEmpty());
  EXPECT_EQ(List({.limit = 1000}).size(), 30u);
  Open();  // More than a page to read back.
  EXPECT_EQ(List({.limit = 1000}).size(), 30u);
  ASSERT_OK_AND_ASSIGN(const auto counts, store_->CountJobs());
  EXPECT_THAT(counts, ElementsAre(Pair(v1::JOB_STATE_RUNNING, 15), Pair(v1::JOB_STATE_FAILED, 15)));
}

TEST_P(StoreTest, ABatchIsAllOrNothing) {
  StoreBatch batch;
  batch.put_jobs = {Job(1, "a", v1::JOB_STATE_PENDING, "same"), Job(2, "b", v1::JOB_STATE_PENDING, "same")};
  batch.add_events = {Event("a", 1)};
  EXPECT_THAT(store_->Apply(batch), StatusIs(absl::StatusCode::kAborted, "STORE_CONFLICT"));
  EXPECT_THAT(store_->GetJob("a"), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(Sequences("a", 0, 10), IsEmpty());
  batch.put_jobs.pop_back();
  ASSERT_OK(store_->Apply(batch));  // The failed transaction is over.
  EXPECT_THAT(store_->Apply({.put_jobs = {Job(2, "b", v1::JOB_STATE_PENDING, "same")}}),
              StatusIs(absl::StatusCode::kAborted, "STORE_CONFLICT"));
  EXPECT_THAT(store_->Apply({.put_jobs = {Job(1, "b")}}), StatusIs(absl::StatusCode::kAborted, "STORE_CONFLICT"));
  EXPECT_THAT(List({}), ElementsAre("a"));
}

TEST_P(StoreTest, LaterChangesOfABatchWin) {
  ASSERT_OK(store_->Apply({.put_jobs = {Job(1, "a"), Job(1, "a", v1::JOB_STATE_RUNNING), Job(2, "b")},
                           .add_events = {Event("a", 1, "first"), Event("a", 1, "second"), Event("b", 1)},
                           .delete_jobs = {"b"}}));
  ASSERT_OK_AND_ASSIGN(const JobRecord a, store_->GetJob("a"));
  EXPECT_EQ(a.job().state(), v1::JOB_STATE_RUNNING);
  ASSERT_OK_AND_ASSIGN(const auto events, store_->Events("a", 0, 10));
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].message(), "second");
  EXPECT_THAT(store_->GetJob("b"), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(Sequences("b", 0, 10), IsEmpty());
}

TEST_P(StoreTest, DeletedJobsLeaveOnlyTheirId) {
  ASSERT_OK(store_->Apply({.put_jobs = {Job(1, "a", v1::JOB_STATE_FAILED, "r"), Job(2, "ab")},
                           .add_events = {Event("a", 1), Event("ab", 1)}}));
  ASSERT_OK(store_->Apply({.delete_jobs = {"a", "unknown"}}));
  for (int round = 0; round < 2; ++round) {
    EXPECT_THAT(store_->GetJob("a"), StatusIs(absl::StatusCode::kNotFound));
    EXPECT_THAT(store_->GetJobByRequestId("r"), StatusIs(absl::StatusCode::kNotFound));
    EXPECT_THAT(Sequences("a", 0, 10), IsEmpty());
    EXPECT_THAT(Sequences("ab", 0, 10), ElementsAre(1));  // A name that begins alike.
    ASSERT_OK_AND_ASSIGN(const bool taken, store_->JobIdTaken("a"));
    EXPECT_TRUE(taken);
    ASSERT_OK_AND_ASSIGN(const bool other, store_->JobIdTaken("b"));
    EXPECT_FALSE(other);
    Open();
  }
}

TEST_P(StoreTest, KeepsABoundedNumberOfEvents) {
  StoreBatch batch;
  for (uint64_t i = 1; i <= kMaxEventsPerJob + 5; ++i) {
    batch.add_events.push_back(Event("a", i));
    if (batch.add_events.size() < kMaxBatchItems && i < kMaxEventsPerJob + 5) continue;
    ASSERT_OK(store_->Apply(batch));
    batch.add_events.clear();
  }
  const std::vector<uint64_t> sequences = Sequences("a", 0, 1 << 20);
  ASSERT_EQ(sequences.size(), kMaxEventsPerJob);
  EXPECT_EQ(sequences.front(), 6u);
  EXPECT_EQ(sequences.back(), kMaxEventsPerJob + 5);
  EXPECT_THAT(Sequences("a", 700, 3), ElementsAre(701, 702, 703));
}

TEST_P(StoreTest, AFullBatchFitsAndALargerOneIsRefused) {
  StoreBatch batch;
  for (uint64_t i = 1; i <= kMaxBatchItems; ++i) {
    batch.put_jobs.push_back(Job(i, absl::StrCat("j", i), v1::JOB_STATE_PENDING, absl::StrCat("r", i)));
  }
  ASSERT_OK(store_->Apply(batch));
  batch.add_events = {Event("j1", 1)};
  EXPECT_THAT(store_->Apply(batch), StatusIs(absl::StatusCode::kInvalidArgument, "STORE_BATCH_TOO_LARGE"));
  StoreBatch all_gone;
  for (const JobRecord& job : batch.put_jobs) all_gone.delete_jobs.push_back(job.job().job_id());
  ASSERT_OK(store_->Apply(all_gone));
  EXPECT_THAT(List({}), IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(Backends, StoreTest, testing::Values("sqlite", "etcd"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace paramd
