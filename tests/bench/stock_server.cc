#include "tests/bench/stock_server.h"

#include <unistd.h>

#include <deque>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"
#include "grpcpp/support/server_callback.h"
#include "tests/bench/stock.grpc.pb.h"
#include "tests/bench/stock_messages.h"

namespace paramd {
namespace {

// Weights that start at 0. Of one chunk, one request at a time: that is how the workers ask.
class StockWeights {
 public:
  explicit StockWeights(const NodeConfig& config) : model_(config), weights_(model_.elements) {}

  // Applies the gradient, if there is one; returns the chunk's weights.
  absl::StatusOr<absl::string_view> Update(uint32_t chunk, const PayloadView& gradient) {
    if (chunk >= static_cast<uint32_t>(model_.chunks)) return absl::InvalidArgumentError("no such chunk");
    const absl::Span<float> weights = model_.Part(static_cast<int>(chunk), weights_);
    if (!gradient.empty() && gradient.size() != weights.size() * sizeof(float)) {
      return absl::InvalidArgumentError("a gradient of another size");
    }
    if (!gradient.empty()) Descend(gradient, weights);
    return model_.Bytes(static_cast<int>(chunk), weights_);
  }

 private:
  const StockModel model_;
  std::vector<float> weights_;
};

// A stream: answers in the order of the requests, one write at a time.
class StockServerStream final : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  explicit StockServerStream(StockWeights& weights) : weights_(weights) { StartRead(&request_.buffer); }

  void OnReadDone(bool ok) override {
    const absl::Status status = ok ? Answer() : absl::CancelledError("the client is done");
    if (status.ok()) return StartRead(&request_.buffer);
    absl::MutexLock lock(&mutex_);
    ended_ = true;
    if (answers_.empty()) Finish(grpc::Status::OK);
  }

  void OnWriteDone(bool ok) override {
    absl::MutexLock lock(&mutex_);
    answers_.pop_front();
    if (!answers_.empty()) return StartWrite(&answers_.front());
    if (ended_) Finish(grpc::Status::OK);
  }

  void OnDone() override { delete this; }

 private:
  absl::Status Answer() {
    const absl::Status status = DecodeStockMessage(request_);
    if (!status.ok()) return status;
    const absl::StatusOr<absl::string_view> weights = weights_.Update(request_.chunk, request_.payload());
    if (!weights.ok()) return weights.status();
    grpc::ByteBuffer answer = EncodeStockMessage(
        {.chunk = request_.chunk, .payload = request_.acknowledge_only ? absl::string_view() : *weights});
    absl::MutexLock lock(&mutex_);
    answers_.push_back(std::move(answer));
    if (answers_.size() == 1) StartWrite(&answers_.front());
    return absl::OkStatus();
  }

  StockWeights& weights_;
  ReceivedStockMessage request_;
  absl::Mutex mutex_;
  std::deque<grpc::ByteBuffer> answers_ ABSL_GUARDED_BY(mutex_);  // The first is being written.
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
};

using StockService =
    bench::Stock::WithRawCallbackMethod_Stream<bench::Stock::WithCallbackMethod_PushPull<bench::Stock::Service>>;

class StockServiceNode final : public DataPlaneNode, private StockService {
 public:
  ~StockServiceNode() override {
    if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now());
  }

  absl::StatusOr<std::string> Setup(const NodeConfig& config) override {
    weights_ = std::make_unique<StockWeights>(config);
    grpc::ServerBuilder builder;
    int port = 0;
    const bool local = config.measured.path == "tuned_unix";
    const std::string local_address = absl::StrCat("unix-abstract:paramd-data-plane-", getpid());
    builder.AddListeningPort(local ? local_address : "127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    for (const IntArgument& a : StockArguments(config, /*server=*/true)) builder.AddChannelArgument(a.name, a.value);
    builder.RegisterService(static_cast<StockService*>(this));
    server_ = builder.BuildAndStart();
    if (server_ == nullptr) return absl::UnavailableError("the stock server cannot listen");
    return local ? local_address : absl::StrCat("127.0.0.1:", port);
  }

  absl::Status Connect(const std::vector<std::string>&) override { return absl::OkStatus(); }

 private:
  grpc::ServerUnaryReactor* PushPull(grpc::CallbackServerContext* context, const bench::Tensor* request,
                                     bench::Tensor* response) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    const std::string& payload = request->payload();
    const absl::StatusOr<absl::string_view> weights =
        weights_->Update(request->chunk(), PayloadView(absl::string_view(payload.data(), payload.size())));
    if (!weights.ok()) {
      reactor->Finish(grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, weights.status().ToString()));
      return reactor;
    }
    response->set_chunk(request->chunk());
    if (!request->acknowledge_only()) response->set_payload(weights->data(), weights->size());
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Stream(grpc::CallbackServerContext*) override {
    return new StockServerStream(*weights_);
  }

  std::unique_ptr<StockWeights> weights_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace

std::unique_ptr<DataPlaneNode> StockServer() { return std::make_unique<StockServiceNode>(); }

}  // namespace paramd
