#include "server/coordinator/store/sqlite_store.h"

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/coordinator/store/sqlite_statement.h"

namespace paramd {
namespace {

using coordinator::JobRecord;

JobRecord Job(uint64_t ordinal, const std::string& id, v1::JobState state = v1::JOB_STATE_PENDING,
              const std::string& request_id = "") {
  JobRecord record;
  record.set_ordinal(ordinal);
  record.mutable_job()->set_job_id(id);
  record.mutable_job()->set_state(state);
  record.mutable_job()->set_request_id(request_id);
  return record;
}

v1::JobEvent Event(const std::string& id, uint64_t sequence) {
  v1::JobEvent event;
  event.set_job_id(id);
  event.set_sequence(sequence);
  event.set_reason("TESTED");
  return event;
}

class SqliteStoreTest : public testing::Test {
 protected:
  SqliteStoreTest() {
    directory_ = absl::StrCat(testing::TempDir(), "/", testing::UnitTest::GetInstance()->current_test_info()->name());
    RemoveTree(directory_).IgnoreError();
    EXPECT_OK(EnsureDirectory(directory_));
    path_ = directory_ + "/paramd.db";
  }
  void Open() {
    store_.reset();
    auto store = OpenSqliteStore(path_);
    ASSERT_OK(store);
    store_ = *std::move(store);
  }
  std::vector<std::string> List(const JobQuery& query) {
    std::vector<std::string> ids;
    const auto records = store_->ListJobs(query);
    EXPECT_OK(records);
    for (const JobRecord& record : *records) ids.push_back(record.job().job_id());
    return ids;
  }

  std::string directory_;
  std::string path_;
  std::unique_ptr<Store> store_;
};

TEST_F(SqliteStoreTest, KeepsEverythingAcrossReopening) {
  Open();
  StoreBatch batch;
  batch.put_jobs = {Job(1, "a", v1::JOB_STATE_PENDING, "r-1"), Job(2, "b", v1::JOB_STATE_FAILED)};
  batch.add_events = {Event("a", 1), Event("a", 2), Event("b", 1)};
  ASSERT_OK(store_->Apply(batch));
  batch = {};
  batch.put_jobs = {Job(1, "a", v1::JOB_STATE_RUNNING, "r-1")};
  ASSERT_OK(store_->Apply(batch));
  Open();
  ASSERT_OK_AND_ASSIGN(const JobRecord a, store_->GetJob("a"));
  EXPECT_EQ(a.job().state(), v1::JOB_STATE_RUNNING);
  ASSERT_OK_AND_ASSIGN(const JobRecord by_request, store_->GetJobByRequestId("r-1"));
  EXPECT_EQ(by_request.job().job_id(), "a");
  EXPECT_THAT(store_->GetJob("z"), StatusIs(absl::StatusCode::kNotFound));
  EXPECT_THAT(store_->GetJobByRequestId("r-2"), StatusIs(absl::StatusCode::kNotFound));
  ASSERT_OK_AND_ASSIGN(const auto events, store_->Events("a", 1, 10));
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].sequence(), 2u);
  ASSERT_OK_AND_ASSIGN(const uint64_t last, store_->LastOrdinal());
  EXPECT_EQ(last, 2u);
  ASSERT_OK_AND_ASSIGN(const auto counts, store_->CountJobs());
  EXPECT_THAT(counts,
              testing::ElementsAre(testing::Pair(v1::JOB_STATE_RUNNING, 1), testing::Pair(v1::JOB_STATE_FAILED, 1)));
}

TEST_F(SqliteStoreTest, ListsNewestFirstByStateBelowAnOrdinal) {
  Open();
  StoreBatch batch;
  for (int i = 1; i <= 6; ++i) {
    batch.put_jobs.push_back(Job(i, absl::StrCat("j", i), i % 2 == 0 ? v1::JOB_STATE_RUNNING : v1::JOB_STATE_FAILED));
  }
  ASSERT_OK(store_->Apply(batch));
  EXPECT_THAT(List({.limit = 2}), testing::ElementsAre("j6", "j5"));
  EXPECT_THAT(List({.below_ordinal = 5, .limit = 2}), testing::ElementsAre("j4", "j3"));
  EXPECT_THAT(List({.states = {v1::JOB_STATE_RUNNING}}), testing::ElementsAre("j6", "j4", "j2"));
}

TEST_F(SqliteStoreTest, ABatchIsAllOrNothing) {
  Open();
  StoreBatch batch;
  batch.put_jobs = {Job(1, "a", v1::JOB_STATE_PENDING, "same"), Job(2, "b", v1::JOB_STATE_PENDING, "same")};
  EXPECT_THAT(store_->Apply(batch), StatusIs(absl::StatusCode::kUnavailable, "STORE_UNAVAILABLE"));
  EXPECT_THAT(store_->GetJob("a"), StatusIs(absl::StatusCode::kNotFound));
  batch.put_jobs.pop_back();
  ASSERT_OK(store_->Apply(batch));  // The failed transaction is over.
}

TEST_F(SqliteStoreTest, DeletedJobsLeaveOnlyTheirId) {
  Open();
  StoreBatch batch;
  batch.put_jobs = {Job(1, "a")};
  batch.add_events = {Event("a", 1)};
  ASSERT_OK(store_->Apply(batch));
  batch = {};
  batch.delete_jobs = {"a"};
  ASSERT_OK(store_->Apply(batch));
  EXPECT_THAT(store_->GetJob("a"), StatusIs(absl::StatusCode::kNotFound));
  ASSERT_OK_AND_ASSIGN(const auto events, store_->Events("a", 0, 10));
  EXPECT_TRUE(events.empty());
  ASSERT_OK_AND_ASSIGN(const bool taken, store_->JobIdTaken("a"));
  EXPECT_TRUE(taken);
  ASSERT_OK_AND_ASSIGN(const bool other, store_->JobIdTaken("b"));
  EXPECT_FALSE(other);
}

TEST_F(SqliteStoreTest, KeepsABoundedNumberOfEvents) {
  Open();
  StoreBatch batch;
  for (uint64_t i = 1; i <= kMaxEventsPerJob + 5; ++i) batch.add_events.push_back(Event("a", i));
  ASSERT_OK(store_->Apply(batch));
  ASSERT_OK_AND_ASSIGN(const auto events, store_->Events("a", 0, 1 << 20));
  EXPECT_EQ(events.size(), kMaxEventsPerJob);
  EXPECT_EQ(events.front().sequence(), 6u);
}

TEST_F(SqliteStoreTest, RefusesWhatItCannotUse) {
  EXPECT_THAT(OpenSqliteStore(directory_ + "/no/such/dir.db"),
              StatusIs(absl::StatusCode::kUnavailable, "STORE_UNAVAILABLE"));
  ASSERT_OK(AtomicWriteFile(path_, std::string(4096, 'x')));
  EXPECT_THAT(OpenSqliteStore(path_), StatusIs(absl::StatusCode::kDataLoss, "STORE_CORRUPT"));
}

TEST_F(SqliteStoreTest, RefusesADatabaseThatIsOpenElsewhere) {
  Open();
  const auto second = OpenSqliteStore(path_);
  EXPECT_THAT(second, StatusIs(absl::StatusCode::kUnavailable, "STORE_UNAVAILABLE"));
  EXPECT_THAT(std::string(second.status().message()), testing::HasSubstr("another process"));
}

TEST_F(SqliteStoreTest, RefusesANewerSchema) {
  Open();
  store_.reset();
  sqlite3* raw = nullptr;
  ASSERT_EQ(sqlite3_open(path_.c_str(), &raw), SQLITE_OK);
  {
    const SqliteConnection db(raw);
    ASSERT_OK(SqliteExecute(raw, "test", "UPDATE schema_version SET version = 2"));
  }
  EXPECT_THAT(OpenSqliteStore(path_), StatusIs(absl::StatusCode::kFailedPrecondition, "STORE_VERSION"));
}

TEST_F(SqliteStoreTest, ReportsARecordThatCannotBeParsed) {
  Open();
  StoreBatch batch;
  batch.put_jobs = {Job(1, "a")};
  ASSERT_OK(store_->Apply(batch));
  store_.reset();
  sqlite3* raw = nullptr;
  ASSERT_EQ(sqlite3_open(path_.c_str(), &raw), SQLITE_OK);
  {
    const SqliteConnection db(raw);
    ASSERT_OK(SqliteExecute(raw, "test", "UPDATE jobs SET record = x'ffff'"));
  }
  Open();
  EXPECT_THAT(store_->GetJob("a"), StatusIs(absl::StatusCode::kDataLoss, "STORE_CORRUPT"));
  EXPECT_THAT(store_->ListJobs({}), StatusIs(absl::StatusCode::kDataLoss, "STORE_CORRUPT"));
}

}  // namespace
}  // namespace paramd
