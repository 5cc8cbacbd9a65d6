#include "common/rpc/parameter_wire_fuzz.h"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/rpc/parameter_wire.h"
#include "common/rpc/parameter_wire_testing.h"
#include "google/protobuf/stubs/logging.h"
#include "proto/parameter.pb.h"

namespace paramd {
namespace {

absl::Status Decode(InboundRequest& message) { return DecodeRequest(message); }
absl::Status Decode(InboundResponse& message) { return DecodeResponse(message); }
grpc::ByteBuffer Encode(const RequestHeader& header, absl::Span<const grpc::Slice> payload) {
  return EncodeRequest(header, payload);
}
grpc::ByteBuffer Encode(const ResponseHeader& header, absl::Span<const grpc::Slice> payload) {
  return EncodeResponse(header, payload);
}

// Whether the codec has to take what generated code has taken.
bool WithinLimits(const v1::ParameterRequest& message) {
  return message.job_id().size() <= JobIdString::capacity() &&
         message.shared_memory().token().size() <= SharedMemoryToken::capacity();
}
bool WithinLimits(const v1::ParameterResponse&) { return true; }

template <typename Inbound, typename Generated>
bool Same(const Inbound& in, const Generated& message) {
  return in.header == HeaderOf(message) && BytesOf(in.payload()) == message.payload();
}

// What the codec accepted: generated code must agree, and encoding must give generated code's bytes.
template <typename Inbound, typename Generated>
std::string CheckAccepted(Inbound& in, const Generated* parsed) {
  if (parsed == nullptr) return "accepted what generated code refuses";
  if (!Same(in, *parsed)) return absl::StrCat("generated code reads ", parsed->ShortDebugString());
  std::vector<grpc::Slice> payload;
  for (const absl::string_view fragment : in.fragments) payload.push_back(BorrowSlice(fragment));
  Generated known = *parsed;
  known.DiscardUnknownFields();
  if (BytesOf(Encode(in.header, payload)) != known.SerializeAsString()) return "encoded differently";
  return "";
}

// What the codec refused: it must still take the plain encoding of what generated code made of it.
template <typename Inbound, typename Generated>
std::string CheckRefused(Inbound& in, const Generated* parsed) {
  if (!in.payload().empty() || !in.fragments.empty()) return "refused, and yet has a payload";
  if (parsed == nullptr || !WithinLimits(*parsed)) return "";
  Generated known = *parsed;
  known.DiscardUnknownFields();
  in.buffer = CutBuffer(known.SerializeAsString(), {});
  const absl::Status status = Decode(in);
  if (!status.ok()) return absl::StrCat("refused a plain encoding: ", std::string(status.message()));
  return Same(in, known) ? "" : "read a plain encoding differently";
}

template <typename Inbound, typename Generated>
std::string Check(absl::string_view message, absl::Span<const size_t> sizes) {
  Inbound cut, whole;
  cut.buffer = CutBuffer(message, sizes);
  whole.buffer = CutBuffer(message, {});
  const absl::Status status = Decode(cut), whole_status = Decode(whole);
  if (status != whole_status) return "the cuts matter to the status";
  if (cut.header != whole.header || BytesOf(cut.payload()) != BytesOf(whole.payload())) return "the cuts matter";
  if (!status.ok() && (!absl::IsInvalidArgument(status) || ErrorReason(status) != "MALFORMED_MESSAGE")) {
    return absl::StrCat("fails with ", status.ToString());
  }
  const google::protobuf::LogSilencer silencer;  // It reports bad UTF-8.
  Generated generated;
  const Generated* parsed =
      generated.ParseFromArray(message.data(), static_cast<int>(message.size())) ? &generated : nullptr;
  return status.ok() ? CheckAccepted(cut, parsed) : CheckRefused(cut, parsed);
}

constexpr uint8_t kMaxSizes = 31;

}  // namespace

std::string FindWireFault(absl::string_view input) {
  if (input.empty()) return "";
  const uint8_t first = static_cast<uint8_t>(input.front());
  input.remove_prefix(1);
  std::vector<size_t> sizes;
  for (const char size : input.substr(0, first >> 1 & kMaxSizes)) sizes.push_back(static_cast<uint8_t>(size));
  input.remove_prefix(sizes.size());
  return (first & 1) == 0 ? Check<InboundRequest, v1::ParameterRequest>(input, sizes)
                          : Check<InboundResponse, v1::ParameterResponse>(input, sizes);
}

std::string WireInput(bool response, absl::string_view slice_sizes, absl::string_view message) {
  slice_sizes = slice_sizes.substr(0, kMaxSizes);
  const char first = static_cast<char>(slice_sizes.size() << 1 | static_cast<size_t>(response));
  return absl::StrCat(absl::string_view(&first, 1), slice_sizes, message);
}

}  // namespace paramd

// libFuzzer's entry.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view input(reinterpret_cast<const char*>(data), size);
  const std::string fault = paramd::FindWireFault(input);
  if (fault.empty()) return 0;
  std::fprintf(stderr, "%s\ninput: %s\n", fault.c_str(), absl::CHexEscape(input).c_str());
  std::abort();
}
