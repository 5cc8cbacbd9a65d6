// Messages as JSON and YAML, rows as an aligned table. Pure; thread safe.
//
//   Table table({"JOB", "STATE"});
//   table.AddRow({"gpt-austen-x3k9qz", "RUNNING"});
//   environment.out << table.ToString();
#ifndef PARAMD_CLIENT_OUTPUT_H_
#define PARAMD_CLIENT_OUTPUT_H_

#include <ostream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/global_options.h"
#include "google/protobuf/message.h"

namespace paramd {

enum class JsonLayout { kIndented, kOneLine };

// Proto JSON with the .proto files' field names; fields at their default are printed too. Ends with a newline.
absl::StatusOr<std::string> ToJson(const google::protobuf::Message& message, JsonLayout layout);

// The same as a YAML document. Numbers that JSON writes as strings (64 bits) are strings here too.
absl::StatusOr<std::string> ToYaml(const google::protobuf::Message& message);

// Columns padded to their widest cell, two spaces between them; no padding after the last column.
class Table {
 public:
  explicit Table(std::vector<std::string> header);
  void AddRow(std::vector<std::string> cells);  // As many as the header has.
  std::string ToString() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

// Writes `message` as JSON or YAML; kTable is the caller's business and refused with kInternal.
absl::Status WriteMessage(const google::protobuf::Message& message, OutputFormat format, std::ostream& out);

// For streams: one line of JSON, or one YAML document behind "---". Flushes.
absl::Status WriteStreamMessage(const google::protobuf::Message& message, OutputFormat format, std::ostream& out);

}  // namespace paramd

#endif  // PARAMD_CLIENT_OUTPUT_H_
