#include "common/base/sha256.h"

#include "gtest/gtest.h"

namespace paramd {
namespace {

std::string HashOf(absl::string_view data) {
  Sha256 hash;
  hash.Update(data);
  return hash.FinishHex();
}

TEST(Sha256Test, KnownAnswers) {  // FIPS 180-2, appendix B.
  EXPECT_EQ(HashOf(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(HashOf("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(HashOf("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(HashOf(std::string(1000000, 'a')), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256Test, PiecesAndReuse) {
  Sha256 hash;
  hash.Update("a");
  hash.Update("");
  hash.Update("bc");
  EXPECT_EQ(hash.FinishHex(), HashOf("abc"));
  EXPECT_EQ(hash.FinishHex(), HashOf(""));
  hash.Update("abc");
  EXPECT_EQ(hash.Finish()[0], 0xba);
}

}  // namespace
}  // namespace paramd
