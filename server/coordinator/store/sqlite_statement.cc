#include "server/coordinator/store/sqlite_statement.h"

#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"

namespace paramd {

absl::Status SqliteError(sqlite3* db, int code, absl::string_view operation) {
  const std::string message =
      absl::StrCat("SQLite: ", operation, ": ", db != nullptr ? sqlite3_errmsg(db) : sqlite3_errstr(code), " (code ",
                   db != nullptr ? sqlite3_extended_errcode(db) : code, ")");
  const int primary = code & 0xff;
  if (primary == SQLITE_BUSY || primary == SQLITE_LOCKED) {
    return MakeError(absl::StatusCode::kUnavailable, "STORE_UNAVAILABLE",
                     absl::StrCat(message, "; another process has it open"));
  }
  if (primary == SQLITE_CONSTRAINT) return MakeError(absl::StatusCode::kAborted, "STORE_CONFLICT", message);
  if (primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB) {
    return MakeError(absl::StatusCode::kDataLoss, "STORE_CORRUPT", message);
  }
  return MakeError(absl::StatusCode::kUnavailable, "STORE_UNAVAILABLE", message);
}

absl::Status SqliteExecute(sqlite3* db, absl::string_view operation, const std::string& sql) {
  const int code = sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? absl::OkStatus() : SqliteError(db, code, operation);
}

absl::StatusOr<SqliteStatement> SqliteStatement::Prepare(sqlite3* db, absl::string_view sql) {
  sqlite3_stmt* raw = nullptr;
  const int code =
      sqlite3_prepare_v3(db, sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT, &raw, nullptr);
  if (code != SQLITE_OK) return SqliteError(db, code, sql.substr(0, 60));
  SqliteStatement statement;
  statement.statement_.reset(raw);
  return statement;
}

void SqliteStatement::Bind(int index, int64_t value) { sqlite3_bind_int64(statement_.get(), index, value); }

void SqliteStatement::Bind(int index, absl::string_view text) {
  sqlite3_bind_text64(statement_.get(), index, text.data(), text.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
}

void SqliteStatement::BindBlob(int index, const std::string& bytes) {
  sqlite3_bind_blob64(statement_.get(), index, bytes.data(), bytes.size(), SQLITE_TRANSIENT);
}

absl::StatusOr<bool> SqliteStatement::Step() {
  const int code = sqlite3_step(statement_.get());
  if (code == SQLITE_ROW) return true;
  absl::Status status;
  if (code != SQLITE_DONE)
    status = SqliteError(sqlite3_db_handle(statement_.get()), code, sqlite3_sql(statement_.get()));
  Reset();
  if (!status.ok()) return status;
  return false;
}

absl::Status SqliteStatement::Run() {
  while (true) {
    ASSIGN_OR_RETURN(const bool row, Step());
    if (!row) return absl::OkStatus();
  }
}

void SqliteStatement::Reset() {
  sqlite3_reset(statement_.get());
  sqlite3_clear_bindings(statement_.get());
}

int64_t SqliteStatement::Int(int column) const { return sqlite3_column_int64(statement_.get(), column); }

std::string SqliteStatement::Bytes(int column) const {
  const void* data = sqlite3_column_blob(statement_.get(), column);
  const int size = sqlite3_column_bytes(statement_.get(), column);
  return data == nullptr ? std::string() : std::string(static_cast<const char*>(data), size);
}

}  // namespace paramd
