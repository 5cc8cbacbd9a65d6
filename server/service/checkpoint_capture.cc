#include "server/service/checkpoint_capture.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/error.h"

namespace paramd {

void CheckpointCapture::Begin(uint64_t step, Done done) {
  absl::MutexLock lock(&mutex_);
  capture_ = Wanted{.number = ++last_number_, .step = step, .done = std::move(done), .begun = {}, .captured = {}};
  wanted_ = true;
}

void CheckpointCapture::Cancel() {
  absl::MutexLock lock(&mutex_);
  wanted_ = false;
  capture_.reset();
}

void CheckpointCapture::Offer(const Chunk& chunk) {
  uint64_t number = 0;
  Done missed;
  {
    absl::MutexLock lock(&mutex_);
    if (!capture_.has_value() || chunk.slowest_clock() < capture_->step) return;
    if (!capture_->begun.insert(chunk.index()).second) return;
    number = capture_->number;
    if (synchronous_ && chunk.version() > capture_->step) {
      missed = std::move(capture_->done);
      capture_.reset();
      wanted_ = false;
    }
  }
  if (missed) {
    return missed(MakeError(absl::StatusCode::kOutOfRange, "CHECKPOINT_MISSED",
                            absl::StrCat("chunk ", chunk.index(), " is at version ", chunk.version(), " already"),
                            {{"version", absl::StrCat(chunk.version())}}));
  }
  ChunkCapture captured = chunk.Capture();  // Copies: not under the lock. Nobody else touches the chunk.
  Done done;
  std::vector<ChunkCapture> all;
  {
    absl::MutexLock lock(&mutex_);
    if (!capture_.has_value() || capture_->number != number) return;
    capture_->captured.push_back(std::move(captured));
    if (capture_->captured.size() < chunks_) return;
    done = std::move(capture_->done);
    all = std::move(capture_->captured);
    capture_.reset();
    wanted_ = false;
  }
  std::sort(all.begin(), all.end(), [](const ChunkCapture& a, const ChunkCapture& b) { return a.chunk < b.chunk; });
  done(std::move(all));
}

}  // namespace paramd
