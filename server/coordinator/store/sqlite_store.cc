#include "server/coordinator/store/sqlite_store.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/error.h"
#include "common/base/failpoint.h"
#include "common/base/status_macros.h"
#include "server/coordinator/store/sqlite_statement.h"

namespace paramd {
namespace {

using coordinator::JobRecord;

constexpr int kSchemaVersion = 1;
constexpr int kBusyTimeoutMs = 5000;

// The first read takes the exclusive lock for as long as the connection lives.
constexpr char kPragmas[] =
    "PRAGMA locking_mode=EXCLUSIVE;"
    "PRAGMA journal_mode=WAL;"
    "PRAGMA synchronous=FULL;"
    "PRAGMA wal_autocheckpoint=1000;";

constexpr char kSchema[] =
    "CREATE TABLE schema_version(version INTEGER NOT NULL);"
    "CREATE TABLE jobs(ordinal INTEGER PRIMARY KEY, job_id TEXT NOT NULL UNIQUE, request_id TEXT UNIQUE,"
    "                  state INTEGER NOT NULL, record BLOB NOT NULL);"
    "CREATE INDEX jobs_state ON jobs(state);"
    "CREATE TABLE events(job_id TEXT NOT NULL, sequence INTEGER NOT NULL, event BLOB NOT NULL,"
    "                    PRIMARY KEY(job_id, sequence)) WITHOUT ROWID;"
    "CREATE TABLE used_job_ids(job_id TEXT PRIMARY KEY) WITHOUT ROWID;";

template <typename Message>
absl::StatusOr<Message> Parse(const std::string& bytes, absl::string_view what) {
  Message message;
  if (!message.ParseFromString(bytes)) {
    return MakeError(absl::StatusCode::kDataLoss, "STORE_CORRUPT", absl::StrCat("stored ", what, " cannot be parsed"));
  }
  return message;
}

int64_t ToSql(uint64_t value) { return static_cast<int64_t>(std::min<uint64_t>(value, INT64_MAX)); }

class SqliteStore final : public Store {
 public:
  explicit SqliteStore(SqliteConnection db) : db_(std::move(db)) {}

  absl::Status Prepare();

  absl::Status Apply(const StoreBatch& batch) override;
  absl::StatusOr<JobRecord> GetJob(const std::string& job_id) override { return GetOne(get_job_, job_id); }
  absl::StatusOr<JobRecord> GetJobByRequestId(const std::string& request_id) override {
    return GetOne(get_by_request_, request_id);
  }
  absl::StatusOr<bool> JobIdTaken(const std::string& job_id) override;
  absl::StatusOr<std::vector<JobRecord>> ListJobs(const JobQuery& query) override;
  absl::StatusOr<std::map<v1::JobState, int64_t>> CountJobs() override;
  absl::StatusOr<uint64_t> LastOrdinal() override;
  absl::StatusOr<std::vector<v1::JobEvent>> Events(const std::string& job_id, uint64_t after, int limit) override;

 private:
  absl::Status ApplyRows(const StoreBatch& batch);
  absl::Status PutJob(const JobRecord& record);
  absl::Status AddEvent(const v1::JobEvent& event);
  absl::Status DeleteJob(const std::string& job_id);
  absl::StatusOr<JobRecord> GetOne(SqliteStatement& statement, const std::string& key);

  const SqliteConnection db_;  // Destroyed after the statements, which are declared below it.
  SqliteStatement put_job_, use_id_, add_event_, trim_events_, delete_job_, delete_events_;
  SqliteStatement get_job_, get_by_request_, id_taken_, count_jobs_, last_ordinal_, events_;
};

absl::Status SqliteStore::Prepare() {
  const std::pair<SqliteStatement*, const char*> statements[] = {
      {&put_job_,
       "INSERT INTO jobs(ordinal, job_id, request_id, state, record) VALUES (?1, ?2, NULLIF(?3, ''), ?4, ?5) "
       "ON CONFLICT(job_id) DO UPDATE SET state = excluded.state, record = excluded.record"},
      {&use_id_, "INSERT OR IGNORE INTO used_job_ids(job_id) VALUES (?1)"},
      {&add_event_, "INSERT OR REPLACE INTO events(job_id, sequence, event) VALUES (?1, ?2, ?3)"},
      {&trim_events_, "DELETE FROM events WHERE job_id = ?1 AND sequence <= ?2"},
      {&delete_job_, "DELETE FROM jobs WHERE job_id = ?1"},
      {&delete_events_, "DELETE FROM events WHERE job_id = ?1"},
      {&get_job_, "SELECT record FROM jobs WHERE job_id = ?1"},
      {&get_by_request_, "SELECT record FROM jobs WHERE request_id = ?1"},
      {&id_taken_, "SELECT 1 FROM used_job_ids WHERE job_id = ?1"},
      {&count_jobs_, "SELECT state, COUNT(*) FROM jobs GROUP BY state"},
      {&last_ordinal_, "SELECT IFNULL(MAX(ordinal), 0) FROM jobs"},
      {&events_, "SELECT event FROM events WHERE job_id = ?1 AND sequence > ?2 ORDER BY sequence LIMIT ?3"},
  };
  for (const auto& [statement, sql] : statements) {
    ASSIGN_OR_RETURN(*statement, SqliteStatement::Prepare(db_.get(), sql));
  }
  return absl::OkStatus();
}

absl::Status SqliteStore::Apply(const StoreBatch& batch) {
  RETURN_IF_ERROR(CheckBatch(batch));
  RETURN_IF_ERROR(HitFailpoint(Failpoint::kStoreBegin));
  RETURN_IF_ERROR(SqliteExecute(db_.get(), "begin", "BEGIN IMMEDIATE"));
  absl::Status status = ApplyRows(batch);
  if (status.ok()) status = HitFailpoint(Failpoint::kStoreCommit);
  if (status.ok()) status = SqliteExecute(db_.get(), "commit", "COMMIT");
  if (status.ok()) PassFailpoint(Failpoint::kStoreCommitted);
  // Some errors (disk full) have rolled back already.
  if (!status.ok() && sqlite3_get_autocommit(db_.get()) == 0)
    SqliteExecute(db_.get(), "roll back", "ROLLBACK").IgnoreError();
  return status;
}

absl::Status SqliteStore::ApplyRows(const StoreBatch& batch) {
  for (const JobRecord& record : batch.put_jobs) RETURN_IF_ERROR(PutJob(record));
  for (const v1::JobEvent& event : batch.add_events) RETURN_IF_ERROR(AddEvent(event));
  for (const std::string& job_id : batch.delete_jobs) RETURN_IF_ERROR(DeleteJob(job_id));
  return absl::OkStatus();
}

absl::Status SqliteStore::PutJob(const JobRecord& record) {
  put_job_.Bind(1, ToSql(record.ordinal()));
  put_job_.Bind(2, absl::string_view(record.job().job_id()));
  put_job_.Bind(3, absl::string_view(record.job().request_id()));
  put_job_.Bind(4, static_cast<int64_t>(record.job().state()));
  put_job_.BindBlob(5, record.SerializeAsString());
  RETURN_IF_ERROR(put_job_.Run());
  use_id_.Bind(1, absl::string_view(record.job().job_id()));
  return use_id_.Run();
}

absl::Status SqliteStore::AddEvent(const v1::JobEvent& event) {
  add_event_.Bind(1, absl::string_view(event.job_id()));
  add_event_.Bind(2, ToSql(event.sequence()));
  add_event_.BindBlob(3, event.SerializeAsString());
  RETURN_IF_ERROR(add_event_.Run());
  if (event.sequence() <= kMaxEventsPerJob) return absl::OkStatus();
  trim_events_.Bind(1, absl::string_view(event.job_id()));
  trim_events_.Bind(2, ToSql(event.sequence() - kMaxEventsPerJob));
  return trim_events_.Run();
}

absl::Status SqliteStore::DeleteJob(const std::string& job_id) {
  delete_events_.Bind(1, absl::string_view(job_id));
  RETURN_IF_ERROR(delete_events_.Run());
  delete_job_.Bind(1, absl::string_view(job_id));
  return delete_job_.Run();
}

absl::StatusOr<JobRecord> SqliteStore::GetOne(SqliteStatement& statement, const std::string& key) {
  RETURN_IF_ERROR(HitFailpoint(Failpoint::kStoreRead));
  statement.Bind(1, absl::string_view(key));
  ASSIGN_OR_RETURN(const bool found, statement.Step());
  if (!found) return absl::NotFoundError(absl::StrCat("no job ", key));
  const std::string bytes = statement.Bytes(0);
  statement.Reset();
  return Parse<JobRecord>(bytes, "job");
}

absl::StatusOr<bool> SqliteStore::JobIdTaken(const std::string& job_id) {
  id_taken_.Bind(1, absl::string_view(job_id));
  ASSIGN_OR_RETURN(const bool found, id_taken_.Step());
  if (found) id_taken_.Reset();
  return found;
}

absl::StatusOr<std::vector<JobRecord>> SqliteStore::ListJobs(const JobQuery& query) {
  std::string filter;
  if (!query.states.empty()) {
    filter = absl::StrCat(
        " AND state IN (",
        absl::StrJoin(query.states, ",",
                      [](std::string* out, v1::JobState state) { absl::StrAppend(out, static_cast<int>(state)); }),
        ")");
  }
  ASSIGN_OR_RETURN(SqliteStatement list,
                   SqliteStatement::Prepare(db_.get(), absl::StrCat("SELECT record FROM jobs WHERE ordinal < ?1",
                                                                    filter, " ORDER BY ordinal DESC LIMIT ?2")));
  list.Bind(1, ToSql(query.below_ordinal));
  list.Bind(2, static_cast<int64_t>(query.limit));
  std::vector<JobRecord> records;
  while (true) {
    ASSIGN_OR_RETURN(const bool row, list.Step());
    if (!row) return records;
    ASSIGN_OR_RETURN(JobRecord record, Parse<JobRecord>(list.Bytes(0), "job"));
    records.push_back(std::move(record));
  }
}

absl::StatusOr<std::map<v1::JobState, int64_t>> SqliteStore::CountJobs() {
  std::map<v1::JobState, int64_t> counts;
  while (true) {
    ASSIGN_OR_RETURN(const bool row, count_jobs_.Step());
    if (!row) return counts;
    counts[static_cast<v1::JobState>(count_jobs_.Int(0))] = count_jobs_.Int(1);
  }
}

absl::StatusOr<uint64_t> SqliteStore::LastOrdinal() {
  ASSIGN_OR_RETURN(const bool row, last_ordinal_.Step());
  const int64_t ordinal = row ? last_ordinal_.Int(0) : 0;
  last_ordinal_.Reset();
  return static_cast<uint64_t>(ordinal);
}

absl::StatusOr<std::vector<v1::JobEvent>> SqliteStore::Events(const std::string& job_id, uint64_t after, int limit) {
  events_.Bind(1, absl::string_view(job_id));
  events_.Bind(2, ToSql(after));
  events_.Bind(3, static_cast<int64_t>(limit));
  std::vector<v1::JobEvent> events;
  while (true) {
    ASSIGN_OR_RETURN(const bool row, events_.Step());
    if (!row) return events;
    absl::StatusOr<v1::JobEvent> event = Parse<v1::JobEvent>(events_.Bytes(0), "event");
    if (!event.ok()) {
      events_.Reset();
      return event.status();
    }
    events.push_back(*std::move(event));
  }
}

// The first text column of the first row of `sql`.
absl::StatusOr<std::string> QueryText(sqlite3* db, absl::string_view sql) {
  ASSIGN_OR_RETURN(SqliteStatement statement, SqliteStatement::Prepare(db, sql));
  ASSIGN_OR_RETURN(const bool row, statement.Step());
  return row ? statement.Bytes(0) : std::string();
}

absl::Status CreateOrCheckSchema(sqlite3* db) {
  ASSIGN_OR_RETURN(const std::string exists,
                   QueryText(db, "SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'schema_version'"));
  if (exists.empty()) {
    return SqliteExecute(
        db, "create tables",
        absl::StrCat("BEGIN IMMEDIATE;", kSchema, "INSERT INTO schema_version VALUES(", kSchemaVersion, ");COMMIT;"));
  }
  ASSIGN_OR_RETURN(const std::string check, QueryText(db, "PRAGMA quick_check(1)"));
  if (check != "ok") {
    return MakeError(absl::StatusCode::kDataLoss, "STORE_CORRUPT", absl::StrCat("SQLite: quick check failed: ", check));
  }
  ASSIGN_OR_RETURN(const std::string version, QueryText(db, "SELECT CAST(MAX(version) AS TEXT) FROM schema_version"));
  if (version != absl::StrCat(kSchemaVersion)) {
    return MakeError(
        absl::StatusCode::kFailedPrecondition, "STORE_VERSION",
        absl::StrCat("the database has schema version ", version, "; this coordinator reads version ", kSchemaVersion));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Store>> Open(const std::string& path) {
  sqlite3* raw = nullptr;
  const int code =
      sqlite3_open_v2(path.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_FULLMUTEX, nullptr);
  SqliteConnection db(raw);
  if (code != SQLITE_OK) return SqliteError(raw, code, "open");
  sqlite3_extended_result_codes(raw, 1);
  sqlite3_busy_timeout(raw, kBusyTimeoutMs);
  RETURN_IF_ERROR(SqliteExecute(raw, "configure", kPragmas));
  RETURN_IF_ERROR(CreateOrCheckSchema(raw));
  // Proves that the file can be written, and takes the exclusive lock, before any job is accepted.
  RETURN_IF_ERROR(
      SqliteExecute(raw, "first write", "BEGIN IMMEDIATE; UPDATE schema_version SET version = version; COMMIT;"));
  auto store = std::make_unique<SqliteStore>(std::move(db));
  RETURN_IF_ERROR(store->Prepare());
  return std::unique_ptr<Store>(std::move(store));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Store>> OpenSqliteStore(const std::string& path) {
  absl::StatusOr<std::unique_ptr<Store>> store = Open(path);
  if (!store.ok()) return Annotate(store.status(), absl::StrCat("job store ", path));
  return store;
}

}  // namespace paramd
