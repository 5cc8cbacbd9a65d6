#include "common/base/file.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/scoped_failpoints.h"
#include "common/base/status_matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

using absl::StatusCode;
using ::testing::HasSubstr;

class FileTest : public testing::Test {
 protected:
  FileTest() : directory_(testing::TempDir() + "/file_test") {
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directories(directory_);
  }
  std::string Path(const std::string& name) const { return directory_ + "/" + name; }
  int Entries() const {
    return std::distance(std::filesystem::directory_iterator(directory_), std::filesystem::directory_iterator());
  }

  // Replaces a file while the first call of `points` fails, then the second, ... How many failed in all.
  int FaultsUntilSuccess(const char* points, const char* action, const char* trigger, StatusCode code) const {
    const std::string old_contents(1000, 'o'), new_contents(2000, 'n');
    for (int call = 1;; ++call) {
      EXPECT_OK(AtomicWriteFile(Path("f"), old_contents));
      const std::string rule = absl::StrCat(points, "=", action, "@", trigger, "=", call);
      absl::Status status;
      uint64_t fired = 0;
      {
        const ScopedFailpoints armed(rule);
        status = AtomicWriteFile(Path("f"), new_contents);
        fired = armed.fired();
      }
      const std::string contents = *ReadFile(Path("f"), 1 << 20);
      EXPECT_EQ(Entries(), 1) << "a temporary file stayed: " << rule;
      if (fired == 0) {
        EXPECT_OK(status);
        EXPECT_EQ(contents, new_contents);
        return call - 1;
      }
      EXPECT_THAT(status, StatusIs(code)) << rule;
      EXPECT_THAT(std::string(status.message()), HasSubstr(directory_));
      EXPECT_TRUE(contents == old_contents || contents == new_contents) << rule;
    }
  }

  const std::string directory_;
};

TEST_F(FileTest, WritesAndReplacesAtomically) {
  const std::string binary("a\0b\n", 4);
  ASSERT_OK(AtomicWriteFile(Path("f"), binary));
  ASSERT_OK_AND_ASSIGN(const std::string read, ReadFile(Path("f"), 4));
  EXPECT_EQ(read, binary);
  ASSERT_OK(AtomicWriteFile(Path("f"), ""));
  ASSERT_OK_AND_ASSIGN(const std::string empty, ReadFile(Path("f"), 0));
  EXPECT_EQ(empty, "");
  EXPECT_EQ(Entries(), 1);
  struct stat info;
  ASSERT_EQ(stat(Path("f").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0644u);
}

TEST_F(FileTest, FailedWriteLeavesNothing) {
  std::filesystem::create_directories(Path("target/full"));
  EXPECT_THAT(AtomicWriteFile(Path("target"), "x"), StatusIs(StatusCode::kFailedPrecondition, "NOT_A_FILE"));
  EXPECT_EQ(Entries(), 1);
  EXPECT_THAT(AtomicWriteFile(Path("no/f"), "x"), StatusIs(StatusCode::kNotFound, "FILE_NOT_FOUND"));
}

TEST_F(FileTest, ReadErrors) {
  const auto missing = ReadFile(Path("missing"), 1);
  EXPECT_THAT(missing, StatusIs(StatusCode::kNotFound, "FILE_NOT_FOUND"));
  EXPECT_THAT(std::string(missing.status().message()), HasSubstr(Path("missing") + ": No such file"));
  ASSERT_OK(AtomicWriteFile(Path("f"), "12345"));
  EXPECT_THAT(ReadFile(Path("f"), 4), StatusIs(StatusCode::kInvalidArgument, "FILE_TOO_LARGE"));
  EXPECT_THAT(ReadFile(Path("f"), -1), StatusIs(StatusCode::kInvalidArgument, "FILE_TOO_LARGE"));
  EXPECT_THAT(ReadFile(directory_, 4), StatusIs(StatusCode::kFailedPrecondition, "NOT_A_FILE"));
  EXPECT_THAT(ReadFile(Path("f/g"), 4), StatusIs(StatusCode::kFailedPrecondition, "NOT_A_DIRECTORY"));
  ASSERT_EQ(mkfifo(Path("fifo").c_str(), 0600), 0);
  EXPECT_THAT(ReadFile(Path("fifo"), 4), StatusIs(StatusCode::kFailedPrecondition, "NOT_A_FILE"));
}

TEST_F(FileTest, FilesThatDoNotTellTheirSize) {
  ASSERT_OK_AND_ASSIGN(const std::string status, ReadFile("/proc/self/status", 1 << 20));
  EXPECT_THAT(status, HasSubstr("VmRSS"));
  EXPECT_THAT(ReadFile("/proc/self/status", 10), StatusIs(StatusCode::kInvalidArgument, "FILE_TOO_LARGE"));
}

TEST_F(FileTest, OutputFile) {
  ASSERT_OK_AND_ASSIGN(OutputFile file, OutputFile::Create(Path("f")));
  ASSERT_OK(file.Append("ab"));
  ASSERT_OK(file.Append("c"));
  ASSERT_OK(file.SyncAndClose());
  EXPECT_THAT(file.Append("d"), StatusIs(StatusCode::kUnavailable, "FILE_ERROR"));
  ASSERT_OK_AND_ASSIGN(const std::string read, ReadFile(Path("f"), 10));
  EXPECT_EQ(read, "abc");
  EXPECT_THAT(OutputFile::Create(Path("no/f")), StatusIs(StatusCode::kNotFound));
}

TEST_F(FileTest, FullDisk) {
  if (access("/dev/full", W_OK) != 0) GTEST_SKIP() << "no /dev/full";
  ASSERT_OK_AND_ASSIGN(OutputFile file, OutputFile::Create("/dev/full"));
  const absl::Status status = file.Append("x");
  EXPECT_THAT(status, StatusIs(StatusCode::kResourceExhausted, "NO_SPACE"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("cannot write /dev/full: No space left"));
}

TEST_F(FileTest, ErrorCodes) {
  EXPECT_THAT(FileError(EACCES, "open", "p"), StatusIs(StatusCode::kPermissionDenied, "PERMISSION_DENIED"));
  EXPECT_THAT(FileError(EROFS, "open", "p"), StatusIs(StatusCode::kPermissionDenied, "PERMISSION_DENIED"));
  EXPECT_THAT(FileError(EDQUOT, "write", "p"), StatusIs(StatusCode::kResourceExhausted, "NO_SPACE"));
  EXPECT_THAT(FileError(EIO, "write", "p"), StatusIs(StatusCode::kUnavailable, "FILE_ERROR"));
}

TEST_F(FileTest, Directories) {
  ASSERT_OK(EnsureDirectory(Path("a/b/c")));
  ASSERT_OK(EnsureDirectory(Path("a/b/c/")));
  EXPECT_OK(IsWritableDirectory(Path("a/b/c")));
  EXPECT_TRUE(std::filesystem::is_empty(Path("a/b/c")));
  ASSERT_OK(AtomicWriteFile(Path("f"), ""));
  EXPECT_THAT(EnsureDirectory(Path("f")), StatusIs(StatusCode::kFailedPrecondition, "NOT_A_DIRECTORY"));
  EXPECT_THAT(EnsureDirectory(Path("f/g")), StatusIs(StatusCode::kFailedPrecondition, "NOT_A_DIRECTORY"));
  EXPECT_THAT(IsWritableDirectory(Path("f")), StatusIs(StatusCode::kFailedPrecondition, "NOT_A_DIRECTORY"));
  EXPECT_THAT(IsWritableDirectory(Path("none")), StatusIs(StatusCode::kNotFound, "FILE_NOT_FOUND"));
  EXPECT_FALSE(IsWritableDirectory("/proc").ok());
  if (geteuid() != 0) {
    std::filesystem::permissions(Path("a"), std::filesystem::perms::owner_read | std::filesystem::perms::owner_exec);
    EXPECT_THAT(IsWritableDirectory(Path("a")), StatusIs(StatusCode::kPermissionDenied, "PERMISSION_DENIED"));
    std::filesystem::permissions(Path("a"), std::filesystem::perms::owner_all);
  }
}

TEST_F(FileTest, RenameDirectoryRefusesToOverwrite) {
  ASSERT_OK(EnsureDirectory(Path("new")));
  ASSERT_OK(AtomicWriteFile(Path("new/f"), "1"));
  ASSERT_OK(RenameDirectory(Path("new"), Path("final")));
  EXPECT_OK(ReadFile(Path("final/f"), 1));
  ASSERT_OK(EnsureDirectory(Path("new")));
  EXPECT_THAT(RenameDirectory(Path("new"), Path("final")), StatusIs(StatusCode::kAlreadyExists, "FILE_EXISTS"));
  EXPECT_THAT(RenameDirectory(Path("none"), Path("x")), StatusIs(StatusCode::kNotFound, "FILE_NOT_FOUND"));
  ASSERT_OK(EnsureDirectory(Path("sub")));
  ASSERT_OK(RenameDirectory(Path("final"), Path("sub/final/")));
  EXPECT_OK(ReadFile(Path("sub/final/f"), 1));
}

TEST_F(FileTest, RemoveTree) {
  ASSERT_OK(EnsureDirectory(Path("a/b")));
  ASSERT_OK(AtomicWriteFile(Path("a/b/f"), "1"));
  ASSERT_OK(RemoveTree(Path("a")));
  EXPECT_EQ(Entries(), 0);
  EXPECT_OK(RemoveTree(Path("a")));
}

// Each system call of an operation fails once, and then for good: the old contents or the new, never a part of them.
TEST_F(FileTest, AtomicWriteSurvivesEveryFault) {
  const struct {
    const char* action;
    StatusCode code;
  } faults[] = {{"errno(EIO)", StatusCode::kUnavailable},
                {"errno(ENOSPC)", StatusCode::kResourceExhausted},
                {"errno(EROFS)", StatusCode::kPermissionDenied}};
  for (const auto& fault : faults) {
    for (const char* trigger : {"hit", "from"}) {
      EXPECT_EQ(FaultsUntilSuccess("file.*", fault.action, trigger, fault.code), 6);
      EXPECT_EQ(FaultsUntilSuccess("directory.*", fault.action, trigger, fault.code), 1);
    }
  }
}

TEST_F(FileTest, TornWriteStopsAtTheByteAndSaysSo) {
  for (const size_t kept : {0, 1, 511, 512, 999}) {
    const ScopedFailpoints armed(absl::StrCat("file.write=torn(", kept, ")"));
    ASSERT_OK_AND_ASSIGN(OutputFile file, OutputFile::Create(Path("torn")));
    EXPECT_THAT(file.Append(std::string(1000, 'x')), StatusIs(StatusCode::kUnavailable, "FILE_ERROR"));
    EXPECT_EQ(std::filesystem::file_size(Path("torn")), kept);
  }
}

TEST_F(FileTest, ReadingReportsFaults) {
  ASSERT_OK(AtomicWriteFile(Path("f"), "text"));
  for (const char* point : {"file.open", "file.read"}) {
    const ScopedFailpoints armed(absl::StrCat(point, "=errno(EIO)"));
    EXPECT_THAT(ReadFile(Path("f"), 100), StatusIs(StatusCode::kUnavailable, "FILE_ERROR"));
    EXPECT_EQ(armed.fired(), 1u);
  }
}

}  // namespace
}  // namespace paramd
