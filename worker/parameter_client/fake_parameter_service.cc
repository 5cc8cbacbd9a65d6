#include "worker/parameter_client/fake_parameter_service.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/crc32c.h"
#include "common/base/error.h"
#include "common/base/host.h"
#include "common/base/shared_memory.h"
#include "common/base/status_macros.h"
#include "common/tensor/codec_half.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server_builder.h"

namespace paramd {
namespace {

absl::Status Fenced() {
  return MakeError(absl::StatusCode::kFailedPrecondition, "GENERATION_FENCED", "another generation");
}

}  // namespace

struct FakeParameterService::Call {
  grpc::ServerReaderWriter<v1::ParameterResponse, v1::ParameterRequest>* stream = nullptr;
  bool local = false;   // Over the unix socket.
  bool closed = false;  // Guarded by the service's mutex.
  std::shared_ptr<AttachedSegment> segment;
};

FakeParameterService::FakeParameterService(const ArenaPlan& plan, FakeParameterOptions options)
    : options_(options), tree_(options.slots), generation_(options.generation), arena_elements_(plan.arena_elements()) {
  absl::MutexLock lock(&mutex_);
  for (int chunk = 0; chunk < plan.chunk_count(); ++chunk) {
    chunks_.emplace_back().weights.resize(plan.ChunkRange(chunk).size());
    chunks_.back().clocks.resize(options.workers, 0);
  }
}

FakeParameterService::~FakeParameterService() { Stop(); }

void FakeParameterService::Start() {
  grpc::ServerBuilder builder;
  builder.SetMaxReceiveMessageSize(16 << 20);
  builder.AddListeningPort(absl::StrCat("127.0.0.1:", port_), grpc::InsecureServerCredentials(), &port_);
  if (!options_.local_socket.empty()) {
    builder.AddListeningPort("unix:" + options_.local_socket, grpc::InsecureServerCredentials());
  }
  builder.RegisterService(this);
  server_ = builder.BuildAndStart();
}

void FakeParameterService::Stop() {
  if (server_ == nullptr) return;
  ReleaseStalled();
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
  server_.reset();
}

std::string FakeParameterService::address() const { return absl::StrCat("127.0.0.1:", port_); }

v1::Placement FakeParameterService::placement() const {
  absl::MutexLock lock(&mutex_);
  v1::Placement placement;
  v1::ServerPlacement& server = *placement.add_servers();
  server.set_node_id("fake");
  server.set_address(address());
  server.set_host_id(HostId());
  if (!options_.local_socket.empty()) server.set_local_address("unix:" + options_.local_socket);
  for (uint32_t i = 0; i < options_.workers; ++i) placement.add_workers();
  for (size_t i = 0; i < chunks_.size(); ++i) placement.add_chunk_server(0);
  placement.set_arena_elements(arena_elements_);
  return placement;
}

void FakeParameterService::SetFault(std::function<Fault(const v1::ParameterRequest&)> fault) {
  absl::MutexLock lock(&mutex_);
  fault_ = std::move(fault);
}

void FakeParameterService::ReleaseStalled() {
  absl::MutexLock lock(&mutex_);
  released_ = true;
}

void FakeParameterService::SetWeights(const std::vector<float>& weights) {
  absl::MutexLock lock(&mutex_);
  auto from = weights.begin();
  for (Chunk& chunk : chunks_) {
    std::copy(from, from + chunk.weights.size(), chunk.weights.begin());
    from += chunk.weights.size();
  }
}

std::vector<float> FakeParameterService::weights() const {
  absl::MutexLock lock(&mutex_);
  std::vector<float> all;
  for (const Chunk& chunk : chunks_) all.insert(all.end(), chunk.weights.begin(), chunk.weights.end());
  return all;
}

uint64_t FakeParameterService::version(int chunk) const {
  absl::MutexLock lock(&mutex_);
  return chunks_[chunk].version;
}

std::map<std::string, int> FakeParameterService::seen() const {
  absl::MutexLock lock(&mutex_);
  return seen_;
}

int64_t FakeParameterService::applied_pushes() const {
  absl::MutexLock lock(&mutex_);
  return applied_;
}

FakeParameterService::SharedMemoryUse FakeParameterService::shared_memory_use() const {
  absl::MutexLock lock(&mutex_);
  return shared_;
}

std::vector<uint32_t> FakeParameterService::arrivals() const {
  absl::MutexLock lock(&mutex_);
  return arrivals_;
}

grpc::Status FakeParameterService::Exchange(
    grpc::ServerContext* context, grpc::ServerReaderWriter<v1::ParameterResponse, v1::ParameterRequest>* stream) {
  auto call = std::make_shared<Call>();
  call->stream = stream;
  call->local = absl::StartsWith(context->peer(), "unix:");
  v1::ParameterRequest request;
  bool go_on = true;
  while (go_on && stream->Read(&request)) go_on = Handle(call, request);
  absl::MutexLock lock(&mutex_);
  call->closed = true;
  return go_on ? grpc::Status::OK : grpc::Status(grpc::StatusCode::UNAVAILABLE, "broken on purpose");
}

void FakeParameterService::SetGeneration(uint64_t generation) {
  absl::MutexLock lock(&mutex_);
  generation_ = generation;
  for (Chunk& chunk : chunks_) {
    for (const Waiting& waiting : chunk.waiting) {
      if (!waiting.call->closed) Refuse(*waiting.call, waiting.request, Fenced());
    }
    chunk.waiting.clear();
  }
}

bool FakeParameterService::Handle(const std::shared_ptr<Call>& call, const v1::ParameterRequest& request) {
  absl::MutexLock lock(&mutex_);
  if (request.operation() == v1::OPERATION_ATTACH) {
    if (options_.ignore_attach) return true;
    Refuse(*call, request, Attach(*call, request));
    return true;
  }
  arrivals_.push_back(request.chunk());
  v1::ParameterRequest anonymous = request;
  anonymous.clear_request_id();
  ++seen_[anonymous.SerializeAsString()];
  const Fault fault = fault_ ? fault_(request) : Fault::kNone;
  if (fault == Fault::kBreakBefore) return false;
  if (fault == Fault::kIgnore) return true;
  if (fault == Fault::kStall) {
    mutex_.Await(absl::Condition(&released_));
    return false;
  }
  absl::Status status;
  bool duplicate = false;
  if (fault == Fault::kUnavailable) status = MakeError(absl::StatusCode::kUnavailable, "BUSY", "come back later");
  if (fault == Fault::kDeadline) status = MakeError(absl::StatusCode::kDeadlineExceeded, "NOT_READY", "not ready");
  if (fault == Fault::kForeign) {
    status = MakeError(absl::StatusCode::kFailedPrecondition, "INCARNATION_FENCED", "somebody else's");
  }
  if (request.generation() != generation_) status = Fenced();
  if (fault == Fault::kDamagedRequest) status = MakeError(absl::StatusCode::kDataLoss, "CHECKSUM_MISMATCH", "damaged");
  if (status.ok() && request.chunk() >= chunks_.size()) status = absl::InvalidArgumentError("no such chunk");
  if (status.ok() && request.operation() != v1::OPERATION_PULL) {
    status = Apply(*call, chunks_[request.chunk()], request, duplicate);
  }
  if (!status.ok()) {
    Refuse(*call, request, status);
    return true;
  }
  Chunk& chunk = chunks_[request.chunk()];
  chunk.waiting.push_back({.call = call, .request = request, .fault = fault, .duplicate = duplicate});
  if (fault == Fault::kBreakAfter) call->closed = true;
  for (auto it = chunk.waiting.begin(); it != chunk.waiting.end();) {
    if (!it->call->closed && !Ready(chunk, it->request)) {
      ++it;
      continue;
    }
    if (!it->call->closed) Answer(chunk, *it);
    it = chunk.waiting.erase(it);
  }
  return fault != Fault::kBreakAfter;
}

absl::Status FakeParameterService::Attach(Call& call, const v1::ParameterRequest& request) {
  absl::StatusOr<std::shared_ptr<AttachedSegment>> segment = absl::FailedPreconditionError("not through this socket");
  if (call.local && options_.take_shared_memory) {
    const v1::SharedMemory& memory = request.shared_memory();
    segment = AttachedSegment::Open(memory.pid(), memory.fd(), memory.bytes(), memory.token());
  }
  ++(segment.ok() ? shared_.attached : shared_.refused);
  if (segment.ok()) call.segment = *std::move(segment);
  return segment.status();
}

absl::StatusOr<std::vector<float>> FakeParameterService::Gradient(const Call& call,
                                                                  const v1::ParameterRequest& request) {
  std::string payload = request.payload();
  if (request.shared_payload_offset() != 0) {
    if (call.segment == nullptr) return absl::InvalidArgumentError("no memory attached");
    ASSIGN_OR_RETURN(const absl::Span<char> range,
                     call.segment->Range(request.shared_payload_offset(), request.shared_payload_bytes()));
    payload.assign(range.data(), range.size());
    ++shared_.pushes;
  }
  if (request.crc32c() != 0 && Crc32c(payload) != request.crc32c()) {
    return MakeError(absl::StatusCode::kDataLoss, "CHECKSUM_MISMATCH", "damaged payload");
  }
  std::vector<float> gradient(chunks_[request.chunk()].weights.size());
  if (options_.codecs != nullptr) {
    RETURN_IF_ERROR(DecodeChunk(*options_.codecs, static_cast<int>(request.chunk()), request.codec(), payload,
                                absl::MakeSpan(gradient)));
    return gradient;
  }
  if (request.codec() != v1::CODEC_FP32 || payload.size() != gradient.size() * sizeof(float)) {
    return absl::InvalidArgumentError("payload of another codec or size");
  }
  std::memcpy(gradient.data(), payload.data(), payload.size());
  return gradient;
}

absl::Status FakeParameterService::Apply(const Call& call, Chunk& chunk, const v1::ParameterRequest& request,
                                         bool& duplicate) {
  ASSIGN_OR_RETURN(std::vector<float> gradient, Gradient(call, request));
  if (options_.mode != v1::SYNC_MODE_SYNC) {
    uint64_t& clock = chunk.clocks.at(request.worker_index());
    if (request.step() > clock) return MakeError(absl::StatusCode::kFailedPrecondition, "SEQUENCE_GAP", "gap");
    duplicate = request.step() < clock;
    if (duplicate) return absl::OkStatus();
    ++clock;
    ++applied_;
    Descend(chunk, gradient, 1.0f / static_cast<float>(request.slot_count()));
    return absl::OkStatus();
  }
  Subtree subtree = tree_.Canonical({.first_slot = request.first_slot(), .log2_size = request.log2_size()});
  duplicate = request.step() < chunk.version || chunk.ledger.contains(subtree);
  for (const auto& [other, sum] : chunk.ledger) {
    duplicate = duplicate || (other.first_slot <= subtree.first_slot &&
                              subtree.first_slot < other.first_slot + tree_.SlotsIn(other));
  }
  if (duplicate) return absl::OkStatus();
  if (request.step() > chunk.version) return MakeError(absl::StatusCode::kFailedPrecondition, "STEP_AHEAD", "step");
  ++applied_;
  chunk.ledger[subtree] = std::move(gradient);
  while (subtree != tree_.Root() && chunk.ledger.contains(tree_.Sibling(subtree))) {
    const Subtree sibling = tree_.Sibling(subtree);
    std::vector<float>& left = chunk.ledger[std::min(subtree, sibling)];
    const std::vector<float>& right = chunk.ledger[std::max(subtree, sibling)];
    for (size_t i = 0; i < left.size(); ++i) left[i] += right[i];
    std::vector<float> sum = std::move(left);
    const Subtree parent = tree_.Parent(subtree);
    chunk.ledger.erase(sibling);
    chunk.ledger.erase(subtree);
    chunk.ledger[parent] = std::move(sum);
    subtree = parent;
  }
  if (subtree == tree_.Root()) {
    const std::vector<float> sum = std::move(chunk.ledger[subtree]);
    chunk.ledger.clear();
    Descend(chunk, sum, 1.0f / static_cast<float>(options_.slots));
  }
  return absl::OkStatus();
}

void FakeParameterService::Descend(Chunk& chunk, const std::vector<float>& gradient, float scale) {
  for (size_t i = 0; i < gradient.size(); ++i) chunk.weights[i] -= options_.learning_rate * (gradient[i] * scale);
  ++chunk.version;
}

bool FakeParameterService::Ready(const Chunk& chunk, const v1::ParameterRequest& request) const {
  if (request.operation() == v1::OPERATION_PUSH) return true;
  const uint64_t slowest = *std::min_element(chunk.clocks.begin(), chunk.clocks.end());
  return chunk.version >= request.min_version() && slowest >= request.min_clock();
}

void FakeParameterService::Refuse(const Call& call, const v1::ParameterRequest& request, const absl::Status& status) {
  v1::ParameterResponse response;
  response.set_request_id(request.request_id());
  response.set_code(static_cast<int>(status.code()));
  response.set_reason(ErrorReason(status));
  response.set_message(std::string(status.message()));
  call.stream->Write(response);
}

void FakeParameterService::Answer(const Chunk& chunk, const Waiting& waiting) {
  v1::ParameterResponse response;
  response.set_request_id(waiting.request.request_id());
  response.set_chunk(waiting.request.chunk());
  response.set_version(chunk.version);
  response.set_min_clock(*std::min_element(chunk.clocks.begin(), chunk.clocks.end()));
  response.set_duplicate(waiting.duplicate);
  if (waiting.request.operation() != v1::OPERATION_PUSH) AddWeights(chunk, waiting, response);
  if (waiting.fault == Fault::kMalformed) {
    // Field 1 as bytes that are not there: not even a client that skips unknown fields can read it.
    response.Clear();
    response.GetReflection()->MutableUnknownFields(&response)->AddLengthDelimited(1, "not a number");
  }
  waiting.call->stream->Write(response);
}

void FakeParameterService::AddWeights(const Chunk& chunk, const Waiting& waiting, v1::ParameterResponse& response) {
  const v1::ParameterRequest& request = waiting.request;
  const bool bf16 = request.answer_codec() == v1::CODEC_BF16;
  std::string bytes(chunk.weights.size() * (bf16 ? sizeof(uint16_t) : sizeof(float)), 0);
  if (bf16) {
    EncodeBf16(chunk.weights, absl::MakeSpan(reinterpret_cast<uint16_t*>(bytes.data()), chunk.weights.size()));
  } else {
    std::memcpy(bytes.data(), chunk.weights.data(), bytes.size());
  }
  if (waiting.fault == Fault::kShortAnswer) bytes.resize(bytes.size() - 4);
  response.set_codec(bf16 ? v1::CODEC_BF16 : v1::CODEC_FP32);
  if (!waiting.call->local || waiting.fault == Fault::kDamagedAnswer) response.set_crc32c(Crc32c(bytes));
  if (waiting.fault == Fault::kDamagedAnswer) bytes[0] ^= 1;
  absl::StatusOr<absl::Span<char>> range = absl::NotFoundError("not asked for");
  if (request.shared_answer_offset() != 0 && waiting.call->segment != nullptr) {
    range = waiting.call->segment->Range(request.shared_answer_offset(), bytes.size());
  }
  if (!range.ok()) {
    response.set_payload(std::move(bytes));
    return;
  }
  std::memcpy(range->data(), bytes.data(), bytes.size());
  response.set_shared_answer_bytes(bytes.size());
  ++shared_.pulls;
}

}  // namespace paramd
