// A plain gRPC client of ParameterService with the generated messages, as anybody could write it, and messages for the
// job of server/store/test_job.h.
//
//   ExchangeClient client("127.0.0.1:7071");
//   v1::ParameterResponse answer = client.Call(PullMessage(/*worker=*/0, /*chunk=*/3));
//
// Tests only. Not thread safe, except that one thread may send while another receives.
#ifndef PARAMD_SERVER_SERVICE_TESTING_EXCHANGE_CLIENT_H_
#define PARAMD_SERVER_SERVICE_TESTING_EXCHANGE_CLIENT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/partition/slot_tree.h"
#include "grpcpp/client_context.h"
#include "grpcpp/support/sync_stream.h"
#include "proto/parameter.grpc.pb.h"

namespace paramd {

// As in a payload.
std::string FloatBytes(const std::vector<float>& values);
std::vector<float> BytesToFloats(const std::string& bytes);

v1::ParameterRequest PullMessage(uint32_t worker, uint32_t chunk, uint64_t min_version = 0, uint64_t min_clock = 0);
// With a checksum.
v1::ParameterRequest PushMessage(uint32_t worker, uint32_t chunk, uint64_t step, Subtree subtree, uint32_t slots,
                                 const std::vector<float>& gradient);

// One Exchange stream, cancelled with the object.
class ExchangeClient {
 public:
  // `address`: host:port or unix:PATH. `checksum`: the metadata with that name; empty: none.
  explicit ExchangeClient(const std::string& address, const std::string& checksum = "");
  ~ExchangeClient();

  // Gives the request an id and sends it; 0 when the stream is broken.
  uint64_t Send(v1::ParameterRequest request);
  // The request as it is, with its own id.
  bool SendRaw(const v1::ParameterRequest& request) { return stream_->Write(request); }
  // Fails the test when the stream ends instead.
  v1::ParameterResponse Receive();
  // Fails the test when another request is answered first.
  v1::ParameterResponse Call(v1::ParameterRequest request);
  // No more requests; the status that the stream ends with. Everything must have been received.
  grpc::Status Finish();
  void Cancel() { context_.TryCancel(); }

  v1::ParameterService::Stub& stub() { return *stub_; }

 private:
  std::unique_ptr<v1::ParameterService::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::ParameterRequest, v1::ParameterResponse>> stream_;
  uint64_t last_id_ = 0;
  bool finished_ = false;
};

}  // namespace paramd

#endif  // PARAMD_SERVER_SERVICE_TESTING_EXCHANGE_CLIENT_H_
