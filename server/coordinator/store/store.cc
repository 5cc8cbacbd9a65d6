#include "server/coordinator/store/store.h"

#include "absl/strings/str_cat.h"
#include "common/base/error.h"

namespace paramd {

absl::Status CheckBatch(const StoreBatch& batch) {
  const size_t items = batch.put_jobs.size() + batch.add_events.size() + batch.delete_jobs.size();
  if (items <= kMaxBatchItems) return absl::OkStatus();
  return MakeError(absl::StatusCode::kInvalidArgument, "STORE_BATCH_TOO_LARGE",
                   absl::StrCat("a batch of ", items, " changes; at most ", kMaxBatchItems, " are applied at once"));
}

absl::Status StoreConflict(absl::string_view message) {
  return MakeError(absl::StatusCode::kAborted, "STORE_CONFLICT", message);
}

}  // namespace paramd
