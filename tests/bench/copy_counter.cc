// A library to preload that counts the bytes which a process copies with memcpy and memmove, in whatever library: how
// data_plane --count-copies finds out how often a payload byte is copied in user space.
//
// Only copies of at least kCountFrom bytes count: payloads, not headers. What the kernel copies, and loops that read
// and compute, such as the server's sums, are no copies in this sense. Thread safe.
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace {

constexpr size_t kCountFrom = 1024;

std::atomic<uint64_t> copied_bytes = 0;

// Plain C++ would be compiled into a call of the function that is defined here.
inline void CopyForward(void* to, const void* from, size_t size) {
  asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
}

inline void CopyBackward(void* to, const void* from, size_t size) {
  void* to_last = static_cast<char*>(to) + size - 1;
  const void* from_last = static_cast<const char*>(from) + size - 1;
  asm volatile("std\n\trep movsb\n\tcld" : "+D"(to_last), "+S"(from_last), "+c"(size) : : "memory");
}

inline void Count(size_t size) {
  if (size >= kCountFrom) copied_bytes.fetch_add(size, std::memory_order_relaxed);
}

}  // namespace

extern "C" {

uint64_t paramd_copied_bytes() { return copied_bytes.load(std::memory_order_relaxed); }

void* memcpy(void* to, const void* from, size_t size) {
  Count(size);
  CopyForward(to, from, size);
  return to;
}

void* memmove(void* to, const void* from, size_t size) {
  Count(size);
  const bool overlaps_ahead = to > from && to < static_cast<const char*>(from) + size;
  if (overlaps_ahead) {
    CopyBackward(to, from, size);
  } else {
    CopyForward(to, from, size);
  }
  return to;
}

void* __memcpy_chk(void* to, const void* from, size_t size, size_t) { return memcpy(to, from, size); }

void* __memmove_chk(void* to, const void* from, size_t size, size_t) { return memmove(to, from, size); }

}  // extern "C"
