#include "worker/graph/graph.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace paramd {
namespace {

absl::Status Broken(const Op& op, absl::string_view rule) {
  return absl::InternalError(absl::StrCat("graph: op ", std::string(op.name()), ": ", rule));
}

// Distinct and in [0, limit).
absl::Status CheckIds(const Op& op, std::vector<int> ids, int limit) {
  std::sort(ids.begin(), ids.end());
  if (std::adjacent_find(ids.begin(), ids.end()) != ids.end()) return Broken(op, "an id is named twice");
  if (!ids.empty() && (ids.front() < 0 || ids.back() >= limit)) return Broken(op, "an id is out of range");
  return absl::OkStatus();
}

absl::Status CheckOp(const Op& op, int parameters, std::vector<bool>& written, std::vector<bool>& read) {
  const OpSignature& s = op.signature();
  const int values = static_cast<int>(written.size());
  std::vector<ValueId> ids = s.inputs;
  ids.insert(ids.end(), s.outputs.begin(), s.outputs.end());
  RETURN_IF_ERROR(CheckIds(op, ids, values));
  RETURN_IF_ERROR(CheckIds(op, s.parameters, parameters));
  for (ValueId id : s.kept) {
    if (std::find(ids.begin(), ids.end(), id) == ids.end()) return Broken(op, "keeps a value that is not its own");
  }
  for (ValueId id : s.inputs) {
    if (!written[id]) return Broken(op, "reads a value before it is written");
    read[id] = true;
  }
  for (ValueId id : s.outputs) {
    if (written[id]) return Broken(op, "writes a value that is written already");
    written[id] = true;
  }
  return absl::OkStatus();
}

}  // namespace

ValueId Graph::AddInput(int64_t width) {
  values_.push_back({.width = width, .input = true});
  return static_cast<ValueId>(values_.size()) - 1;
}

ValueId Graph::AddValue(int64_t width) {
  values_.push_back({.width = width});
  return static_cast<ValueId>(values_.size()) - 1;
}

absl::Status Graph::Check() const {
  std::vector<bool> written, read(values_.size(), false), used(parameters_, false);
  for (const GraphValue& value : values_) written.push_back(value.input);
  for (const std::unique_ptr<Op>& op : ops_) {
    RETURN_IF_ERROR(CheckOp(*op, parameters_, written, read));
    for (int parameter : op->signature().parameters) used[parameter] = true;
  }
  if (std::find(written.begin(), written.end(), false) != written.end() ||
      std::find(read.begin(), read.end(), false) != read.end()) {
    return absl::InternalError("graph: a value is never written or never read");
  }
  if (std::find(used.begin(), used.end(), false) != used.end()) {
    return absl::InternalError("graph: a parameter is used by no op");
  }
  return absl::OkStatus();
}

}  // namespace paramd
