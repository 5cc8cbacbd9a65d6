// InferenceService: continues prompts with saved language models, piece by piece.
//
//   InferenceService service({.load = LoadSavedModel..., .max_concurrent = 2});
//   runner.AddService(&service, "paramd.v1.InferenceService");
//   ...
//   service.Stop();      // Ends all generations; after the gRPC server has stopped accepting, before it is destroyed.
//
// Each call is checked at once, then served by a thread of its own, at most `max_concurrent` at a time
// (kResourceExhausted, TOO_MANY_GENERATIONS, beyond). A call ends early when its client goes away, its deadline passes
// or the service stops. Thread safe.
#ifndef PARAMD_WORKER_INFER_INFERENCE_SERVICE_H_
#define PARAMD_WORKER_INFER_INFERENCE_SERVICE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/types/span.h"
#include "grpcpp/support/server_callback.h"
#include "proto/inference.grpc.pb.h"
#include "worker/infer/generator.h"

namespace paramd {

class GenerateCall;

// A language model ready to generate: program, weights and shape, and whatever keeps them alive.
class LoadedModel {
 public:
  virtual ~LoadedModel() = default;
  virtual ModelProgram& program() = 0;
  virtual absl::Span<const float> weights() const = 0;
  virtual GeneratorModel shape() const = 0;
};
using ModelLoader = std::function<absl::StatusOr<std::unique_ptr<LoadedModel>>(const std::string& directory)>;

inline constexpr uint32_t kMaxGeneratedTokens = 65536;
inline constexpr int64_t kMaxPromptBytes = 1 << 20;

struct InferenceServiceOptions {
  ModelLoader load;  // Called on the call's thread.
  int max_concurrent = 2;
};

class InferenceService final : public v1::InferenceService::CallbackService {
 public:
  explicit InferenceService(InferenceServiceOptions options);
  ~InferenceService() override;

  grpc::ServerWriteReactor<v1::GenerateResponse>* Generate(grpc::CallbackServerContext* context,
                                                           const v1::GenerateRequest* request) override;

  // Refuses new calls, ends open ones and waits until they are gone. Idempotent.
  void Stop();

 private:
  friend class GenerateCall;
  // Room for one more call, or why not.
  absl::Status Enter();
  void Leave();
  bool stopping() const;

  const InferenceServiceOptions options_;
  mutable absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  int active_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace paramd

#endif  // PARAMD_WORKER_INFER_INFERENCE_SERVICE_H_
