#include "server/service/read_gate.h"

namespace paramd {

bool ReadGate::HasRoom(int share) const {
  if (share == 1) {
    return payloads_ < limits_.payloads && bytes_ < limits_.payload_bytes && open_ < limits_.open_requests;
  }
  return payloads_ <= limits_.payloads / share && bytes_ <= limits_.payload_bytes / share &&
         open_ <= limits_.open_requests / share;
}

ReadGate::Verdict ReadGate::Next() {
  if (!closed_ && !HasRoom(1)) {
    paused_ = true;
    if (!closed_ && !HasRoom(2)) return Verdict::kPause;
    if (!Unpause()) return Verdict::kPause;  // Another thread is the reader now.
  }
  return closed_ ? Verdict::kEnd : Verdict::kRead;
}

void ReadGate::Accept(int64_t bytes) {
  payloads_.fetch_add(1);
  bytes_.fetch_add(bytes);
  open_.fetch_add(1);
}

bool ReadGate::Consumed(int64_t bytes) {
  bytes_.fetch_sub(bytes);
  payloads_.fetch_sub(1);
  return paused_ && HasRoom(2) && Unpause();
}

bool ReadGate::Answered() {
  open_.fetch_sub(1);
  return paused_ && HasRoom(2) && Unpause();
}

bool ReadGate::Close() {
  closed_ = true;
  return paused_ && Unpause();
}

}  // namespace paramd
