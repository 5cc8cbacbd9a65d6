#include "common/base/random_read_file.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/scoped_failpoints.h"
#include "common/base/status_matchers.h"
#include "gtest/gtest.h"

namespace paramd {
namespace {

class RandomReadFileTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = absl::StrCat(testing::TempDir(), "/", testing::UnitTest::GetInstance()->current_test_info()->name());
    ASSERT_OK(EnsureDirectory(directory_));
    ASSERT_OK(AtomicWriteFile(directory_ + "/a", "0123456789"));
  }
  std::string directory_;
};

TEST_F(RandomReadFileTest, ReadsWhatIsThereAndNothingElse) {
  ASSERT_OK_AND_ASSIGN(const RandomReadFile file, RandomReadFile::Open(directory_ + "/a"));
  EXPECT_EQ(file.size(), 10u);
  std::string text(4, '\0');
  ASSERT_OK(file.ReadAt(3, absl::MakeSpan(text)));
  EXPECT_EQ(text, "3456");
  ASSERT_OK(file.ReadAt(10, {}));
  EXPECT_THAT(file.ReadAt(7, absl::MakeSpan(text)), StatusIs(absl::StatusCode::kDataLoss, "FILE_TRUNCATED"));
  EXPECT_THAT(RandomReadFile::Open(directory_ + "/b"), StatusIs(absl::StatusCode::kNotFound, "FILE_NOT_FOUND"));
  const ScopedFailpoints armed("file.read=errno(EIO)");
  EXPECT_THAT(file.ReadAt(3, absl::MakeSpan(text)), StatusIs(absl::StatusCode::kUnavailable, "FILE_ERROR"));
}

TEST_F(RandomReadFileTest, ListsLinksAndRemoves) {
  ASSERT_OK(AtomicWriteFile(directory_ + "/c", "other"));
  ASSERT_OK(LinkFile(directory_ + "/a", directory_ + "/b"));
  ASSERT_OK(LinkFile(directory_ + "/a", directory_ + "/c"));  // In its place.
  ASSERT_OK_AND_ASSIGN(const std::vector<std::string> names, ListDirectory(directory_));
  EXPECT_EQ(names, (std::vector<std::string>{"a", "b", "c"}));
  ASSERT_OK(RemoveFile(directory_ + "/a"));
  ASSERT_OK(RemoveFile(directory_ + "/a"));
  ASSERT_OK_AND_ASSIGN(const std::string text, ReadFile(directory_ + "/c", 100));
  EXPECT_EQ(text, "0123456789");
  ASSERT_OK(
      RenameFile(directory_ + "/b", directory_ + "/d"));  // Onto another name of the same file it would do nothing.
  EXPECT_THAT(RenameFile(directory_ + "/b", directory_ + "/d"),
              StatusIs(absl::StatusCode::kNotFound, "FILE_NOT_FOUND"));
  EXPECT_THAT(ListDirectory(directory_ + "/none"), StatusIs(absl::StatusCode::kNotFound, "FILE_NOT_FOUND"));
  EXPECT_THAT(LinkFile(directory_ + "/a", directory_ + "/e"), StatusIs(absl::StatusCode::kNotFound, "FILE_NOT_FOUND"));
}

}  // namespace
}  // namespace paramd
