#include "worker/infer/inference_service.h"

#include <cmath>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"
#include "common/rpc/error_status.h"

namespace paramd {
namespace {

absl::Status CheckRequest(const v1::GenerateRequest& request) {
  const auto refuse = [](absl::string_view message) {
    return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", message);
  };
  if (request.model_directory().empty()) return refuse("model_directory: must be set");
  if (request.max_tokens() < 1 || request.max_tokens() > kMaxGeneratedTokens) {
    return refuse(absl::StrCat("max_tokens: must be 1 to ", kMaxGeneratedTokens, ", got ", request.max_tokens()));
  }
  if (!std::isfinite(request.temperature()) || request.temperature() < 0) {
    return refuse(absl::StrCat("temperature: must be >= 0, got ", request.temperature()));
  }
  if (static_cast<int64_t>(request.prompt().size()) > kMaxPromptBytes) {
    return refuse(absl::StrCat("prompt: at most ", kMaxPromptBytes, " bytes, got ", request.prompt().size()));
  }
  return absl::OkStatus();
}

}  // namespace

// One call. Its thread generates and waits for each write; gRPC's callbacks only wake it. Deletes itself when both gRPC
// (OnDone) and the thread are through.
class GenerateCall final : public grpc::ServerWriteReactor<v1::GenerateResponse> {
 public:
  GenerateCall(InferenceService& service, const v1::GenerateRequest& request) : service_(service), request_(request) {
    const absl::Status status = Begin();
    if (!status.ok()) {
      Finish(ToGrpcStatus(status));
      ThreadDone();
    }
  }

  void OnWriteDone(bool ok) override {
    absl::MutexLock lock(&mutex_);
    writing_ = false;
    if (!ok) cancelled_ = true;
  }
  void OnCancel() override {
    absl::MutexLock lock(&mutex_);
    cancelled_ = true;
  }
  void OnDone() override { Release(); }

 private:
  absl::Status Begin() {
    RETURN_IF_ERROR(CheckRequest(request_));
    RETURN_IF_ERROR(service_.Enter());
    entered_ = true;
    std::thread([this] { Run(); }).detach();  // InferenceService::Stop waits for it through Leave.
    return absl::OkStatus();
  }

  void Run() {
    Finish(ToGrpcStatus(Generate()));
    ThreadDone();
  }

  absl::Status Generate() {
    ASSIGN_OR_RETURN(const std::unique_ptr<LoadedModel> model, service_.options_.load(request_.model_directory()));
    Generator generator(model->program(), model->weights(), model->shape());
    const GenerateOptions options = {.max_tokens = request_.max_tokens(),
                                     .temperature = request_.temperature(),
                                     .top_k = request_.top_k(),
                                     .seed = request_.seed() == 0 ? 1 : request_.seed()};
    RETURN_IF_ERROR(generator.GenerateText(request_.prompt(), options, [&](absl::string_view piece, int64_t tokens) {
      return Send(piece, tokens, false);
    }));
    return Send("", request_.max_tokens(), true);
  }

  absl::Status Send(absl::string_view piece, int64_t tokens, bool done) {
    if (service_.stopping()) {
      return MakeError(absl::StatusCode::kUnavailable, "WORKER_STOPPING", "the worker is stopping");
    }
    {
      absl::MutexLock lock(&mutex_);
      if (cancelled_) return absl::CancelledError("the client went away");
      writing_ = true;
    }
    response_.set_text(piece.data(), piece.size());
    response_.set_tokens(static_cast<uint32_t>(tokens));
    response_.set_done(done);
    StartWrite(&response_);
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(
        +[](bool* writing) { return !*writing; }, &writing_));
    return cancelled_ ? absl::CancelledError("the client went away") : absl::OkStatus();
  }

  void ThreadDone() {
    InferenceService* service = entered_ ? &service_ : nullptr;
    Release();
    if (service != nullptr) service->Leave();
  }

  void Release() {
    bool last = false;
    {
      absl::MutexLock lock(&mutex_);
      last = --owners_ == 0;
    }
    if (last) delete this;
  }

  InferenceService& service_;
  const v1::GenerateRequest request_;
  v1::GenerateResponse response_;
  bool entered_ = false;

  absl::Mutex mutex_;
  int owners_ ABSL_GUARDED_BY(mutex_) = 2;  // gRPC and the thread.
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
};

InferenceService::InferenceService(InferenceServiceOptions options) : options_(std::move(options)) {}
InferenceService::~InferenceService() { Stop(); }

grpc::ServerWriteReactor<v1::GenerateResponse>* InferenceService::Generate(grpc::CallbackServerContext* context,
                                                                           const v1::GenerateRequest* request) {
  return new GenerateCall(*this, *request);
}

absl::Status InferenceService::Enter() {
  absl::MutexLock lock(&mutex_);
  if (stopping_) return MakeError(absl::StatusCode::kUnavailable, "WORKER_STOPPING", "the worker is stopping");
  if (active_ >= options_.max_concurrent) {
    return MakeError(absl::StatusCode::kResourceExhausted, "TOO_MANY_GENERATIONS",
                     absl::StrCat("the worker already serves ", active_, " generations, try again later"));
  }
  ++active_;
  return absl::OkStatus();
}

void InferenceService::Leave() {
  absl::MutexLock lock(&mutex_);
  --active_;
}

bool InferenceService::stopping() const {
  absl::MutexLock lock(&mutex_);
  return stopping_;
}

void InferenceService::Stop() {
  absl::MutexLock lock(&mutex_);
  stopping_ = true;
  mutex_.Await(absl::Condition(
      +[](int* active) { return *active == 0; }, &active_));
}

}  // namespace paramd
