#include "server/checkpoint/checkpoint_directory.h"

#include <unistd.h>

#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/base/file.h"
#include "common/base/random_read_file.h"
#include "common/base/scoped_failpoints.h"
#include "common/base/status_macros.h"
#include "common/base/status_matchers.h"
#include "common/base/test_seed.h"
#include "gtest/gtest.h"
#include "server/checkpoint/checkpoint_reader.h"
#include "server/checkpoint/manifest.h"
#include "server/checkpoint/shard_file.h"
#include "server/store/job_shard.h"
#include "server/store/test_job.h"

namespace paramd {
namespace {

constexpr uint32_t kServers = 2;
constexpr TestJobOptions kJob = {.servers = kServers, .optimizer = v1::OPTIMIZER_TYPE_ADAMW, .learning_rate = 0.01};

// A job's servers, and the directory that they checkpoint into.
class CheckpointDirectoryTest : public testing::Test {
 protected:
  void SetUp() override {
    job_directory_ =
        absl::StrCat(testing::TempDir(), "/", testing::UnitTest::GetInstance()->current_test_info()->name(), "/job-1");
    directory_ = job_directory_ + "/checkpoints";
    for (uint32_t server = 0; server < kServers; ++server) {
      auto plan = JobPlan::Create(TestAssignment(kJob), server);
      ASSERT_OK(plan);
      shards_.push_back(std::make_unique<JobShard>(*plan));
      for (const auto& chunk : shards_.back()->chunks()) chunk->Initialize();
    }
  }

  // All chunks take the next step.
  void Step() {
    for (const auto& shard : shards_) {
      for (const auto& chunk : shard->chunks()) {
        const std::vector<float> sum = TestGradientSum(chunk->elements(), 0, 4, step_, chunk->index());
        ChunkActions actions;
        chunk->Handle(
            TestPush(shard->plan(), {.chunk = static_cast<uint32_t>(chunk->index()), .step = step_, .subtree = {0, 2}},
                     AsBytes(sum)),
            actions);
        ASSERT_EQ(chunk->version(), step_ + 1);
      }
    }
    ++step_;
  }

  absl::StatusOr<v1::CheckpointShard> WriteShard(uint32_t server) {
    RETURN_IF_ERROR(PrepareCheckpoint(directory_, step_));
    const std::string path = CheckpointPath(directory_, step_);
    ASSIGN_OR_RETURN(ShardWriter writer, ShardWriter::Create(ShardPath(path, server, 1)));
    for (const auto& chunk : shards_[server]->chunks()) RETURN_IF_ERROR(writer.Append(chunk->Capture()));
    v1::CheckpointShard shard;
    ASSIGN_OR_RETURN(*shard.add_files(), writer.Finish());
    return shard;
  }
  // A checkpoint of the present step.
  absl::StatusOr<CommittedCheckpoint> Checkpoint(
      uint32_t keep = 10, const std::function<bool()>& wanted = [] { return true; }) {
    v1::CommitCheckpoint request;
    request.set_keep(keep);
    request.set_servers(kServers);
    for (uint32_t server = 0; server < kServers; ++server) {
      ASSIGN_OR_RETURN(*request.add_shards(), WriteShard(server));
    }
    return CommitCheckpoint(shards_[0]->plan(), directory_, step_, request, absl::FromUnixSeconds(1000), wanted);
  }
  // Whether the checkpoint holds every chunk as it is now.
  void ExpectHoldsPresent(const std::string& directory) {
    ASSERT_OK_AND_ASSIGN(const CheckpointReader reader, CheckpointReader::Open(directory));
    for (const auto& shard : shards_) {
      for (const auto& chunk : shard->chunks()) {
        const ChunkCapture capture = chunk->Capture();
        ASSERT_OK_AND_ASSIGN(const ChunkRecord record, reader.ReadChunk(chunk->index()));
        EXPECT_EQ(record.saved().version, capture.version);
        EXPECT_EQ(record.saved().updates, capture.updates);
        EXPECT_EQ(AsBytes(record.saved().weights), AsBytes(capture.weights->weights()));
        EXPECT_EQ(AsBytes(record.saved().state), AsBytes(capture.state.span()));
      }
    }
  }
  static absl::string_view AsBytes(absl::Span<const float> values) {
    return absl::string_view(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  }

  std::string job_directory_;
  std::string directory_;
  uint64_t step_ = 0;
  std::vector<std::unique_ptr<JobShard>> shards_;
};

TEST_F(CheckpointDirectoryTest, WhoLostTheJobCommitsAndRemovesNothing) {
  Step();
  ASSERT_OK(Checkpoint());
  Step();
  EXPECT_THAT(Checkpoint(1, [] { return false; }), StatusIs(absl::StatusCode::kAborted, "CHECKPOINT_SUPERSEDED"));
  ASSERT_OK_AND_ASSIGN(const SelectedCheckpoint found, SelectCheckpoint(directory_, 0));
  EXPECT_EQ(found.step, 1u);
  // Lost between the manifest and the removal: complete, and nothing is removed.
  int asked = 0;
  ASSERT_OK_AND_ASSIGN(const CommittedCheckpoint late, Checkpoint(1, [&] { return asked++ == 0; }));
  EXPECT_TRUE(late.removed.empty());
  EXPECT_OK(CheckpointReader::Open(CheckpointPath(directory_, 1)));
  EXPECT_OK(CheckpointReader::Open(CheckpointPath(directory_, 2)));
}

TEST_F(CheckpointDirectoryTest, HoldsEveryChunkAndGoesOnFromIt) {
  Step();
  Step();
  ASSERT_OK_AND_ASSIGN(const CommittedCheckpoint committed, Checkpoint());
  ASSERT_OK_AND_ASSIGN(const SelectedCheckpoint selected, SelectCheckpoint(job_directory_, 0));
  EXPECT_EQ(selected.step, 2u);
  EXPECT_EQ(selected.bytes, committed.bytes);
  EXPECT_EQ(selected.directory, directory_ + "/2");
  EXPECT_TRUE(selected.skipped.empty());
  ExpectHoldsPresent(selected.directory);

  // On one server instead of two, the same bits after the same pushes.
  v1::JobAssignment assignment = TestAssignment({.optimizer = kJob.optimizer, .learning_rate = kJob.learning_rate});
  assignment.set_first_step(2);
  auto plan = JobPlan::Create(assignment, 0);
  ASSERT_OK(plan);
  auto restored = std::make_unique<JobShard>(*plan);
  ASSERT_OK_AND_ASSIGN(const CheckpointReader reader, CheckpointReader::Open(selected.directory));
  ASSERT_OK(reader.CheckMatches(**plan));
  for (const auto& chunk : restored->chunks()) {
    ASSERT_OK_AND_ASSIGN(const ChunkRecord record, reader.ReadChunk(chunk->index()));
    ASSERT_OK(chunk->Restore(record.saved()));
  }
  shards_.push_back(std::move(restored));
  Step();
  Step();
  for (const auto& chunk : shards_[2]->chunks()) {
    const Chunk& original = *shards_[chunk->index() % kServers]->FindChunk(chunk->index());
    EXPECT_EQ(AsBytes(chunk->snapshot()->weights()), AsBytes(original.snapshot()->weights())) << chunk->index();
  }
}

TEST_F(CheckpointDirectoryTest, RefusesAnotherJobsCheckpoint) {
  Step();
  ASSERT_OK(Checkpoint());
  ASSERT_OK_AND_ASSIGN(const CheckpointReader reader, CheckpointReader::Open(directory_ + "/1"));
  const auto expect_mismatch = [&](auto change) {
    v1::JobAssignment assignment = TestAssignment(kJob);
    assignment.set_first_step(1);
    change(assignment);
    auto plan = JobPlan::Create(assignment, 0);
    ASSERT_OK(plan);
    EXPECT_THAT(reader.CheckMatches(**plan), StatusIs(absl::StatusCode::kFailedPrecondition, "CHECKPOINT_MISMATCH"));
  };
  expect_mismatch([](v1::JobAssignment& a) { a.set_first_step(2); });
  expect_mismatch(
      [](v1::JobAssignment& a) { a.mutable_spec()->mutable_optimizer()->set_type(v1::OPTIMIZER_TYPE_RMSPROP); });
  expect_mismatch([](v1::JobAssignment& a) {
    a.mutable_spec()->mutable_model()->mutable_mlp()->set_activation(v1::ACTIVATION_GELU_ERF);
  });
}

TEST_F(CheckpointDirectoryTest, KeepsTheNewest) {
  for (int i = 0; i < 4; ++i) {
    Step();
    ASSERT_OK(Checkpoint(2));
  }
  ASSERT_OK_AND_ASSIGN(const std::vector<std::string> names, ListDirectory(directory_));
  EXPECT_EQ(names, (std::vector<std::string>{"3", "4"}));
  // Gone back to step 3: what comes after is of a future that is none any more.
  step_ = 3;
  ASSERT_OK_AND_ASSIGN(const CommittedCheckpoint committed, Checkpoint(2));
  EXPECT_EQ(committed.removed, (std::vector<uint64_t>{4}));
  ASSERT_OK(RemoveCheckpoint(directory_, 3));
  ASSERT_OK(RemoveCheckpoint(directory_, 3));
  EXPECT_THAT(SelectCheckpoint(job_directory_, 0), StatusIs(absl::StatusCode::kNotFound, "CHECKPOINT_NOT_FOUND"));
}

TEST_F(CheckpointDirectoryTest, FilesOfAnEarlierGenerationGo) {
  Step();
  ASSERT_OK(PrepareCheckpoint(directory_, 1));
  const std::string stray = ShardPath(CheckpointPath(directory_, 1), 2, 0);
  ASSERT_OK(AtomicWriteFile(stray, "of a server that was lost"));
  int asked = 0;
  ASSERT_OK(Checkpoint(10, [&] { return asked++ == 0; }));
  EXPECT_OK(ReadFile(stray, 100)) << "removed by who has lost the job";
  ASSERT_OK(Checkpoint());
  ASSERT_OK_AND_ASSIGN(const std::vector<std::string> names, ListDirectory(CheckpointPath(directory_, 1)));
  EXPECT_EQ(names, (std::vector<std::string>{kManifestFile, "server-0.1.shard", "server-1.1.shard"}));
  ExpectHoldsPresent(CheckpointPath(directory_, 1));
}

TEST_F(CheckpointDirectoryTest, WhatCannotBeReadMayBeComplete) {
  EXPECT_FALSE(MayBeComplete(directory_, 1));
  Step();
  ASSERT_OK(Checkpoint());
  EXPECT_TRUE(MayBeComplete(directory_, 1));
  {
    const ScopedFailpoints armed("file.open=errno(EMFILE)");
    EXPECT_TRUE(MayBeComplete(directory_, 1));
  }
  ASSERT_OK(PrepareCheckpoint(directory_, 1));
  EXPECT_FALSE(MayBeComplete(directory_, 1));
}

TEST_F(CheckpointDirectoryTest, SkipsWhatIsIncomplete) {
  Step();
  ASSERT_OK(Checkpoint());
  Step();
  ASSERT_OK(WriteShard(0));
  ASSERT_OK_AND_ASSIGN(const SelectedCheckpoint selected, SelectCheckpoint(job_directory_, 0));
  EXPECT_EQ(selected.step, 1u);
  ASSERT_EQ(selected.skipped.size(), 1u);
  EXPECT_TRUE(absl::StrContains(selected.skipped[0], "/2: incomplete")) << selected.skipped[0];
  EXPECT_THAT(SelectCheckpoint(job_directory_, 2), StatusIs(absl::StatusCode::kDataLoss, "CHECKPOINT_INVALID"));
  EXPECT_THAT(SelectCheckpoint(job_directory_, 7), StatusIs(absl::StatusCode::kNotFound, "CHECKPOINT_NOT_FOUND"));
  EXPECT_THAT(SelectCheckpoint(job_directory_ + "/none", 0),
              StatusIs(absl::StatusCode::kNotFound, "CHECKPOINT_NOT_FOUND"));
}

TEST_F(CheckpointDirectoryTest, NoticesADirectoryThatIsNotShared) {
  Step();
  v1::CommitCheckpoint request;
  ASSERT_OK_AND_ASSIGN(*request.add_shards(), WriteShard(0));
  ASSERT_OK_AND_ASSIGN(*request.add_shards(), WriteShard(1));
  const std::string other = directory_ + "/1/server-1.1.shard";
  ASSERT_OK_AND_ASSIGN(const std::string bytes, ReadFile(other, 1 << 20));
  const auto commit = [&] {
    return CommitCheckpoint(shards_[0]->plan(), directory_, 1, request, absl::UnixEpoch(), [] { return true; })
        .status();
  };
  ASSERT_OK(AtomicWriteFile(other, bytes.substr(0, bytes.size() - 4)));
  EXPECT_THAT(commit(), StatusIs(absl::StatusCode::kFailedPrecondition, "OUTPUT_NOT_SHARED"));
  ASSERT_OK(RemoveFile(other));
  EXPECT_THAT(commit(), StatusIs(absl::StatusCode::kFailedPrecondition, "OUTPUT_NOT_SHARED"));
  request.mutable_shards()->RemoveLast();
  EXPECT_THAT(commit(), StatusIs(absl::StatusCode::kDataLoss, "CHECKPOINT_INVALID"));
  ASSERT_OK(AtomicWriteFile(other, bytes));
  *request.add_shards() = request.shards(0);
  EXPECT_THAT(commit(), StatusIs(absl::StatusCode::kDataLoss, "CHECKPOINT_INVALID"));
}

// The N-th I/O of taking a checkpoint fails, for every N: the one before is found then, or this one, whole.
TEST_F(CheckpointDirectoryTest, EveryFailureOfTakingOneLeavesTheOneBefore) {
  Step();
  ASSERT_OK(Checkpoint());
  Step();
  int failed = 0;
  for (const char* fault : {"errno(EIO)", "errno(ENOSPC)", "torn(100)"}) {
    const bool torn = absl::StartsWith(fault, "torn");
    for (int n = 1;; ++n) {
      SCOPED_TRACE(absl::StrCat(fault, " at ", n));
      absl::Status status;
      uint64_t fired = 0;
      {
        const ScopedFailpoints armed(
            torn ? absl::StrCat("file.write=", fault, "@hit=", n)
                 : absl::StrCat("file.*=", fault, "@hit=", n, ";directory.*=", fault, "@hit=", n));
        status = Checkpoint().status();
        fired = armed.fired();
      }
      const absl::StatusOr<SelectedCheckpoint> selected = SelectCheckpoint(job_directory_, 0);
      ASSERT_OK(selected);
      EXPECT_TRUE(selected->step == 2 || !status.ok()) << "acknowledged and lost";
      if (selected->step == 2) ExpectHoldsPresent(selected->directory);
      if (fired == 0) {
        ASSERT_OK(status);
        ASSERT_EQ(selected->step, 2u);
        ASSERT_GT(n, 1);
        break;
      }
      failed += status.ok() ? 0 : 1;
      ASSERT_OK(RemoveCheckpoint(directory_, 2));
      ASSERT_LT(n, 1000);
    }
  }
  EXPECT_GT(failed, 30);
}

// The N-th I/O of reading fails: an error, or an older checkpoint and a word about it, never other values.
TEST_F(CheckpointDirectoryTest, EveryFailureOfReadingIsSeen) {
  Step();
  ASSERT_OK(Checkpoint());
  Step();
  ASSERT_OK(Checkpoint());
  for (int n = 1;; ++n) {
    SCOPED_TRACE(n);
    absl::StatusOr<SelectedCheckpoint> selected = absl::UnknownError("");
    uint64_t fired = 0;
    {
      const ScopedFailpoints armed(absl::StrCat("file.*=errno(EIO)@hit=", n));
      selected = SelectCheckpoint(job_directory_, 0);
      fired = armed.fired();
    }
    ASSERT_OK(selected);
    EXPECT_EQ(selected->step, fired == 0 ? 2u : 1u);
    EXPECT_EQ(selected->skipped.size(), fired);
    if (fired == 0) break;
    ASSERT_LT(n, 1000);
  }
}

// Cut off anywhere: at every boundary of its parts, and at many other places.
TEST_F(CheckpointDirectoryTest, EveryTruncationIsSkipped) {
  Step();
  ASSERT_OK(Checkpoint());
  Step();
  ASSERT_OK(Checkpoint());
  std::mt19937_64 random(TestSeed());
  for (const char* name : {"server-0.1.shard", "server-1.1.shard", kManifestFile}) {
    const std::string path = absl::StrCat(directory_, "/2/", name);
    ASSERT_OK_AND_ASSIGN(const std::string bytes, ReadFile(path, 1 << 24));
    std::vector<uint64_t> sizes = {0, 1, kShardMagic.size(), bytes.size() - 1, bytes.size() - 2};
    for (int i = 0; i < 60; ++i) sizes.push_back(random() % bytes.size());
    if (name != std::string(kManifestFile)) {
      ASSERT_OK_AND_ASSIGN(const RandomReadFile file, RandomReadFile::Open(path));
      ASSERT_OK_AND_ASSIGN(const std::vector<RecordPlace> places, ScanShard(file));
      for (const RecordPlace& place : places) {
        for (uint64_t at : {uint64_t{0}, uint64_t{4}, uint64_t{8}, kRecordHeaderBytes, place.bytes - 1}) {
          sizes.push_back(place.offset + at);
        }
      }
    }
    for (uint64_t size : sizes) {
      ASSERT_EQ(truncate(path.c_str(), static_cast<off_t>(size)), 0);
      const absl::StatusOr<SelectedCheckpoint> selected = SelectCheckpoint(job_directory_, 0);
      ASSERT_OK(selected);
      ASSERT_EQ(selected->step, 1u) << name << " of " << size << " bytes";
      ASSERT_EQ(selected->skipped.size(), 1u);
      EXPECT_TRUE(absl::StrContains(selected->skipped[0], name)) << selected->skipped[0];
      ASSERT_OK(AtomicWriteFile(path, bytes));
    }
  }
  ASSERT_OK_AND_ASSIGN(const SelectedCheckpoint selected, SelectCheckpoint(job_directory_, 0));
  EXPECT_EQ(selected.step, 2u);
}

// Thousands of single flipped bits: the checkpoint is skipped, and what is wrong with it names the file.
TEST_F(CheckpointDirectoryTest, EveryFlippedBitIsSkipped) {
  Step();
  ASSERT_OK(Checkpoint());
  Step();
  ASSERT_OK(Checkpoint());
  std::mt19937_64 random(TestSeed());
  int named = 0;
  const auto flip = [](const std::string& path, uint64_t bit) {
    std::unique_ptr<FILE, int (*)(FILE*)> file(fopen(path.c_str(), "r+b"), fclose);
    char byte = 0;
    if (fseek(file.get(), static_cast<long>(bit / 8), SEEK_SET) != 0 || fread(&byte, 1, 1, file.get()) != 1) return;
    byte = static_cast<char>(byte ^ (1 << (bit % 8)));
    fseek(file.get(), static_cast<long>(bit / 8), SEEK_SET);
    fwrite(&byte, 1, 1, file.get());
  };
  for (const char* name : {"server-0.1.shard", "server-1.1.shard", kManifestFile}) {
    const std::string path = absl::StrCat(directory_, "/2/", name);
    ASSERT_OK_AND_ASSIGN(const std::string bytes, ReadFile(path, 1 << 24));
    for (int i = 0; i < 1200; ++i) {
      const uint64_t bit = random() % (8 * bytes.size());
      flip(path, bit);
      const absl::StatusOr<SelectedCheckpoint> selected = SelectCheckpoint(job_directory_, 0);
      flip(path, bit);
      ASSERT_OK(selected);
      ASSERT_EQ(selected->step, 1u) << name << " bit " << bit;
      ASSERT_EQ(selected->skipped.size(), 1u);
      ASSERT_TRUE(absl::StrContains(selected->skipped[0], name)) << selected->skipped[0];
      named += absl::StrContains(selected->skipped[0], "chunk ") ? 1 : 0;
    }
  }
  EXPECT_GT(named, 2300);  // All but those of the files' own first bytes name the chunk.
  ASSERT_OK_AND_ASSIGN(const SelectedCheckpoint selected, SelectCheckpoint(job_directory_, 0));
  EXPECT_EQ(selected.step, 2u);
}

TEST_F(CheckpointDirectoryTest, NothingGoodIsAnErrorThatNamesAll) {
  Step();
  ASSERT_OK(Checkpoint());
  Step();
  ASSERT_OK(Checkpoint());
  for (const char* step : {"1", "2"}) {
    ASSERT_EQ(truncate(absl::StrCat(directory_, "/", step, "/server-0.1.shard").c_str(), 100), 0);
  }
  const absl::Status status = SelectCheckpoint(job_directory_, 0).status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kDataLoss, "CHECKPOINT_INVALID"));
  EXPECT_TRUE(absl::StrContains(status.message(), "/1/server-0.1.shard")) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "/2/server-0.1.shard")) << status;
}

// The file of docs/formats.md is what its writer says it is.
TEST(ManifestTest, RefusesWhatDoesNotFitTogether) {
  const std::shared_ptr<const JobPlan> plan = *JobPlan::Create(TestAssignment(kJob), 0);
  checkpoint::Manifest good;
  good.set_format(kCheckpointFormat);
  *good.mutable_spec() = plan->spec;
  good.set_arena_elements(plan->arena.arena_elements());
  good.add_files()->set_name("server-0.1.shard");
  good.mutable_files(0)->set_bytes(1000000);
  for (int chunk = 0; chunk < plan->arena.chunk_count(); ++chunk) {
    checkpoint::Chunk& entry = *good.add_chunks();
    entry.set_offset(8);
    entry.set_bytes(100);
  }
  const auto parse = [](const checkpoint::Manifest& manifest) {
    return ParseManifest("m", SerializeManifest(manifest).value()).status();
  };
  EXPECT_OK(parse(good));
  const auto refused = [&](auto change) {
    checkpoint::Manifest bad = good;
    change(bad);
    EXPECT_THAT(parse(bad), StatusIs(absl::StatusCode::kDataLoss, "CHECKPOINT_INVALID"));
  };
  using M = checkpoint::Manifest;
  refused([](M& m) { m.set_format(2); });
  refused([](M& m) { m.mutable_files(0)->set_name("../x"); });
  refused([](M& m) { m.mutable_files(0)->set_name(""); });
  refused([](M& m) { m.mutable_files(0)->set_name(".."); });
  refused([](M& m) { m.mutable_chunks()->RemoveLast(); });
  refused([](M& m) { m.add_chunks(); });
  refused([](M& m) { m.mutable_chunks(1)->set_file(1); });
  refused([](M& m) { m.mutable_chunks(1)->set_offset(UINT64_MAX); });
  refused([](M& m) { m.mutable_chunks(1)->set_bytes(UINT64_MAX); });
  refused([](M& m) { m.mutable_chunks(1)->set_bytes(1); });
  refused([](M& m) { m.set_arena_elements(1); });
  refused([](M& m) { m.mutable_spec()->clear_model(); });
  refused([](M& m) { m.mutable_spec()->mutable_resources()->set_chunk_elements(0); });
  for (const char* text : {"", "{}", "{\"crc32c\":\"00000000\",\"manifest\":{}}\n"}) {
    EXPECT_THAT(ParseManifest("m", text), StatusIs(absl::StatusCode::kDataLoss, "CHECKPOINT_INVALID")) << text;
  }
}

}  // namespace
}  // namespace paramd
