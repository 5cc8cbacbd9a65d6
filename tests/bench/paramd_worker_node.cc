#include "tests/bench/paramd_worker_node.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/logging.h"
#include "common/base/shared_memory.h"
#include "common/base/status_macros.h"
#include "tests/bench/paramd_job.h"
#include "worker/parameter_client/parameter_client.h"

namespace paramd {
namespace {

constexpr int kSmallBatch = 4096;
constexpr int kVerifyEvery = 8;  // Chunks, when the codec makes verification slow.
constexpr absl::Duration kConnectLimit = absl::Seconds(20);

class WorkerNode final : public DataPlaneNode {
 public:
  absl::StatusOr<std::string> Setup(const NodeConfig& config) override {
    RETURN_IF_ERROR(InitLogging("data_plane", "error"));
    config_ = config;
    ASSIGN_OR_RETURN(job_, BenchJob::Create(config.measured, config.settings));
    RETURN_IF_ERROR(AllocateArenas());
    FillGradient(config.index, gradient_);
    return std::string();
  }

  absl::Status Connect(const std::vector<std::string>& servers) override {
    std::vector<ServerAddress> addresses;
    for (const std::string& server : servers) addresses.push_back(nlohmann::json::parse(server).get<ServerAddress>());
    job_->Place(addresses);
    ASSIGN_OR_RETURN(ParameterClientOptions options, ClientOptions(addresses[0]));
    ASSIGN_OR_RETURN(client_, ParameterClient::Create(std::move(options), job_->plan()));
    RETURN_IF_ERROR(client_->WaitForConnections(kConnectLimit));
    for (int chunk = 0; chunk < chunks(); ++chunk) {
      RETURN_IF_ERROR(client_->Pull(chunk, {.landing = PartOf(weights_, chunk)}));
    }
    for (int chunk = 0; chunk < chunks(); ++chunk) RETURN_IF_ERROR(client_->WaitForChunk(chunk).status());
    return CheckTransport();
  }

  // Chunk after chunk, step after step, `window` of them open.
  absl::Status Run(int steps) override {
    const int64_t total = static_cast<int64_t>(steps) * chunks();
    const int64_t window = std::min(config_.settings.window, chunks());
    for (int64_t i = 0; i < total + window; ++i) {
      if (i >= window) RETURN_IF_ERROR(client_->WaitForChunk(static_cast<int>((i - window) % chunks())).status());
      if (i < total) RETURN_IF_ERROR(PushPull(static_cast<int>(i % chunks()), steps_ + i / chunks()));
    }
    steps_ += steps;
    return absl::OkStatus();
  }

  absl::StatusOr<SmallResult> RunSmall(double seconds) override {
    const absl::Time middle = absl::Now() + absl::Seconds(seconds / 2);
    std::vector<double> latencies;
    while (absl::Now() < middle) {
      const absl::Time start = absl::Now();
      RETURN_IF_ERROR(Run(1));
      latencies.push_back(absl::ToDoubleMicroseconds(absl::Now() - start));
    }
    const absl::Time start = absl::Now(), end = start + absl::Seconds(seconds / 2);
    const uint64_t first = steps_;
    while (absl::Now() < end) RETURN_IF_ERROR(PushSmallBatch());
    const double rate = static_cast<double>(steps_ - first) / absl::ToDoubleSeconds(absl::Now() - start);
    RETURN_IF_ERROR(Run(1));  // Brings the weights.
    RETURN_IF_ERROR(Verify());
    return Summarize(std::move(latencies), rate);
  }

  absl::Status Verify() override {
    std::vector<std::vector<float>> others(config_.measured.workers, std::vector<float>(gradient_.size()));
    std::vector<absl::Span<const float>> gradients;
    for (int worker = 0; worker < config_.measured.workers; ++worker) {
      FillGradient(worker, absl::MakeSpan(others[worker]));
      gradients.push_back(others[worker]);
    }
    for (int chunk = 0; chunk < chunks(); chunk += job_->lossless() ? 1 : kVerifyEvery) {
      ASSIGN_OR_RETURN(const std::vector<float> expected, job_->ExpectedChunk(chunk, steps_, gradients));
      const absl::Span<float> got = PartOf(weights_, chunk);
      const auto [wrong, right] = std::mismatch(got.begin(), got.end(), expected.begin());
      if (wrong != got.end()) {
        return absl::DataLossError(absl::StrCat("after ", steps_, " steps element ", wrong - got.begin(), " of chunk ",
                                                chunk, " is ", *wrong, ", not ", *right));
      }
    }
    return absl::OkStatus();
  }

 private:
  int chunks() const { return job_->plan().chunk_count(); }

  absl::Span<float> PartOf(absl::Span<float> arena, int chunk) const {
    const ElementRange range = job_->plan().ChunkRange(chunk);
    return arena.empty() ? arena : arena.subspan(range.begin, range.size());
  }

  // Gradients and weights; in shared memory where the path asks for it.
  absl::Status AllocateArenas() {
    const size_t elements = job_->plan().arena_elements();
    if (!job_->lossless()) residual_.resize(elements);
    if (config_.measured.path == "paramd_shm") {
      ASSIGN_OR_RETURN(segment_, SharedSegment::Create(SharedSegment::BytesFor({elements, elements})));
      gradient_ = segment_->AllocateFloats(elements);
      weights_ = segment_->AllocateFloats(elements);
    } else {
      memory_.resize(2 * elements);
      gradient_ = absl::MakeSpan(memory_).first(elements);
      weights_ = absl::MakeSpan(memory_).last(elements);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<ParameterClientOptions> ClientOptions(const ServerAddress& server) const {
    ParameterClientOptions options;
    options.transport = config_.measured.path == "paramd_tcp" ? TransportPolicy::kTcp : TransportPolicy::kUnix;
    options.shared_memory = segment_ != nullptr;
    options.checksum = config_.settings.checksum == "always" ? ChecksumPolicy::kAlways : ChecksumPolicy::kAuto;
    options.streams_per_server = config_.settings.streams;
    options.caller = {.job_id = job_->assignment().job_id(),
                      .generation = kBenchGeneration,
                      .worker_index = static_cast<uint32_t>(config_.index),
                      .worker_incarnation = BenchIncarnation(config_.index)};
    options.placement = job_->assignment().placement();
    options.bulk = config_.settings.transport;
    options.segment = segment_;
    options.codecs = job_->lossless() ? nullptr : &job_->codecs();
    if (!server.certificate_authority.empty()) {
      ASSIGN_OR_RETURN(options.credentials, Credentials::Load({.ca = server.certificate_authority}));
    }
    return options;
  }

  // A path that fell back to another would be measured under a wrong name.
  absl::Status CheckTransport() const {
    const StreamTransport wanted = config_.measured.path == "paramd_tcp"    ? StreamTransport::kTcp
                                   : config_.measured.path == "paramd_unix" ? StreamTransport::kUnix
                                                                            : StreamTransport::kSharedMemory;
    const int streams = client_->stats().streams[static_cast<int>(wanted)];
    const int expected = config_.measured.servers * config_.settings.streams;
    if (streams == expected) return absl::OkStatus();
    return absl::FailedPreconditionError(absl::StrCat(streams, " of ", expected, " streams take the wanted transport"));
  }

  absl::Status PushPull(int chunk, uint64_t step) {
    return client_->PushPull(chunk, PushOf(chunk, step), {.min_version = step + 1, .landing = PartOf(weights_, chunk)});
  }

  PushPart PushOf(int chunk, uint64_t step) {
    return {.step = step,
            .subtree = {.first_slot = static_cast<uint32_t>(config_.index), .log2_size = 0},
            .slot_count = 1,
            .payload = PartOf(gradient_, chunk),
            .residual = PartOf(absl::MakeSpan(residual_), chunk)};
  }

  // Pushes without weights back, all open at once.
  absl::Status PushSmallBatch() {
    for (int i = 0; i < kSmallBatch; ++i) RETURN_IF_ERROR(client_->Push(0, PushOf(0, steps_ + i)));
    steps_ += kSmallBatch;
    ASSIGN_OR_RETURN(const ChunkVersion newest, client_->WaitForChunk(0));
    if (newest.version == steps_) return absl::OkStatus();
    return absl::DataLossError(absl::StrCat(steps_, " pushes made version ", newest.version));
  }

  NodeConfig config_;
  std::optional<BenchJob> job_;
  std::vector<float> memory_;
  std::vector<float> residual_;
  std::shared_ptr<SharedSegment> segment_;
  absl::Span<float> gradient_;
  absl::Span<float> weights_;
  uint64_t steps_ = 0;                       // Done: optimizer steps of every chunk.
  std::unique_ptr<ParameterClient> client_;  // First to go: it borrows the arenas.
};

}  // namespace

std::unique_ptr<DataPlaneNode> ParamdWorkerNode() { return std::make_unique<WorkerNode>(); }

}  // namespace paramd
