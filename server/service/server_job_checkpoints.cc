// How a job's chunks get into checkpoints and out of them.
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"
#include "server/checkpoint/checkpoint_reader.h"
#include "server/service/server_job.h"

namespace paramd {

void ServerJob::Restore(std::function<void(const absl::Status& status)> done) {
  auto task = [self = shared_from_this(), done = std::move(done)] {
    const absl::Status status = self->RestoreChunks();
    if (status.ok()) self->chunks_to_initialize_ = 0;
    done(status);
  };
  environment_.run_blocking ? environment_.run_blocking(std::move(task)) : task();
}

// One chunk after the other, so that only one is in memory twice.
absl::Status ServerJob::RestoreChunks() {
  ASSIGN_OR_RETURN(const CheckpointReader reader, CheckpointReader::Open(plan().restore_directory));
  RETURN_IF_ERROR(reader.CheckMatches(plan()));
  for (const auto& chunk : shard_.chunks()) {
    if (ended_) return absl::CancelledError(absl::StrCat("job ", plan().job_id, " was released while it was restored"));
    ASSIGN_OR_RETURN(const ChunkRecord record, reader.ReadChunk(chunk->index()));
    absl::Status status;
    absl::Notification restored;
    environment_.threads.Post(OwnerOf(*chunk), [&, chunk = chunk.get()] {
      status = chunk->Restore(record.saved());
      restored.Notify();
    });
    restored.WaitForNotification();
    RETURN_IF_ERROR(status);
  }
  return absl::OkStatus();
}

void ServerJob::Capture(uint64_t step, CheckpointCapture::Done done) {
  if (shard_.chunks().empty()) return done(std::vector<ChunkCapture>());
  capture_.Begin(step, std::move(done));
  for (const auto& chunk : shard_.chunks()) {
    environment_.threads.Post(OwnerOf(*chunk),
                              [self = shared_from_this(), chunk = chunk.get()] { self->capture_.Offer(*chunk); });
  }
}

}  // namespace paramd
