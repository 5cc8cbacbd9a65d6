// What is SQLite's own; store_test.cc has what all stores do alike.
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

JobRecord Job(uint64_t ordinal, const std::string& id) {
  JobRecord record;
  record.set_ordinal(ordinal);
  record.mutable_job()->set_job_id(id);
  return record;
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

  std::string directory_;
  std::string path_;
  std::unique_ptr<Store> store_;
};

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
