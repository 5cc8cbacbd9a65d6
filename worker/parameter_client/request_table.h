// The open requests of one stream to a server, and which of them is sent next: of those unsent the one of the lowest
// chunk, since the next forward pass needs the first chunks first, and of one chunk's the oldest.
//
//   RequestTable table;
//   OpenRequest& request = table.Add({.chunk = 3, .pull = pull});  // unsent
//   OpenRequest* next = table.Next();                              // null: nothing to send
//   table.MarkSent(*next);
//   if (OpenRequest* answered = table.Find(response.request_id)) table.Erase(*answered);
//
// Slots of ended requests are used again: no allocation once there were as many open requests as there will be. Not
// thread safe. References are valid until the next Add.
#ifndef PARAMD_WORKER_PARAMETER_CLIENT_REQUEST_TABLE_H_
#define PARAMD_WORKER_PARAMETER_CLIENT_REQUEST_TABLE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "proto/parameter.pb.h"
#include "worker/parameter_client/parameter_call.h"

namespace paramd {

// The payload of a push as it travels: the same bytes in every attempt.
struct PushBytes {
  absl::string_view bytes;
  std::shared_ptr<const void> owner;  // Null: the caller's memory.
  v1::Codec codec = v1::CODEC_FP32;
  int64_t raw_bytes = 0;  // As fp32.
  uint32_t crc32c = 0;    // When `has_crc32c`.
  bool has_crc32c = false;
};

// Of TraceClockNanos; 0: not taken, since nothing was recorded then.
struct RequestTimes {
  int64_t asked_ns = 0;    // For the request.
  int64_t sent_ns = 0;     // Handed to the transport, in the newest attempt.
  int64_t written_ns = 0;  // Taken by the transport.
};

struct OpenRequest {
  uint64_t id = 0;  // 0: the slot is free.
  ParameterCall call;
  PushBytes push;
  int index = 0;  // Of the chunk, among the stream's.
  absl::Time created;
  absl::Time answer_by = absl::InfiniteFuture();  // When sent: after that the stream is taken for dead.
  absl::Time resend_at = absl::InfiniteFuture();  // When the server asked to come back later.
  uint64_t generation = 0;                        // In which it was sent last.
  bool fenced = false;                            // Refused: waits for another generation.
  int damaged = 0;                                // Attempts that arrived or came back with a bad checksum.
  int put_off = 0;                                // Attempts refused as UNAVAILABLE while nothing else got through.
  absl::Status refusal;                           // The last one. OK: none.
  bool unsent = false;                            // Waits for its turn.
  bool landing_offered = false;                   // Sent with the landing's offset, for the server to write there.
  int64_t in_flight_bytes = 0;                    // Sent and counted against the stream's credit.
  std::optional<uint64_t> step;                   // Whose gradient is pushed, by this request or the one it follows.
  RequestTimes times;
};

class RequestTable {
 public:
  // Ids below are never given out.
  static constexpr uint64_t kFirstId = uint64_t{1} << 24;

  // An unsent request with an id of its own.
  OpenRequest& Add(const ParameterCall& call);
  // Null: no such request is open.
  OpenRequest* Find(uint64_t id);
  void Erase(OpenRequest& request);

  // The unsent request whose turn it is; null when there is none.
  OpenRequest* Next();
  void MarkSent(OpenRequest& request);
  // To be sent (again). Nothing happens when it is unsent already.
  void MarkUnsent(OpenRequest& request);

  int64_t size() const { return size_; }
  // Calls visit(OpenRequest&) for every open request.
  template <typename Visitor>
  void ForEach(Visitor visit) {
    for (OpenRequest& request : slots_) {
      if (request.id != 0) visit(request);
    }
  }

 private:
  // An entry is void when its request is not open or not unsent any more.
  struct Turn {
    int chunk = 0;
    uint64_t serial = 0;
    uint64_t id = 0;
    bool After(const Turn& other) const { return chunk != other.chunk ? chunk > other.chunk : serial > other.serial; }
  };
  static bool Later(const Turn& a, const Turn& b) { return a.After(b); }

  // An id is the request's serial number and its slot.
  static uint64_t SlotOf(uint64_t id) { return id % kFirstId; }
  static uint64_t SerialOf(uint64_t id) { return id / kFirstId; }

  std::vector<OpenRequest> slots_;
  std::vector<uint64_t> free_slots_;
  std::vector<Turn> turns_;  // A heap, the next one on top.
  uint64_t next_serial_ = 1;
  int64_t size_ = 0;
};

}  // namespace paramd

#endif  // PARAMD_WORKER_PARAMETER_CLIENT_REQUEST_TABLE_H_
