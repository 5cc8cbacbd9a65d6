#include "server/service/testing/exchange_client.h"

#include <chrono>
#include <cstring>
#include <utility>

#include "common/base/crc32c.h"
#include "common/rpc/channel.h"
#include "common/rpc/parameter_wire.h"
#include "gtest/gtest.h"
#include "server/store/test_job.h"

namespace paramd {

namespace {

constexpr std::chrono::seconds kTimeout(50);

}  // namespace

std::string FloatBytes(const std::vector<float>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
}

std::vector<float> BytesToFloats(const std::string& bytes) {
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
  return values;
}

v1::ParameterRequest PullMessage(uint32_t worker, uint32_t chunk, uint64_t min_version, uint64_t min_clock) {
  v1::ParameterRequest request;
  request.set_job_id("job-1");
  request.set_generation(kTestGeneration);
  request.set_worker_index(worker);
  request.set_worker_incarnation(TestIncarnation(worker));
  request.set_operation(v1::OPERATION_PULL);
  request.set_chunk(chunk);
  request.set_min_version(min_version);
  request.set_min_clock(min_clock);
  return request;
}

v1::ParameterRequest PushMessage(uint32_t worker, uint32_t chunk, uint64_t step, Subtree subtree, uint32_t slots,
                                 const std::vector<float>& gradient) {
  v1::ParameterRequest request = PullMessage(worker, chunk);
  request.set_operation(v1::OPERATION_PUSH);
  request.set_codec(v1::CODEC_FP32);
  request.set_step(step);
  request.set_first_slot(subtree.first_slot);
  request.set_log2_size(subtree.log2_size);
  request.set_slot_count(slots);
  request.set_payload(FloatBytes(gradient));
  request.set_crc32c(Crc32c(absl::string_view(request.payload().data(), request.payload().size())));
  return request;
}

ExchangeClient::ExchangeClient(const std::string& address, const std::string& checksum)
    : stub_(v1::ParameterService::NewStub(
          CreateChannel(address, {.kind = ChannelKind::kBulk, .max_message_bytes = 8 << 20}))) {
  context_.set_deadline(std::chrono::system_clock::now() + kTimeout);
  if (!checksum.empty()) context_.AddMetadata(kChecksumMetadata, checksum);
  stream_ = stub_->Exchange(&context_);
}

ExchangeClient::~ExchangeClient() {
  if (finished_) return;
  context_.TryCancel();
  stream_->Finish();
}

uint64_t ExchangeClient::Send(v1::ParameterRequest request) {
  request.set_request_id(++last_id_);
  return stream_->Write(request) ? last_id_ : 0;
}

v1::ParameterResponse ExchangeClient::Receive() {
  v1::ParameterResponse response;
  EXPECT_TRUE(stream_->Read(&response)) << "the stream has ended";
  return response;
}

v1::ParameterResponse ExchangeClient::Call(v1::ParameterRequest request) {
  const uint64_t id = Send(std::move(request));
  EXPECT_NE(id, 0u) << "the stream is broken";
  v1::ParameterResponse response = Receive();
  EXPECT_EQ(response.request_id(), id);
  return response;
}

grpc::Status ExchangeClient::Finish() {
  stream_->WritesDone();
  v1::ParameterResponse response;
  EXPECT_FALSE(stream_->Read(&response)) << "an answer that nobody received";
  finished_ = true;
  return stream_->Finish();
}

}  // namespace paramd
