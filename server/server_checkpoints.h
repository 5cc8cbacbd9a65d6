// A server's part in checkpoints: keeps the chunks of a step, writes them, and as the lead puts the manifest in place;
// and what any server does with the checkpoints of any job: verify, select, delete.
//
//   ServerCheckpoints checkpoints({...});
//   checkpoints.OnCommand(command);          // Answered through `report`, always, with the command's number.
//   checkpoints.Stop();
//
// A command of the same number again is answered again; one of a lower number than the job's newest is ignored. Files
// are read and written on one thread of its own, in the order of the commands. Thread safe.
#ifndef PARAMD_SERVER_SERVER_CHECKPOINTS_H_
#define PARAMD_SERVER_SERVER_CHECKPOINTS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/base/clock.h"
#include "prometheus/counter.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"
#include "proto/cluster.pb.h"
#include "server/background_thread.h"
#include "server/service/jobs.h"
#include "server/store/chunk_capture.h"

namespace paramd {

class ServerCheckpoints {
 public:
  struct Environment {
    Jobs& jobs;
    const Clock& clock;
    std::shared_ptr<prometheus::Registry> registry;
    std::function<void(const std::string& job_id, uint64_t generation, v1::JobReport report)> report;
    // Whether the jobs are this server's at this very moment: it may have stood still beyond its lease.
    std::function<bool()> leased;
  };

  explicit ServerCheckpoints(Environment environment);

  // `<output directory>/<job id>/checkpoints`; `default_directory` counts when the specification has none.
  static std::string DirectoryOf(const v1::JobAssignment& assignment, const std::string& default_directory);

  void OnCommand(const v1::CheckpointCommand& command);
  // The job is released.
  void Forget(const std::string& job_id);
  // Runs something that blocks on files, in its turn.
  void Post(std::function<void()> task) { thread_.Post(std::move(task)); }
  // Waits for what is under way.
  void Stop() { thread_.Stop(); }

 private:
  // Of a job: the newest checkpoint that this server takes or took part in.
  struct Taking {
    uint64_t number = 0;
    bool abandoned = false;
    std::optional<v1::CheckpointReport> answer;
  };
  using Captures = std::shared_ptr<std::vector<ChunkCapture>>;  // Shared because tasks are copied.

  void Take(const v1::CheckpointCommand& command);
  void Abandon(const v1::CheckpointCommand& command);
  absl::StatusOr<v1::CheckpointShard> Write(const v1::CheckpointCommand& command, uint32_t server_index,
                                            const std::vector<ChunkCapture>& captures);
  void Commit(const v1::CheckpointCommand& command);
  void Select(const v1::CheckpointCommand& command);
  void Verify(const v1::CheckpointCommand& command);
  void Remove(const v1::CheckpointCommand& command);
  // Whether it is the job's newest and not abandoned.
  bool Current(const v1::CheckpointCommand& command);
  // Removes what there is of an abandoned one, unless another may be writing there by now.
  void RemoveAbandoned(const v1::CheckpointCommand& command);
  // Of a Take: kept for when it is asked again.
  void Answer(const v1::CheckpointCommand& command, v1::CheckpointReport report);
  void AnswerFailed(const v1::CheckpointCommand& command, const absl::Status& status);
  void Report(const v1::CheckpointCommand& command, v1::CheckpointReport report);

  const Environment environment_;
  prometheus::Histogram& write_duration_;
  prometheus::Counter& written_bytes_;
  prometheus::Family<prometheus::Counter>& failures_;

  absl::Mutex mutex_;
  absl::flat_hash_map<std::string, Taking> taking_ ABSL_GUARDED_BY(mutex_);

  BackgroundThread thread_;  // Last: it uses the others.
};

}  // namespace paramd

#endif  // PARAMD_SERVER_SERVER_CHECKPOINTS_H_
