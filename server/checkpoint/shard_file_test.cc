#include "server/checkpoint/shard_file.h"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/crc32c.h"
#include "common/base/file.h"
#include "common/base/status_matchers.h"
#include "gtest/gtest.h"
#include "server/store/buffer_pool.h"

namespace paramd {
namespace {

class ShardFileTest : public testing::Test {
 protected:
  ChunkCapture Capture(uint32_t chunk, std::vector<float> weights, std::vector<float> state,
                       std::vector<uint64_t> clocks) {
    Buffer buffer = pool_->Take(static_cast<int64_t>(weights.size()));
    std::copy(weights.begin(), weights.end(), buffer.data());
    ChunkCapture capture = {.chunk = chunk, .version = 9, .updates = 8, .clocks = std::move(clocks)};
    capture.weights = std::make_shared<const Snapshot>(9, std::move(buffer));
    capture.state = pool_->Take(static_cast<int64_t>(state.size()));
    std::copy(state.begin(), state.end(), capture.state.data());
    return capture;
  }
  absl::StatusOr<v1::CheckpointFile> Write(const std::vector<ChunkCapture*>& captures) {
    absl::StatusOr<ShardWriter> writer = ShardWriter::Create(path_);
    RETURN_IF_ERROR(writer.status());
    for (const ChunkCapture* capture : captures) RETURN_IF_ERROR(writer->Append(*capture));
    return writer->Finish();
  }
  void SetUp() override {
    path_ = absl::StrCat(testing::TempDir(), "/", testing::UnitTest::GetInstance()->current_test_info()->name());
  }

  const std::shared_ptr<BufferPool> pool_ = BufferPool::Create();
  std::string path_;
};

// The bytes of docs/formats.md.
TEST_F(ShardFileTest, GoldenBytes) {
  ChunkCapture capture = Capture(5, {1, -2}, {0.5f, 0.25f}, {3});
  ASSERT_OK_AND_ASSIGN(const v1::CheckpointFile file, Write({&capture}));
  ASSERT_OK_AND_ASSIGN(const std::string bytes, ReadFile(path_, 1000));
  const std::string expected = absl::StrCat("504152414d444331", "5043484b", "01d1cd70", "05000000", "01000000",
                                            "0200000000000000", "0900000000000000", "0800000000000000", "01000000",
                                            "00000000", "0300000000000000", "0000803f000000c0", "0000003f0000803e");
  EXPECT_EQ(absl::BytesToHexString(bytes), expected);
  EXPECT_EQ(file.name(), "GoldenBytes");
  EXPECT_EQ(file.bytes(), bytes.size());
  EXPECT_EQ(file.crc32c(), Crc32c(bytes));
}

TEST_F(ShardFileTest, ReadsBackWhatWasWritten) {
  ChunkCapture first = Capture(2, {1, 2, 3}, {}, {});
  ChunkCapture second = Capture(7, {4}, {5, 6}, {1, 2});
  ASSERT_OK(Write({&first, &second}).status());
  ASSERT_OK_AND_ASSIGN(const RandomReadFile file, RandomReadFile::Open(path_));
  ASSERT_OK_AND_ASSIGN(const std::vector<RecordPlace> places, ScanShard(file));
  ASSERT_EQ(places.size(), 2u);
  EXPECT_EQ(places[0].chunk, 2u);
  ASSERT_OK_AND_ASSIGN(const ChunkRecord record, ReadRecord(file, places[1]));
  const SavedChunk saved = record.saved();
  EXPECT_EQ(saved.version, 9u);
  EXPECT_EQ(saved.updates, 8u);
  EXPECT_EQ(saved.clocks, (std::vector<uint64_t>{1, 2}));
  EXPECT_EQ(std::vector<float>(saved.weights.begin(), saved.weights.end()), (std::vector<float>{4}));
  EXPECT_EQ(std::vector<float>(saved.state.begin(), saved.state.end()), (std::vector<float>{5, 6}));
}

// Every length: a prefix of a file is a file of fewer records, or refused.
TEST_F(ShardFileTest, EveryTruncationIsSeen) {
  ChunkCapture first = Capture(2, {1, 2, 3}, {}, {}), second = Capture(7, {4}, {5, 6}, {1, 2});
  ASSERT_OK(Write({&first, &second}).status());
  ASSERT_OK_AND_ASSIGN(const std::string bytes, ReadFile(path_, 1000));
  const size_t boundary = kShardMagic.size() + kRecordHeaderBytes + 3 * sizeof(float);
  for (size_t size = 0; size < bytes.size(); ++size) {
    ASSERT_OK(AtomicWriteFile(path_, bytes.substr(0, size)));
    ASSERT_OK_AND_ASSIGN(const RandomReadFile file, RandomReadFile::Open(path_));
    const bool whole = size == kShardMagic.size() || size == boundary;
    EXPECT_EQ(ScanShard(file).status().code(), whole ? absl::StatusCode::kOk : absl::StatusCode::kDataLoss) << size;
  }
}

// Every bit of a record: the header says so, or the checksum does. Lengths that say more than there is allocate
// nothing.
TEST_F(ShardFileTest, EveryFlippedBitIsSeen) {
  ChunkCapture capture = Capture(7, {4, 8}, {5, 6, 7, 8}, {1, 2});
  ASSERT_OK(Write({&capture}).status());
  ASSERT_OK_AND_ASSIGN(const std::string bytes, ReadFile(path_, 1000));
  for (size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    std::string damaged = bytes;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    ASSERT_OK(AtomicWriteFile(path_, damaged));
    ASSERT_OK_AND_ASSIGN(const RandomReadFile file, RandomReadFile::Open(path_));
    absl::StatusOr<std::vector<RecordPlace>> places = ScanShard(file);
    absl::Status status = places.status();
    if (status.ok()) {
      for (const RecordPlace& place : *places) status.Update(ReadRecord(file, place).status());
    }
    EXPECT_THAT(status, StatusIs(absl::StatusCode::kDataLoss, "CHECKPOINT_INVALID")) << bit;
  }
}

}  // namespace
}  // namespace paramd
