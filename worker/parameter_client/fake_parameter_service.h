// An in-process ParameterService for tests of the worker's side: real bookkeeping (slot tree, clocks, exactly once)
// around plain SGD, a unix socket and shared memory if wanted, and faults on demand. On generated code alone: what it
// understands and answers is protobuf.
//
//   FakeParameterService service(plan, {.mode = v1::SYNC_MODE_SYNC, .slots = 4, .workers = 2});
//   service.Start();                             // 127.0.0.1, a free port: service.address()
//   service.SetFault([&](const v1::ParameterRequest& r) { return r.step() == 3 ? Fault::kBreakAfter : Fault::kNone; });
//
// Thread safe. Tests only.
#ifndef PARAMD_WORKER_PARAMETER_CLIENT_FAKE_PARAMETER_SERVICE_H_
#define PARAMD_WORKER_PARAMETER_CLIENT_FAKE_PARAMETER_SERVICE_H_

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/partition/arena_plan.h"
#include "common/partition/codec_plan.h"
#include "common/partition/slot_tree.h"
#include "grpcpp/server.h"
#include "proto/job.pb.h"
#include "proto/parameter.grpc.pb.h"

namespace paramd {

struct FakeParameterOptions {
  v1::SyncMode mode = v1::SYNC_MODE_SYNC;
  uint32_t slots = 1;
  uint32_t workers = 1;
  uint64_t generation = 1;
  float learning_rate = 0.125f;
  std::string local_socket;           // A path to listen at as well. Empty: TCP only.
  bool take_shared_memory = true;     // Over the unix socket.
  bool ignore_attach = false;         // Such offers are not even answered.
  const CodecPlan* codecs = nullptr;  // Of pushes. Null: fp32.
};

enum class Fault {
  kNone,
  kBreakBefore,     // The stream ends, the request is lost.
  kBreakAfter,      // The request is applied, the stream ends, the answer is lost.
  kUnavailable,     // Refused with UNAVAILABLE.
  kDeadline,        // Refused with DEADLINE_EXCEEDED.
  kForeign,         // Refused with FAILED_PRECONDITION, INCARNATION_FENCED.
  kDamagedRequest,  // Refused with DATA_LOSS, as if its bytes had been damaged.
  kDamagedAnswer,   // Answered with a payload that does not match its checksum.
  kShortAnswer,     // Answered with too few weights.
  kIgnore,          // Never answered.
  kStall,           // Not even read on: the stream stands until ReleaseStalled.
  kMalformed,       // Answered with something that is no ParameterResponse.
};

class FakeParameterService final : public v1::ParameterService::Service {
 public:
  FakeParameterService(const ArenaPlan& plan, FakeParameterOptions options);
  ~FakeParameterService() override;

  void Start();
  // Listens again on the same port after Stop.
  void Stop();
  std::string address() const;
  // Placement with this one server.
  v1::Placement placement() const;

  // Lets streams in Fault::kStall, now and later, end broken. Stop does so, too.
  void ReleaseStalled();
  // Refuses what is of another generation, what waits included.
  void SetGeneration(uint64_t generation);
  void SetFault(std::function<Fault(const v1::ParameterRequest&)> fault);
  // Initial and current weights of the arena.
  void SetWeights(const std::vector<float>& weights);
  std::vector<float> weights() const;
  uint64_t version(int chunk) const;
  // Requests seen, by serialised bytes without request_id; for "the same bytes again".
  std::map<std::string, int> seen() const;
  int64_t applied_pushes() const;
  // Pushes whose payload, and pulls whose weights, went through shared memory; streams by ATTACH's outcome.
  struct SharedMemoryUse {
    int pushes = 0;
    int pulls = 0;
    int attached = 0;
    int refused = 0;
  };
  SharedMemoryUse shared_memory_use() const;
  // Chunks of the requests that came, in order.
  std::vector<uint32_t> arrivals() const;
  grpc::Status Exchange(grpc::ServerContext* context,
                        grpc::ServerReaderWriter<v1::ParameterResponse, v1::ParameterRequest>* stream) override;

 private:
  struct Call;  // One stream.
  struct Waiting {
    std::shared_ptr<Call> call;
    v1::ParameterRequest request;
    Fault fault = Fault::kNone;
    bool duplicate = false;
  };
  struct Chunk {
    std::vector<float> weights;
    uint64_t version = 0;
    std::map<Subtree, std::vector<float>> ledger;
    std::vector<uint64_t> clocks;  // Per worker: pushes applied.
    std::list<Waiting> waiting;
  };

  // False: the stream is to end.
  bool Handle(const std::shared_ptr<Call>& call, const v1::ParameterRequest& request);
  absl::Status Attach(Call& call, const v1::ParameterRequest& request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The payload, decoded.
  absl::StatusOr<std::vector<float>> Gradient(const Call& call, const v1::ParameterRequest& request)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Apply(const Call& call, Chunk& chunk, const v1::ParameterRequest& request, bool& duplicate)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Ready(const Chunk& chunk, const v1::ParameterRequest& request) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Refuse(const Call& call, const v1::ParameterRequest& request, const absl::Status& status)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Answer(const Chunk& chunk, const Waiting& waiting) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Adds the weights, encoded, to the answer or writes them where the client wants them.
  void AddWeights(const Chunk& chunk, const Waiting& waiting, v1::ParameterResponse& response)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Descend(Chunk& chunk, const std::vector<float>& gradient, float scale) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const FakeParameterOptions options_;
  const SlotTree tree_;
  mutable absl::Mutex mutex_;
  uint64_t generation_ ABSL_GUARDED_BY(mutex_);
  std::vector<Chunk> chunks_ ABSL_GUARDED_BY(mutex_);
  std::function<Fault(const v1::ParameterRequest&)> fault_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, int> seen_ ABSL_GUARDED_BY(mutex_);
  int64_t applied_ ABSL_GUARDED_BY(mutex_) = 0;
  bool released_ ABSL_GUARDED_BY(mutex_) = false;
  SharedMemoryUse shared_ ABSL_GUARDED_BY(mutex_);
  std::vector<uint32_t> arrivals_ ABSL_GUARDED_BY(mutex_);
  const uint64_t arena_elements_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace paramd

#endif  // PARAMD_WORKER_PARAMETER_CLIENT_FAKE_PARAMETER_SERVICE_H_
