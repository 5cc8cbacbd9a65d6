#include "worker/parameter_client/request_table.h"

#include <algorithm>

namespace paramd {

OpenRequest& RequestTable::Add(const ParameterCall& call) {
  if (free_slots_.empty()) {
    free_slots_.push_back(slots_.size());
    slots_.emplace_back();
  }
  const uint64_t slot = free_slots_.back();
  free_slots_.pop_back();
  OpenRequest& request = slots_[slot];
  request.id = next_serial_++ * kFirstId + slot;
  request.call = call;
  ++size_;
  MarkUnsent(request);
  return request;
}

OpenRequest* RequestTable::Find(uint64_t id) {
  const uint64_t slot = SlotOf(id);
  if (id < kFirstId || slot >= slots_.size() || slots_[slot].id != id) return nullptr;
  return &slots_[slot];
}

void RequestTable::Erase(OpenRequest& request) {
  free_slots_.push_back(SlotOf(request.id));
  request = OpenRequest();
  --size_;
}

OpenRequest* RequestTable::Next() {
  while (!turns_.empty()) {
    OpenRequest* const request = Find(turns_.front().id);
    if (request != nullptr && request->unsent) return request;
    std::pop_heap(turns_.begin(), turns_.end(), Later);
    turns_.pop_back();
  }
  return nullptr;
}

void RequestTable::MarkSent(OpenRequest& request) { request.unsent = false; }

void RequestTable::MarkUnsent(OpenRequest& request) {
  if (request.unsent) return;
  request.unsent = true;
  turns_.push_back({.chunk = request.call.chunk, .serial = SerialOf(request.id), .id = request.id});
  std::push_heap(turns_.begin(), turns_.end(), Later);
}

}  // namespace paramd
