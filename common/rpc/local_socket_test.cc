#include "common/rpc/local_socket.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

constexpr auto kUnavailable = absl::StatusCode::kUnavailable;

// Listens at a path; the socket file stays when it is closed, as after the death of a process.
FileDescriptor ListenAt(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  EXPECT_LT(path.size(), sizeof(address.sun_path));
  memcpy(address.sun_path, path.c_str(), path.size() + 1);
  FileDescriptor fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0) << strerror(errno);
  EXPECT_EQ(listen(fd.get(), 4), 0);
  return fd;
}

std::string Path(const std::string& address) { return address.substr(strlen("unix:")); }

// Not below TEST_TMPDIR: the path of a socket must be short.
class LocalSocketTest : public testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/paramd-test.XXXXXX";
    ASSERT_NE(mkdtemp(pattern), nullptr);
    directory_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::set<std::string> Files(const std::string& below = "") {
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(directory_ + below))
      names.insert(entry.path().filename());
    return names;
  }

  // As a server does; `listener` takes the listening socket.
  absl::StatusOr<std::unique_ptr<LocalSocket>> Serve(const LocalSocketOptions& options, FileDescriptor& listener) {
    ASSIGN_OR_RETURN(std::unique_ptr<LocalSocket> made, LocalSocket::Prepare(options));
    listener = ListenAt(Path(made->binding_address()));
    RETURN_IF_ERROR(made->Publish(7071));
    return made;
  }

  std::string directory_;
};

TEST_F(LocalSocketTest, AtAPath) {
  const std::string path = directory_ + "/a.sock";
  FileDescriptor listener;
  ASSERT_OK_AND_ASSIGN(std::unique_ptr<LocalSocket> made, Serve({.place = path}, listener));
  EXPECT_EQ(made->address(), "unix:" + path);
  EXPECT_TRUE(CanConnectLocally(made->address()));
  EXPECT_EQ(Files(), std::set<std::string>{"a.sock"});
  struct stat info;
  ASSERT_EQ(lstat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  made.reset();
  EXPECT_TRUE(Files().empty());
}

TEST_F(LocalSocketTest, AutomaticNamesAreApartAndBelowTheRuntimeDirectory) {
  FileDescriptor a_listener, b_listener;
  const LocalSocketOptions options = {.place = "auto", .runtime_dir = directory_};
  ASSERT_OK_AND_ASSIGN(std::unique_ptr<LocalSocket> a, Serve(options, a_listener));
  ASSERT_OK_AND_ASSIGN(std::unique_ptr<LocalSocket> b, Serve(options, b_listener));
  EXPECT_NE(a->address(), b->address());
  for (const auto* s : {&a, &b}) {
    EXPECT_TRUE(absl::StartsWith((*s)->address(), absl::StrCat("unix:", directory_, "/paramd/paramd-7071-")));
    EXPECT_TRUE(CanConnectLocally((*s)->address())) << "the other did not remove it";
  }
  struct stat info;
  ASSERT_EQ(lstat((directory_ + "/paramd").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
}

TEST_F(LocalSocketTest, DirectoriesOthersCanWriteToAreNotUsed) {
  std::filesystem::create_directory(directory_ + "/paramd");
  ASSERT_EQ(chmod((directory_ + "/paramd").c_str(), 0777), 0);
  FileDescriptor listener;
  ASSERT_OK_AND_ASSIGN(const auto made, Serve({.place = "auto", .runtime_dir = directory_}, listener));
  EXPECT_FALSE(absl::StartsWith(made->address(), "unix:" + directory_)) << made->address();
}

TEST_F(LocalSocketTest, SymbolicLinksAreNotFollowed) {
  std::filesystem::create_directory(directory_ + "/elsewhere");
  std::filesystem::create_directory_symlink(directory_ + "/elsewhere", directory_ + "/paramd");
  FileDescriptor listener;
  ASSERT_OK_AND_ASSIGN(const auto made, Serve({.place = "auto", .runtime_dir = directory_}, listener));
  EXPECT_TRUE(Files("/elsewhere").empty());
}

TEST_F(LocalSocketTest, SocketsOfTheDeadGoAndThoseOfTheLivingStay) {
  const std::string below = directory_ + "/paramd/";
  ASSERT_EQ(mkdir(below.c_str(), 0700), 0);
  const FileDescriptor living = ListenAt(below + "paramd-1-living.sock");
  ListenAt(below + "paramd-2-dead.sock").Close();
  ListenAt(below + "other-dead.sock").Close();
  std::ofstream(below + "paramd-3-file.sock") << "x";
  FileDescriptor listener;
  ASSERT_OK_AND_ASSIGN(const auto made, Serve({.place = "auto", .runtime_dir = directory_}, listener));
  const std::set<std::string> expected = {"paramd-1-living.sock", "other-dead.sock", "paramd-3-file.sock",
                                          std::filesystem::path(Path(made->address())).filename()};
  EXPECT_EQ(Files("/paramd"), expected);
}

TEST_F(LocalSocketTest, APathInUseIsRefusedAndADeadOneTaken) {
  const std::string path = directory_ + "/a.sock";
  FileDescriptor other = ListenAt(path);
  EXPECT_THAT(LocalSocket::Prepare({.place = path}), StatusIs(kUnavailable, "ADDRESS_IN_USE"));
  EXPECT_TRUE(CanConnectLocally("unix:" + path));
  other.Close();
  FileDescriptor listener;
  EXPECT_OK(Serve({.place = path}, listener));
}

TEST_F(LocalSocketTest, FilesAreNotReplaced) {
  const std::string path = directory_ + "/a.sock";
  std::ofstream(path) << "precious";
  EXPECT_THAT(LocalSocket::Prepare({.place = path}), StatusIs(kUnavailable, "LOCAL_SOCKET_FAILED"));
  EXPECT_EQ(ReadFile(path, 100).value(), "precious");
  EXPECT_THAT(LocalSocket::Prepare({.place = directory_ + "/none/a.sock"}),
              StatusIs(kUnavailable, "LOCAL_SOCKET_FAILED"));
}

TEST_F(LocalSocketTest, PlacesThatCannotBe) {
  const std::string longest(kMaxSocketPathBytes - 1, 'x');
  EXPECT_OK(CheckLocalSocketPlace("/" + longest));
  for (const std::string& place : {std::string("relative"), std::string(), "/x" + longest, std::string("/tmp/")}) {
    EXPECT_THAT(LocalSocket::Prepare({.place = place}), StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_ADDRESS"))
        << place;
  }
}

TEST_F(LocalSocketTest, WhatIsNeverPublishedLeavesNothing) {
  ASSERT_OK_AND_ASSIGN(std::unique_ptr<LocalSocket> made, LocalSocket::Prepare({.place = directory_ + "/a.sock"}));
  const FileDescriptor listener = ListenAt(Path(made->binding_address()));
  made.reset();
  EXPECT_TRUE(Files().empty());
}

TEST_F(LocalSocketTest, ASocketThatReplacedOursStays) {
  const std::string path = directory_ + "/a.sock";
  FileDescriptor listener;
  ASSERT_OK_AND_ASSIGN(std::unique_ptr<LocalSocket> made, Serve({.place = path}, listener));
  unlink(path.c_str());
  const FileDescriptor other = ListenAt(path);
  made.reset();
  EXPECT_TRUE(CanConnectLocally("unix:" + path));
}

TEST_F(LocalSocketTest, StartsOneAfterTheOther) {
  const FileDescriptor lock(open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  ASSERT_EQ(flock(lock.get(), LOCK_EX), 0);
  const absl::Time start = absl::Now();
  std::thread unlock([&] {
    absl::SleepFor(absl::Milliseconds(100));
    flock(lock.get(), LOCK_UN);
  });
  EXPECT_OK(LocalSocket::Prepare({.place = directory_ + "/a.sock"}));
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(90));
  unlock.join();
}

TEST_F(LocalSocketTest, ALockedDirectoryIsNotWaitedForForEver) {
  const FileDescriptor lock(open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  ASSERT_EQ(flock(lock.get(), LOCK_EX), 0);
  EXPECT_THAT(LocalSocket::Prepare({.place = directory_ + "/a.sock", .lock_timeout = absl::Milliseconds(20)}),
              StatusIs(kUnavailable, "LOCAL_SOCKET_FAILED"));
}

TEST_F(LocalSocketTest, ARuntimeDirectoryWithATooLongPathIsPassedOver) {
  const std::string deep = directory_ + "/" + std::string(80, 'd');
  ASSERT_EQ(mkdir(deep.c_str(), 0700), 0);
  FileDescriptor listener;
  ASSERT_OK_AND_ASSIGN(const auto made, Serve({.place = "auto", .runtime_dir = deep}, listener));
  EXPECT_FALSE(absl::StartsWith(made->address(), "unix:" + deep));
}

TEST_F(LocalSocketTest, CanConnectOnlyToListeningSockets) {
  const std::string path = directory_ + "/a.sock";
  EXPECT_FALSE(CanConnectLocally("unix:" + path));
  FileDescriptor listener = ListenAt(path);
  EXPECT_TRUE(CanConnectLocally("unix:" + path));
  EXPECT_FALSE(CanConnectLocally(path));
  EXPECT_FALSE(CanConnectLocally("unix:a.sock"));
  EXPECT_FALSE(CanConnectLocally("unix-abstract:x"));
  EXPECT_FALSE(CanConnectLocally("127.0.0.1:1"));
  EXPECT_FALSE(CanConnectLocally("unix:/" + std::string(200, 'x')));
  listener.Close();
  EXPECT_FALSE(CanConnectLocally("unix:" + path));
  std::ofstream(directory_ + "/file") << "x";
  EXPECT_FALSE(CanConnectLocally("unix:" + directory_ + "/file"));
}

}  // namespace
}  // namespace paramd
