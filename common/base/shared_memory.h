// Memory that two processes of one host and user share: one makes a sealed memfd, tells the other its process id, file
// descriptor, size and token over a channel both trust, and the other opens it through /proc.
//
//   ASSIGN_OR_RETURN(std::shared_ptr<SharedSegment> segment, SharedSegment::Create(SharedSegment::BytesFor({n, n})));
//   absl::Span<float> gradients = segment->AllocateFloats(n);           // offset: segment->OffsetOf(gradients.data())
//   // In the other process, with what it was told:
//   ASSIGN_OR_RETURN(auto attached, AttachedSegment::Open(pid, fd, bytes, token));
//   ASSIGN_OR_RETURN(absl::Span<char> range, attached->Range(offset, n * sizeof(float)));
//
// The memory has no name in any file system and its size is sealed: it cannot shrink under a reader, and the system
// frees it when the last of both processes has unmapped it or died. Both sides hold it by shared_ptr because messages
// in flight point into it.
//
// Threading: AllocateFloats belongs to one thread at a time; everything else is thread safe. The memory itself is not
// synchronised: the two sides agree by messages on who writes where and when. It does not protect against a peer of the
// same user that writes out of turn: whoever reads checks each value that it uses as an index after it has copied it.
#ifndef PARAMD_COMMON_BASE_SHARED_MEMORY_H_
#define PARAMD_COMMON_BASE_SHARED_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/base/file.h"

namespace paramd {

// The header page: token, then zeros. Offsets below it are not handed out.
inline constexpr size_t kSharedHeaderBytes = 4096;
inline constexpr size_t kSharedTokenBytes = 16;
inline constexpr uint64_t kMaxSharedBytes = uint64_t{1} << 46;

// A mapping of memory, unmapped with the object. Movable.
class MemoryMapping {
 public:
  MemoryMapping() = default;
  MemoryMapping(void* address, size_t bytes) : address_(static_cast<char*>(address)), bytes_(bytes) {}
  MemoryMapping(MemoryMapping&& other) noexcept;
  MemoryMapping& operator=(MemoryMapping&& other) noexcept;
  ~MemoryMapping();

  char* data() const { return address_; }
  size_t size() const { return bytes_; }

 private:
  char* address_ = nullptr;
  size_t bytes_ = 0;
};

// The creator's side.
class SharedSegment {
 public:
  // The argument of Create for a segment in which runs of these many floats are allocated, in this order.
  static size_t BytesFor(std::initializer_list<size_t> float_counts);

  // A segment with room for `bytes` after the header; all of it is reserved now, so that no later access can fail for
  // want of memory. kResourceExhausted SHARED_MEMORY_EXHAUSTED: memory or a limit of the process;
  // kInvalidArgument SHARED_MEMORY_SIZE: 0 or above kMaxSharedBytes; kFailedPrecondition SHARED_MEMORY_UNAVAILABLE: the
  // system has no memfd.
  static absl::StatusOr<std::shared_ptr<SharedSegment>> Create(size_t bytes);

  // The whole segment, header included.
  absl::Span<char> memory() const { return {mapping_.data(), mapping_.size()}; }
  // What the peer needs to open it.
  int64_t pid() const { return pid_; }
  int fd() const { return fd_.get(); }
  size_t bytes() const { return mapping_.size(); }
  absl::string_view token() const { return {mapping_.data(), kSharedTokenBytes}; }

  // Whether all of [p, p + n) lies in the segment after the header.
  bool Contains(const void* p, size_t n) const;
  // Of an address in the segment.
  uint64_t OffsetOf(const void* p) const;

  // `n` floats, zero, aligned to 64 bytes (4096 when they take 1 MiB or more), for the life of the segment. Empty when
  // there is no room.
  absl::Span<float> AllocateFloats(size_t n);
  // Handed out, alignment included.
  size_t allocated_bytes() const { return next_ - kSharedHeaderBytes; }

 private:
  SharedSegment(FileDescriptor fd, MemoryMapping mapping);

  const FileDescriptor fd_;
  const MemoryMapping mapping_;
  const int64_t pid_;
  size_t next_ = kSharedHeaderBytes;
};

// The peer's side.
class AttachedSegment {
 public:
  // Maps the segment that a process of this user described. Nothing of what the peer said is believed: the descriptor
  // must be a memfd made by Create, of this user, of exactly `bytes`, sealed, reserved in full, and start with `token`.
  // kFailedPrecondition SHARED_MEMORY_UNAVAILABLE: it is not there (another host or container, a process that ended) or
  // cannot be mapped. kPermissionDenied SHARED_MEMORY_REFUSED: another user's, not a segment, or the wrong token.
  static absl::StatusOr<std::shared_ptr<AttachedSegment>> Open(int64_t pid, int fd, uint64_t bytes,
                                                               absl::string_view token);

  size_t bytes() const { return mapping_.size(); }

  // kInvalidArgument SHARED_RANGE_INVALID unless `offset` is a multiple of 4, at or after the header, and all of
  // [offset, offset + bytes) is inside.
  absl::StatusOr<absl::Span<char>> Range(uint64_t offset, uint64_t bytes) const;

 private:
  explicit AttachedSegment(MemoryMapping mapping) : mapping_(std::move(mapping)) {}

  const MemoryMapping mapping_;
};

}  // namespace paramd

#endif  // PARAMD_COMMON_BASE_SHARED_MEMORY_H_
