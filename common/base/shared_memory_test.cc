#include "common/base/shared_memory.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <numeric>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "common/base/status_matchers.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

constexpr auto kRefused = absl::StatusCode::kPermissionDenied;
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

std::string Maps() {
  std::stringstream text;
  text << std::ifstream("/proc/self/maps").rdbuf();
  return text.str();
}

std::shared_ptr<SharedSegment> Make(size_t bytes) { return SharedSegment::Create(bytes).value(); }

absl::StatusOr<std::shared_ptr<AttachedSegment>> Attach(const SharedSegment& segment) {
  return AttachedSegment::Open(segment.pid(), segment.fd(), segment.bytes(), segment.token());
}

// A memfd as Create makes it, but for what a test changes; the token is all 'T'.
FileDescriptor Imitation(const char* name, size_t bytes, int seals, bool reserve = true) {
  FileDescriptor fd(memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  const std::string contents = std::string(kSharedTokenBytes, 'T');
  EXPECT_EQ(ftruncate(fd.get(), static_cast<off_t>(bytes)), 0);
  EXPECT_EQ(pwrite(fd.get(), contents.data(), contents.size(), 0), static_cast<ssize_t>(contents.size()));
  EXPECT_EQ(reserve ? fallocate(fd.get(), 0, 0, static_cast<off_t>(bytes)) : 0, 0);
  EXPECT_EQ(fcntl(fd.get(), F_ADD_SEALS, seals), 0);
  return fd;
}

absl::Status AttachImitation(const FileDescriptor& fd, uint64_t bytes) {
  return AttachedSegment::Open(getpid(), fd.get(), bytes, std::string(kSharedTokenBytes, 'T')).status();
}

TEST(SharedSegmentTest, RunsAreAlignedZeroAndApart) {
  const size_t counts[] = {1, 17, 1 << 18, 3, (1 << 18) + 1};
  const auto segment = Make(SharedSegment::BytesFor({counts[0], counts[1], counts[2], counts[3], counts[4]}));
  uint64_t end = kSharedHeaderBytes;
  for (const size_t n : counts) {
    const absl::Span<float> run = segment->AllocateFloats(n);
    ASSERT_EQ(run.size(), n);
    const uint64_t offset = segment->OffsetOf(run.data());
    EXPECT_GE(offset, end);
    EXPECT_EQ(offset % (n * sizeof(float) >= (1 << 20) ? 4096 : 64), 0u) << n;
    EXPECT_TRUE(segment->Contains(run.data(), n * sizeof(float)));
    EXPECT_EQ(std::accumulate(run.begin(), run.end(), 0.0f), 0.0f);
    end = offset + n * sizeof(float);
    EXPECT_EQ(segment->allocated_bytes(), end - kSharedHeaderBytes);
  }
  EXPECT_TRUE(segment->AllocateFloats(1024).empty()) << "BytesFor leaves at most a page";
}

TEST(SharedSegmentTest, BothMappingsMayHaveHugePages) {
  const auto segment = Make(5 << 20);
  ASSERT_OK_AND_ASSIGN(const auto attached, Attach(*segment));
  EXPECT_EQ(reinterpret_cast<uintptr_t>(segment->memory().data()) % (2 << 20), 0u);
  const char* const first = attached->Range(kSharedHeaderBytes, 4)->data() - kSharedHeaderBytes;
  EXPECT_EQ(reinterpret_cast<uintptr_t>(first) % (2 << 20), 0u);
}

TEST(SharedSegmentTest, ContainsIsExact) {
  const auto segment = Make(8192);
  char* const start = segment->memory().data();
  const size_t size = segment->bytes();
  EXPECT_TRUE(segment->Contains(start + 4096, size - 4096));
  EXPECT_FALSE(segment->Contains(start + 4096, size - 4095));
  EXPECT_FALSE(segment->Contains(start + 4095, 1)) << "the header";
  EXPECT_FALSE(segment->Contains(start + size, 1));
  EXPECT_FALSE(segment->Contains(start + 4100, SIZE_MAX));
  EXPECT_FALSE(segment->Contains(&size, sizeof(size)));
  EXPECT_TRUE(segment->AllocateFloats(SIZE_MAX).empty());
}

TEST(SharedSegmentTest, RefusesSizesThatCannotBe) {
  EXPECT_THAT(SharedSegment::Create(0), StatusIs(absl::StatusCode::kInvalidArgument, "SHARED_MEMORY_SIZE"));
  EXPECT_THAT(SharedSegment::Create(SIZE_MAX), StatusIs(absl::StatusCode::kInvalidArgument, "SHARED_MEMORY_SIZE"));
}

// In a child, because limits cannot be raised again by everyone.
absl::StatusCode CreateUnderLimit(__rlimit_resource resource, rlim_t limit, size_t bytes) {
  const pid_t child = fork();
  if (child == 0) {
    const rlimit value = {limit, limit};
    if (setrlimit(resource, &value) != 0) _exit(127);
    const absl::Status status = SharedSegment::Create(bytes).status();
    _exit(static_cast<int>(status.code()));
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? static_cast<absl::StatusCode>(WEXITSTATUS(status)) : absl::StatusCode::kUnknown;
}

TEST(SharedSegmentTest, LimitsAreErrorsAndNoSignals) {
  EXPECT_EQ(CreateUnderLimit(RLIMIT_FSIZE, 1 << 20, 2 << 20), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(CreateUnderLimit(RLIMIT_FSIZE, 1 << 20, 4096), absl::StatusCode::kOk);
  EXPECT_EQ(CreateUnderLimit(RLIMIT_NOFILE, 0, 4096), absl::StatusCode::kResourceExhausted);
#ifndef __SANITIZE_ADDRESS__  // It maps terabytes itself.
  EXPECT_EQ(CreateUnderLimit(RLIMIT_AS, 1 << 30, size_t{2} << 30), absl::StatusCode::kResourceExhausted);
#endif
}

TEST(AttachedSegmentTest, BothSidesSeeTheSameBytes) {
  const auto segment = Make(1 << 16);
  const absl::Span<float> run = segment->AllocateFloats(100);
  ASSERT_OK_AND_ASSIGN(const auto attached, Attach(*segment));
  EXPECT_EQ(attached->bytes(), segment->bytes());
  ASSERT_OK_AND_ASSIGN(const absl::Span<char> range, attached->Range(segment->OffsetOf(run.data()), 400));
  std::iota(run.begin(), run.end(), 0.0f);
  float* const theirs = reinterpret_cast<float*>(range.data());
  ASSERT_NE(theirs, run.data());
  EXPECT_EQ(theirs[99], 99.0f);
  theirs[7] = -1;
  EXPECT_EQ(run[7], -1.0f);
}

TEST(AttachedSegmentTest, RangesAreChecked) {
  const auto segment = Make(8192);
  ASSERT_OK_AND_ASSIGN(const auto attached, Attach(*segment));
  const uint64_t size = attached->bytes();
  EXPECT_OK(attached->Range(4096, size - 4096));
  EXPECT_OK(attached->Range(size, 0));
  const std::pair<uint64_t, uint64_t> bad[] = {{0, 4},
                                               {4092, 8},
                                               {4098, 4},
                                               {4096, size - 4095},
                                               {size, 1},
                                               {size + 4, 0},
                                               {size - 4, 8},
                                               {4096, ~0ull},
                                               {~0ull - 3, 8},
                                               {~0ull & ~3ull, ~0ull},
                                               {size - 4, ~0ull - size + 5}};
  for (const auto& [offset, bytes] : bad) {
    EXPECT_THAT(attached->Range(offset, bytes), StatusIs(absl::StatusCode::kInvalidArgument, "SHARED_RANGE_INVALID"))
        << offset << " " << bytes;
  }
}

TEST(AttachedSegmentTest, BelievesNothingThePeerSays) {
  const auto segment = Make(8192);
  std::string token(segment->token());
  const auto open = [&](int64_t pid, int fd, uint64_t bytes) {
    return AttachedSegment::Open(pid, fd, bytes, token).status();
  };
  EXPECT_OK(open(segment->pid(), segment->fd(), segment->bytes()));
  for (const uint64_t bytes : {uint64_t{0}, uint64_t{4096}, uint64_t{segment->bytes() - 4096},
                               uint64_t{segment->bytes() + 4096}, ~uint64_t{0}}) {
    EXPECT_THAT(open(segment->pid(), segment->fd(), bytes), StatusIs(kRefused, "SHARED_MEMORY_REFUSED")) << bytes;
  }
  for (const auto& [pid, fd] : {std::pair<int64_t, int>{0, segment->fd()},
                                {-1, segment->fd()},
                                {int64_t{1} << 40, segment->fd()},
                                {segment->pid(), -1}}) {
    EXPECT_THAT(open(pid, fd, segment->bytes()), StatusIs(kRefused, "SHARED_MEMORY_REFUSED")) << pid << " " << fd;
  }
  EXPECT_THAT(open(segment->pid(), 1000000, segment->bytes()),
              StatusIs(absl::StatusCode::kFailedPrecondition, "SHARED_MEMORY_UNAVAILABLE"));
  token.back() ^= 1;
  EXPECT_THAT(open(segment->pid(), segment->fd(), segment->bytes()), StatusIs(kRefused, "SHARED_MEMORY_REFUSED"));
  token.pop_back();
  EXPECT_THAT(open(segment->pid(), segment->fd(), segment->bytes()), StatusIs(kRefused, "SHARED_MEMORY_REFUSED"));
}

TEST(AttachedSegmentTest, OnlySealedAndReservedSegmentsOfOurs) {
  constexpr size_t kBytes = 1 << 20;
  EXPECT_OK(AttachImitation(Imitation("paramd-segment", kBytes, kSeals), kBytes));
  const std::pair<FileDescriptor, const char*> bad[] = {
      {Imitation("other", kBytes, kSeals), "another name"},
      {Imitation("paramd-segment", kBytes, F_SEAL_GROW | F_SEAL_SEAL), "may shrink"},
      {Imitation("paramd-segment", kBytes, F_SEAL_SHRINK | F_SEAL_SEAL), "may grow"},
      {Imitation("paramd-segment", kBytes, F_SEAL_SHRINK | F_SEAL_GROW), "may be sealed against writing"},
      {Imitation("paramd-segment", kBytes, kSeals, /*reserve=*/false), "holes"},
  };
  for (const auto& [fd, what] : bad) {
    EXPECT_THAT(AttachImitation(fd, kBytes), StatusIs(kRefused, "SHARED_MEMORY_REFUSED")) << what;
  }
}

TEST(AttachedSegmentTest, OtherKindsOfDescriptors) {
  const std::string path = testing::TempDir() + "/memfd:paramd-segment";
  FileDescriptor file(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  ASSERT_EQ(ftruncate(file.get(), 8192), 0);
  EXPECT_THAT(AttachImitation(file, 8192), StatusIs(kRefused, "SHARED_MEMORY_REFUSED"));
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const FileDescriptor reader(ends[0]), writer(ends[1]);
  EXPECT_THAT(AttachImitation(reader, 8192), StatusIs(kRefused, "SHARED_MEMORY_REFUSED"));
  const FileDescriptor device(open("/dev/zero", O_RDWR | O_CLOEXEC));
  EXPECT_THAT(AttachImitation(device, 8192), StatusIs(kRefused, "SHARED_MEMORY_REFUSED"));
}

// What a child tells about its segment.
struct Announcement {
  int64_t pid;
  int fd;
  uint64_t bytes;
  char token[kSharedTokenBytes];
};

// A process with a segment whose first run is 1000 floats of 3; it waits to be killed.
pid_t StartOwner(Announcement& announcement) {
  int ends[2];
  if (pipe(ends) != 0) return -1;
  const pid_t child = fork();
  if (child == 0) {
    const auto segment = Make(1 << 20);
    const absl::Span<float> run = segment->AllocateFloats(1000);
    std::fill(run.begin(), run.end(), 3.0f);
    Announcement mine = {segment->pid(), segment->fd(), segment->bytes(), {}};
    segment->token().copy(mine.token, sizeof(mine.token));
    if (write(ends[1], &mine, sizeof(mine)) != sizeof(mine)) _exit(1);
    while (true) pause();
  }
  const bool read_all = read(ends[0], &announcement, sizeof(announcement)) == sizeof(announcement);
  close(ends[0]);
  close(ends[1]);
  return read_all ? child : -1;
}

TEST(AttachedSegmentTest, OutlivesItsOwnerAndLeavesNothing) {
  Announcement a = {};
  const pid_t owner = StartOwner(a);
  ASSERT_GT(owner, 0);
  const absl::string_view token(a.token, sizeof(a.token));
  ASSERT_OK_AND_ASSIGN(std::shared_ptr<AttachedSegment> attached, AttachedSegment::Open(a.pid, a.fd, a.bytes, token));
  ASSERT_NE(Maps().find("paramd-segment"), std::string::npos);
  ASSERT_EQ(kill(owner, SIGKILL), 0);
  ASSERT_EQ(waitpid(owner, nullptr, 0), owner);

  ASSERT_OK_AND_ASSIGN(const absl::Span<char> range, attached->Range(kSharedHeaderBytes, 4000));
  const float* const values = reinterpret_cast<const float*>(range.data());
  EXPECT_EQ(std::accumulate(values, values + 1000, 0.0f), 3000.0f);
  EXPECT_THAT(AttachedSegment::Open(a.pid, a.fd, a.bytes, token),
              StatusIs(absl::StatusCode::kFailedPrecondition, "SHARED_MEMORY_UNAVAILABLE"));
  attached.reset();
  EXPECT_EQ(Maps().find("paramd-segment"), std::string::npos);
}

TEST(AttachedSegmentTest, OwnersOwnMappingEndsWithIt) {
  std::shared_ptr<SharedSegment> segment = Make(1 << 20);
  const int fd = segment->fd();
  ASSERT_NE(Maps().find("paramd-segment"), std::string::npos);
  segment.reset();
  EXPECT_EQ(Maps().find("paramd-segment"), std::string::npos);
  EXPECT_EQ(fcntl(fd, F_GETFD), -1);
}

}  // namespace
}  // namespace paramd
