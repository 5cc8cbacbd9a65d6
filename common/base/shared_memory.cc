#include "common/base/shared_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"

namespace paramd {
namespace {

constexpr char kName[] = "paramd-segment";
// What /proc/self/fd/N of such a descriptor points at, but for a suffix " (deleted)".
constexpr char kLink[] = "/memfd:paramd-segment";
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
constexpr size_t kPageBytes = 4096;
constexpr size_t kHugePageBytes = size_t{2} << 20;
constexpr size_t kLargeRunBytes = size_t{1} << 20;
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23  // Linux 5.14.
#endif

size_t RoundUp(size_t value, size_t alignment) { return (value + alignment - 1) / alignment * alignment; }

// Where a run of `bytes` starts when everything before `next` is taken.
size_t RunStart(size_t next, size_t bytes) { return RoundUp(next, bytes >= kLargeRunBytes ? kPageBytes : 64); }

std::string Reason(int error) { return std::generic_category().message(error); }

absl::Status Exhausted(size_t bytes, absl::string_view what) {
  return MakeError(absl::StatusCode::kResourceExhausted, "SHARED_MEMORY_EXHAUSTED",
                   absl::StrCat("cannot make a shared segment of ", bytes, " bytes: ", what));
}

absl::Status Unavailable(absl::string_view message) {
  return MakeError(absl::StatusCode::kFailedPrecondition, "SHARED_MEMORY_UNAVAILABLE", message);
}

absl::Status Refused(absl::string_view message) {
  return MakeError(absl::StatusCode::kPermissionDenied, "SHARED_MEMORY_REFUSED", message);
}

// The size of a file above the limit would end the process by a signal.
absl::Status CheckFileSizeLimit(size_t bytes) {
  rlimit limit;
  if (getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY || bytes <= limit.rlim_cur) {
    return absl::OkStatus();
  }
  return Exhausted(bytes, absl::StrCat("the process may make files of ", limit.rlim_cur, " bytes (ulimit -f)"));
}

// Allocates every page, so that the memory is had now or not at all: with an error instead of a signal where it is
// short.
absl::Status Reserve(const FileDescriptor& fd, const MemoryMapping& mapping) {
  if (madvise(mapping.data(), mapping.size(), MADV_POPULATE_WRITE) == 0) return absl::OkStatus();
  if (errno != EINVAL) return Exhausted(mapping.size(), Reason(errno == EFAULT ? ENOMEM : errno));
  if (fallocate(fd.get(), 0, 0, static_cast<off_t>(mapping.size())) == 0) return absl::OkStatus();
  return Exhausted(mapping.size(), Reason(errno));
}

absl::Status WriteToken(const MemoryMapping& mapping) {
  for (size_t done = 0; done < kSharedTokenBytes;) {
    const ssize_t n = getrandom(mapping.data() + done, kSharedTokenBytes - done, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Unavailable(absl::StrCat("no random numbers for a shared segment: ", Reason(errno)));
    done += static_cast<size_t>(n);
  }
  return absl::OkStatus();
}

// At a multiple of kHugePageBytes, without which the kernel gives no huge pages: a larger stretch of addresses is taken
// first, and the ends are given back.
absl::StatusOr<MemoryMapping> Map(const FileDescriptor& fd, size_t bytes) {
  const auto failed = [bytes](int error) { return Exhausted(bytes, absl::StrCat("cannot map it: ", Reason(error))); };
  const size_t wide = bytes + kHugePageBytes;
  void* const taken = mmap(nullptr, wide, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (taken == MAP_FAILED) return failed(errno);
  char* const first = static_cast<char*>(taken);
  const size_t skipped =
      RoundUp(reinterpret_cast<uintptr_t>(first), kHugePageBytes) - reinterpret_cast<uintptr_t>(first);
  char* const start = first + skipped;
  if (mmap(start, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd.get(), 0) == MAP_FAILED) {
    const int error = errno;
    munmap(taken, wide);
    return failed(error);
  }
  if (skipped > 0) munmap(first, skipped);
  if (skipped < kHugePageBytes) munmap(start + bytes, kHugePageBytes - skipped);
  madvise(start, bytes, MADV_HUGEPAGE);  // Best effort.
  return MemoryMapping(start, bytes);
}

// What an open descriptor of ours points at.
std::string LinkOf(int fd) {
  char target[128];
  const ssize_t size = readlink(absl::StrCat("/proc/self/fd/", fd).c_str(), target, sizeof(target));
  return size < 0 ? "" : std::string(target, static_cast<size_t>(size));
}

// The peer's descriptor as one of ours. Opened first as a mere location (O_PATH), which has no side effect whatever it
// is, and for use only once it is known to be a segment.
absl::StatusOr<FileDescriptor> OpenPeer(int64_t pid, int fd) {
  const std::string path = absl::StrCat("/proc/", pid, "/fd/", fd);
  if (pid <= 0 || pid > INT_MAX || fd < 0) return Refused(absl::StrCat(path, " cannot be a process's descriptor"));
  const FileDescriptor location(open(path.c_str(), O_PATH | O_CLOEXEC));
  if (location.get() < 0) return Unavailable(absl::StrCat("cannot open ", path, ": ", Reason(errno)));
  const std::string link = LinkOf(location.get());
  struct stat info;
  const bool ours = fstat(location.get(), &info) == 0 && S_ISREG(info.st_mode) && info.st_uid == geteuid();
  if (!ours || !absl::StartsWith(link, kLink)) return Refused(absl::StrCat(path, " is not a segment of this user"));
  FileDescriptor opened(open(absl::StrCat("/proc/self/fd/", location.get()).c_str(), O_RDWR | O_CLOEXEC));
  if (opened.get() < 0) return Unavailable(absl::StrCat("cannot open ", path, ": ", Reason(errno)));
  return opened;
}

// Neither the size nor the presence of its pages may depend on what the peer does from now on.
absl::Status CheckPeer(const FileDescriptor& fd, uint64_t bytes) {
  struct stat info;
  if (fstat(fd.get(), &info) != 0) return Unavailable(absl::StrCat("cannot look at a segment: ", Reason(errno)));
  if (bytes <= kSharedHeaderBytes || bytes > kMaxSharedBytes || static_cast<uint64_t>(info.st_size) != bytes) {
    return Refused(absl::StrCat("a segment of ", info.st_size, " bytes was announced with ", bytes));
  }
  if (static_cast<uint64_t>(info.st_blocks) * 512 < bytes) return Refused("a segment whose memory is not reserved");
  const int seals = fcntl(fd.get(), F_GET_SEALS);
  if (seals < 0 || (seals & kSeals) != kSeals) return Refused("a segment that is not sealed");
  return absl::OkStatus();
}

// Takes the same time wherever they differ.
bool SameToken(const char* a, const char* b) {
  unsigned difference = 0;
  for (size_t i = 0; i < kSharedTokenBytes; ++i) difference |= static_cast<unsigned char>(a[i] ^ b[i]);
  return difference == 0;
}

}  // namespace

MemoryMapping::MemoryMapping(MemoryMapping&& other) noexcept
    : address_(std::exchange(other.address_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}

MemoryMapping& MemoryMapping::operator=(MemoryMapping&& other) noexcept {
  std::swap(address_, other.address_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

MemoryMapping::~MemoryMapping() {
  if (address_ != nullptr) munmap(address_, bytes_);
}

size_t SharedSegment::BytesFor(std::initializer_list<size_t> float_counts) {
  size_t next = kSharedHeaderBytes;
  for (const size_t n : float_counts) next = RunStart(next, n * sizeof(float)) + n * sizeof(float);
  return next - kSharedHeaderBytes;
}

absl::StatusOr<std::shared_ptr<SharedSegment>> SharedSegment::Create(size_t bytes) {
  if (bytes == 0 || bytes > kMaxSharedBytes - 2 * kSharedHeaderBytes) {
    return MakeError(absl::StatusCode::kInvalidArgument, "SHARED_MEMORY_SIZE",
                     absl::StrCat("a shared segment of ", bytes, " bytes; it must have 1 to ", kMaxSharedBytes));
  }
  const size_t total = RoundUp(kSharedHeaderBytes + bytes, kPageBytes);
  RETURN_IF_ERROR(CheckFileSizeLimit(total));
  FileDescriptor fd(memfd_create(kName, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (fd.get() < 0) {
    if (errno == ENOSYS || errno == EINVAL) return Unavailable("this system has no memfd_create");
    return Exhausted(total, Reason(errno));
  }
  if (fchmod(fd.get(), 0600) != 0 || ftruncate(fd.get(), static_cast<off_t>(total)) != 0 ||
      fcntl(fd.get(), F_ADD_SEALS, kSeals) != 0) {
    return Exhausted(total, Reason(errno));
  }
  ASSIGN_OR_RETURN(MemoryMapping mapping, Map(fd, total));
  RETURN_IF_ERROR(Reserve(fd, mapping));
  RETURN_IF_ERROR(WriteToken(mapping));
  return std::shared_ptr<SharedSegment>(new SharedSegment(std::move(fd), std::move(mapping)));
}

SharedSegment::SharedSegment(FileDescriptor fd, MemoryMapping mapping)
    : fd_(std::move(fd)), mapping_(std::move(mapping)), pid_(getpid()) {}

bool SharedSegment::Contains(const void* p, size_t n) const {
  const auto first = reinterpret_cast<uintptr_t>(mapping_.data()) + kSharedHeaderBytes;
  const size_t room = mapping_.size() - kSharedHeaderBytes;
  const auto address = reinterpret_cast<uintptr_t>(p);
  return address >= first && n <= room && address - first <= room - n;
}

uint64_t SharedSegment::OffsetOf(const void* p) const {
  return static_cast<uint64_t>(static_cast<const char*>(p) - mapping_.data());
}

absl::Span<float> SharedSegment::AllocateFloats(size_t n) {
  if (n > mapping_.size() / sizeof(float)) return {};
  const size_t start = RunStart(next_, n * sizeof(float));
  if (start > mapping_.size() || n * sizeof(float) > mapping_.size() - start) return {};
  next_ = start + n * sizeof(float);
  return {reinterpret_cast<float*>(mapping_.data() + start), n};
}

absl::StatusOr<std::shared_ptr<AttachedSegment>> AttachedSegment::Open(int64_t pid, int fd, uint64_t bytes,
                                                                       absl::string_view token) {
  if (token.size() != kSharedTokenBytes) return Refused(absl::StrCat("a token of ", token.size(), " bytes"));
  ASSIGN_OR_RETURN(const FileDescriptor opened, OpenPeer(pid, fd));
  RETURN_IF_ERROR(CheckPeer(opened, bytes));
  absl::StatusOr<MemoryMapping> mapping = Map(opened, static_cast<size_t>(bytes));
  if (!mapping.ok()) return Unavailable(mapping.status().message());
  if (!SameToken(mapping->data(), token.data())) return Refused("the token of a segment is another one");
  return std::shared_ptr<AttachedSegment>(new AttachedSegment(*std::move(mapping)));
}

absl::StatusOr<absl::Span<char>> AttachedSegment::Range(uint64_t offset, uint64_t bytes) const {
  const uint64_t size = mapping_.size();
  if (offset < kSharedHeaderBytes || offset % 4 != 0 || offset > size || bytes > size - offset) {
    return MakeError(absl::StatusCode::kInvalidArgument, "SHARED_RANGE_INVALID",
                     absl::StrCat(bytes, " bytes at ", offset, " of a shared segment of ", size));
  }
  return absl::Span<char>(mapping_.data() + offset, static_cast<size_t>(bytes));
}

}  // namespace paramd
