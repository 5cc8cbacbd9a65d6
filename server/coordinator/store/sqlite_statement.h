// RAII over SQLite's C interface: a connection, prepared statements, and its error codes as absl::Status.
//
//   ASSIGN_OR_RETURN(SqliteStatement insert, SqliteStatement::Prepare(db, "INSERT INTO t VALUES (?1)"));
//   insert.Bind(1, absl::string_view("x"));
//   RETURN_IF_ERROR(insert.Run());
//
// Not thread safe: one connection and its statements belong to one thread at a time.
#ifndef PARAMD_SERVER_COORDINATOR_STORE_SQLITE_STATEMENT_H_
#define PARAMD_SERVER_COORDINATOR_STORE_SQLITE_STATEMENT_H_

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace paramd {

struct SqliteCloser {
  void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
};
using SqliteConnection = std::unique_ptr<sqlite3, SqliteCloser>;

// The connection's last error as a status: STORE_CORRUPT (kDataLoss), STORE_CONFLICT
// (kAborted: a constraint) or STORE_UNAVAILABLE (kUnavailable).
absl::Status SqliteError(sqlite3* db, int code, absl::string_view operation);

// Runs SQL text that returns no rows; errors name the `operation`.
absl::Status SqliteExecute(sqlite3* db, absl::string_view operation, const std::string& sql);

class SqliteStatement {
 public:
  SqliteStatement() = default;
  static absl::StatusOr<SqliteStatement> Prepare(sqlite3* db, absl::string_view sql);

  // Parameters are numbered from 1. Texts and blobs are copied.
  void Bind(int index, int64_t value);
  void Bind(int index, absl::string_view text);
  void BindBlob(int index, const std::string& bytes);

  // True while there is a row; the columns are numbered from 0. After false or an error the statement is reset.
  absl::StatusOr<bool> Step();
  // Steps to the end and resets.
  absl::Status Run();
  // Ends a query before its last row.
  void Reset();

  int64_t Int(int column) const;
  std::string Bytes(int column) const;

 private:
  struct Finalizer {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
  };
  std::unique_ptr<sqlite3_stmt, Finalizer> statement_;
};

}  // namespace paramd

#endif  // PARAMD_SERVER_COORDINATOR_STORE_SQLITE_STATEMENT_H_
