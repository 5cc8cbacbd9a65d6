#include "worker/parameter_client/call_message.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"
#include "common/tensor/codec_half.h"
#include "common/tensor/payload.h"

namespace paramd {
namespace {

static_assert(std::endian::native == std::endian::little, "payloads are copied as they lie in memory");

// Elements that fit a buffer on the stack.
constexpr size_t kBlock = 1024;

// A cut between fragments may divide an element.
void DecodeBf16Fragments(const PayloadView& payload, absl::Span<float> out) {
  std::array<char, 2> divided;
  bool half = false;  // divided[0] is the first byte of the next element.
  for (size_t i = 0; i < payload.fragment_count(); ++i) {
    absl::string_view fragment = payload.fragment(i);
    if (half && !fragment.empty()) {
      divided[1] = fragment.front();
      fragment.remove_prefix(1);
      DecodeBf16(divided.data(), out.first(1));
      out.remove_prefix(1);
      half = false;
    }
    const size_t whole = fragment.size() / 2;
    DecodeBf16(fragment.data(), out.first(whole));
    out.remove_prefix(whole);
    if (fragment.size() % 2 == 0) continue;
    divided[0] = fragment.back();
    half = true;
  }
}

// The first half of `values` holds BF16, which becomes fp32 from the back to the front: a block's values overwrite
// encodings that have been decoded, and its own, of which it has a copy.
void ExpandBf16(absl::Span<float> values) {
  const char* const encoded = reinterpret_cast<const char*>(values.data());
  std::array<char, 2 * kBlock> copy;
  for (size_t end = values.size(); end > 0;) {
    const size_t begin = (end - 1) / kBlock * kBlock;
    std::memcpy(copy.data(), encoded + 2 * begin, 2 * (end - begin));
    DecodeBf16(copy.data(), values.subspan(begin, end - begin));
    end = begin;
  }
}

absl::Status Mismatch(const ResponseHeader& header, size_t bytes, size_t expected) {
  return MakeError(absl::StatusCode::kInvalidArgument, "PARAM_SHAPE_MISMATCH",
                   absl::StrCat("weights of chunk ", header.chunk, " came in ", bytes, " bytes, expected ", expected));
}

absl::Status CheckCrc(const ResponseHeader& header, uint32_t crc) {
  if (crc == header.crc32c) return absl::OkStatus();
  return MakeError(
      absl::StatusCode::kDataLoss, "CHECKSUM_MISMATCH",
      absl::StrFormat("weights of chunk %d have CRC-32C %08x, announced was %08x", header.chunk, crc, header.crc32c));
}

}  // namespace

RequestHeader MakeHeader(const CallerIdentity& caller, const ParameterCall& call, uint64_t request_id,
                         uint32_t deadline_ms) {
  RequestHeader header;
  header.request_id = request_id;
  header.job_id = caller.job_id;
  header.generation = caller.generation;
  header.worker_index = caller.worker_index;
  header.worker_incarnation = caller.worker_incarnation;
  header.chunk = static_cast<uint32_t>(call.chunk);
  header.deadline_ms = deadline_ms;
  header.operation = !call.push ? v1::OPERATION_PULL : call.pull ? v1::OPERATION_PUSH_PULL : v1::OPERATION_PUSH;
  if (call.pull) {
    header.min_version = call.pull->min_version;
    header.min_clock = call.pull->min_clock;
    header.exact_version = call.pull->exact_version;
  }
  if (call.push) {
    header.step = call.push->step;
    header.first_slot = call.push->subtree.first_slot;
    header.log2_size = call.push->subtree.log2_size;
    header.slot_count = call.push->slot_count;
  }
  return header;
}

absl::Status AnswerStatus(const ResponseHeader& header) {
  if (header.code == 0) return absl::OkStatus();
  // A code outside the enumeration is somebody else's error, not ours to trust.
  const bool known = header.code > 0 && header.code <= static_cast<int>(absl::StatusCode::kUnauthenticated);
  const auto code = known ? static_cast<absl::StatusCode>(header.code) : absl::StatusCode::kUnknown;
  return MakeError(code, header.reason, header.message);
}

size_t WeightBytes(v1::Codec codec, size_t elements) {
  return elements * (codec == v1::CODEC_BF16 ? sizeof(uint16_t) : sizeof(float));
}

absl::Status LandWeights(const InboundResponse& response, v1::Codec codec, bool shared, absl::Span<float> landing) {
  const ResponseHeader& header = response.header;
  if (header.codec != codec) {
    return MakeError(
        absl::StatusCode::kInvalidArgument, "UNSUPPORTED_CODEC",
        absl::StrCat("weights of chunk ", header.chunk, " came in codec ", static_cast<int>(header.codec)));
  }
  const size_t expected = WeightBytes(codec, landing.size());
  const bool in_place = shared && response.payload_size == 0 && header.shared_answer_bytes != 0;
  const size_t bytes = in_place ? header.shared_answer_bytes : response.payload_size;
  if (bytes != expected) return Mismatch(header, bytes, expected);
  const bool checked = header.crc32c != 0;
  if (checked && codec == v1::CODEC_FP32 && !in_place) {
    // Weights that turn out to be damaged may have landed: whole ones land over them before anybody looks.
    return CheckCrc(header, CopyFloatsWithCrc32c(response.payload(), landing));
  }
  const PayloadView written(absl::string_view(reinterpret_cast<const char*>(landing.data()), expected));
  if (checked) RETURN_IF_ERROR(CheckCrc(header, Crc32c(in_place ? written : response.payload())));
  if (codec == v1::CODEC_BF16) {
    if (in_place) {
      ExpandBf16(landing);
    } else {
      DecodeBf16Fragments(response.payload(), landing);
    }
  } else if (!in_place) {
    CopyFloats(response.payload(), 0, landing);
  }
  return absl::OkStatus();
}

}  // namespace paramd
