#include "tests/bench/stock_worker.h"

#include <atomic>
#include <deque>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "common/base/status_macros.h"
#include "common/rpc/error_status.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/support/client_callback.h"
#include "tests/bench/stock.grpc.pb.h"
#include "tests/bench/stock_messages.h"

namespace paramd {
namespace {

constexpr int kSmallWindow = 64;
constexpr int kStreamSmallWindow = 512;
constexpr absl::Duration kLimit = absl::Seconds(60);

std::shared_ptr<grpc::Channel> StockChannel(const std::string& address, const NodeConfig& config) {
  grpc::ChannelArguments arguments;
  for (const IntArgument& a : StockArguments(config, /*server=*/false)) arguments.SetInt(a.name, a.value);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

double Microseconds(absl::Time start) { return absl::ToDoubleMicroseconds(absl::Now() - start); }

// Both arenas, and the check of the weights that came back.
class StockWorkerNode : public DataPlaneNode {
 public:
  absl::StatusOr<std::string> Setup(const NodeConfig& config) override {
    config_ = config;
    model_.emplace(config);
    gradient_.resize(model_->elements);
    weights_.resize(model_->elements);
    FillGradient(config.index, absl::MakeSpan(gradient_));
    return std::string();
  }

  absl::Status Verify() override {
    std::vector<float> expected(model_->elements);
    for (int chunk = 0; chunk < model_->chunks; ++chunk) {
      const PayloadView gradient(model_->Bytes(chunk, gradient_));
      for (int step = 0; step < steps_; ++step) Descend(gradient, model_->Part(chunk, expected));
    }
    return weights_ == expected ? absl::OkStatus() : absl::DataLossError("the weights are not what SGD makes of them");
  }

 protected:
  NodeConfig config_;
  std::optional<StockModel> model_;
  std::vector<float> gradient_;
  std::vector<float> weights_;
  int steps_ = 0;  // Done.
};

// One of several sequences of unary calls: call i of lane l is for chunk l + i * lanes, over and over.
class UnaryLane {
 public:
  // Fills in the request and takes the answer of one call; false ends the lane.
  using NextRequest = std::function<bool(bench::Tensor& request)>;
  using TakeAnswer = std::function<absl::Status(const bench::Tensor& response)>;

  UnaryLane(bench::Stock::Stub& stub, NextRequest next, TakeAnswer take)
      : stub_(stub), next_(std::move(next)), take_(std::move(take)) {}

  void Start() { Continue(); }
  absl::Status Wait() {
    absl::MutexLock lock(&mutex_);
    if (!mutex_.AwaitWithTimeout(absl::Condition(&done_), kLimit)) return absl::DeadlineExceededError("stock unary");
    return status_;
  }

 private:
  void Continue() {
    if (!next_(request_)) return End(absl::OkStatus());
    context_.emplace();
    stub_.async()->PushPull(&*context_, &request_, &response_, [this](const grpc::Status& status) {
      absl::Status taken = FromGrpcStatus(status);
      if (taken.ok()) taken = take_(response_);
      if (!taken.ok()) return End(taken);
      Continue();
    });
  }
  void End(const absl::Status& status) {
    absl::MutexLock lock(&mutex_);
    status_ = status;
    done_ = true;
  }

  bench::Stock::Stub& stub_;
  const NextRequest next_;
  const TakeAnswer take_;
  std::optional<grpc::ClientContext> context_;
  bench::Tensor request_;
  bench::Tensor response_;
  absl::Mutex mutex_;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
  bool done_ ABSL_GUARDED_BY(mutex_) = false;
};

class StockUnaryNode final : public StockWorkerNode {
 public:
  absl::Status Connect(const std::vector<std::string>& servers) override {
    stub_ = bench::Stock::NewStub(StockChannel(servers[0], config_));
    return absl::OkStatus();
  }

  absl::Status Run(int steps) override {
    const int lanes = std::min(config_.settings.window, model_->chunks);
    std::deque<UnaryLane> running;
    for (int lane = 0; lane < lanes; ++lane) {
      const auto next = [this, lane, lanes, steps, chunk = lane, step = 0](bench::Tensor& request) mutable {
        if (chunk >= model_->chunks) {
          chunk = lane;
          ++step;
        }
        if (step == steps) return false;
        Fill(request, chunk);
        chunk += lanes;
        return true;
      };
      running.emplace_back(*stub_, next, [this](const bench::Tensor& response) { return Land(response); });
    }
    for (UnaryLane& lane : running) lane.Start();
    absl::Status status;
    for (UnaryLane& lane : running) status.Update(lane.Wait());
    steps_ += steps;
    return status;
  }

  absl::StatusOr<SmallResult> RunSmall(double seconds) override {
    const absl::Time middle = absl::Now() + absl::Seconds(seconds / 2);
    std::vector<double> latencies;
    bench::Tensor request, response;
    while (absl::Now() < middle) {
      const absl::Time start = absl::Now();
      Fill(request, 0);
      grpc::ClientContext context;
      RETURN_IF_ERROR(FromGrpcStatus(stub_->PushPull(&context, request, &response)));
      RETURN_IF_ERROR(Land(response));
      latencies.push_back(Microseconds(start));
    }
    ASSIGN_OR_RETURN(const double rate, SmallRate(absl::Seconds(seconds / 2)));
    return Summarize(std::move(latencies), rate);
  }

 private:
  // Calls a second with kSmallWindow of them open.
  absl::StatusOr<double> SmallRate(absl::Duration duration) {
    const absl::Time start = absl::Now();
    std::deque<UnaryLane> running;
    std::atomic<int64_t> calls = 0;
    for (int lane = 0; lane < kSmallWindow; ++lane) {
      const auto next = [this, lane, end = start + duration](bench::Tensor& request) {
        Fill(request, lane);
        request.set_acknowledge_only(true);
        return absl::Now() < end;
      };
      running.emplace_back(*stub_, next, [&calls](const bench::Tensor&) {
        ++calls;
        return absl::OkStatus();
      });
    }
    for (UnaryLane& lane : running) lane.Start();
    absl::Status status;
    for (UnaryLane& lane : running) status.Update(lane.Wait());
    RETURN_IF_ERROR(status);
    return static_cast<double>(calls) / absl::ToDoubleSeconds(absl::Now() - start);
  }

  void Fill(bench::Tensor& request, int chunk) const {
    const absl::string_view bytes = model_->Bytes(chunk, gradient_);
    request.set_chunk(chunk);
    request.set_payload(bytes.data(), bytes.size());
  }

  absl::Status Land(const bench::Tensor& response) {
    const absl::Span<float> part = model_->Part(static_cast<int>(response.chunk()), weights_);
    if (response.payload().size() != part.size() * sizeof(float))
      return absl::DataLossError("an answer of another size");
    CopyFloats(PayloadView(absl::string_view(response.payload().data(), response.payload().size())), 0, part);
    return absl::OkStatus();
  }

  std::unique_ptr<bench::Stock::Stub> stub_;
};

// Keeps `window` messages open on the stream, chunk after chunk.
class StockStreamNode final : public StockWorkerNode,
                              private grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  ~StockStreamNode() override {
    if (channel_ == nullptr) return;
    context_.TryCancel();
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(&ended_));
  }

  absl::Status Connect(const std::vector<std::string>& servers) override {
    channel_ = StockChannel(servers[0], config_);
    grpc::GenericStub stub(channel_);
    stub.PrepareBidiStreamingCall(&context_, "/paramd.bench.Stock/Stream", {}, this);
    StartRead(&answer_.buffer);
    StartCall();
    return absl::OkStatus();
  }

  absl::Status Run(int steps) override {
    RETURN_IF_ERROR(Exchange(static_cast<int64_t>(steps) * model_->chunks, config_.settings.window, false));
    steps_ += steps;
    return absl::OkStatus();
  }

  absl::StatusOr<SmallResult> RunSmall(double seconds) override {
    constexpr int kBatch = 10000;
    const absl::Time begin = absl::Now(), middle = begin + absl::Seconds(seconds / 2);
    std::vector<double> latencies;
    while (absl::Now() < middle) {
      const absl::Time start = absl::Now();
      RETURN_IF_ERROR(Exchange(1, 1, false));
      latencies.push_back(Microseconds(start));
    }
    const absl::Time start = absl::Now();
    int64_t messages = 0;
    while (absl::Now() < begin + absl::Seconds(seconds)) {
      RETURN_IF_ERROR(Exchange(kBatch, kStreamSmallWindow, true));
      messages += kBatch;
    }
    return Summarize(std::move(latencies), static_cast<double>(messages) / (Microseconds(start) * 1e-6));
  }

 private:
  absl::Status Exchange(int64_t messages, int window, bool acknowledge_only) {
    absl::MutexLock lock(&mutex_);
    to_send_ = to_answer_ = messages;
    window_ = acknowledge_only ? window : std::min(window, model_->chunks);
    acknowledge_only_ = acknowledge_only;
    next_chunk_ = 0;
    Write();
    const bool over = mutex_.AwaitWithTimeout(absl::Condition(
                                                  +[](StockStreamNode* node) ABSL_NO_THREAD_SAFETY_ANALYSIS {
                                                    return node->to_answer_ == 0 || node->broken_;
                                                  },
                                                  this),
                                              kLimit);
    if (!over) return absl::DeadlineExceededError("stock stream");
    return broken_ ? absl::UnavailableError("the stock stream broke") : absl::OkStatus();
  }

  void Write() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (writing_ || broken_ || to_send_ == 0 || to_answer_ - to_send_ >= window_) return;
    writing_ = true;
    --to_send_;
    request_ = EncodeStockMessage({.chunk = static_cast<uint32_t>(next_chunk_),
                                   .acknowledge_only = acknowledge_only_,
                                   .payload = model_->Bytes(next_chunk_, gradient_)});
    next_chunk_ = (next_chunk_ + 1) % model_->chunks;
    StartWrite(&request_);
  }

  void OnWriteDone(bool ok) override {
    absl::MutexLock lock(&mutex_);
    writing_ = false;
    broken_ = broken_ || !ok;
    Write();
  }

  void OnReadDone(bool ok) override {
    if (ok) ok = Land();
    absl::MutexLock lock(&mutex_);
    broken_ = broken_ || !ok;
    --to_answer_;
    if (!ok) return;
    Write();
    StartRead(&answer_.buffer);
  }

  void OnDone(const grpc::Status&) override {
    absl::MutexLock lock(&mutex_);
    broken_ = ended_ = true;
  }

  bool Land() {
    if (!DecodeStockMessage(answer_).ok() || answer_.chunk >= static_cast<uint32_t>(model_->chunks)) return false;
    if (answer_.payload_bytes == 0) return true;
    const absl::Span<float> part = model_->Part(static_cast<int>(answer_.chunk), weights_);
    if (answer_.payload_bytes != part.size() * sizeof(float)) return false;
    CopyFloats(answer_.payload(), 0, part);
    return true;
  }

  std::shared_ptr<grpc::Channel> channel_;
  grpc::ClientContext context_;
  ReceivedStockMessage answer_;  // Of the read callback.
  absl::Mutex mutex_;
  grpc::ByteBuffer request_ ABSL_GUARDED_BY(mutex_);
  int64_t to_send_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t to_answer_ ABSL_GUARDED_BY(mutex_) = 0;  // Those to be sent included.
  int window_ ABSL_GUARDED_BY(mutex_) = 1;
  bool acknowledge_only_ ABSL_GUARDED_BY(mutex_) = false;
  int next_chunk_ ABSL_GUARDED_BY(mutex_) = 0;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool broken_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace

std::unique_ptr<DataPlaneNode> StockUnaryWorker() { return std::make_unique<StockUnaryNode>(); }
std::unique_ptr<DataPlaneNode> StockStreamWorker() { return std::make_unique<StockStreamNode>(); }

}  // namespace paramd
