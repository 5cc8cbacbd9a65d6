#include "server/checkpoint/weights_writer.h"

#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/crc32c.h"
#include "common/base/file.h"
#include "common/base/scoped_failpoints.h"
#include "common/base/sha256.h"
#include "common/base/status_matchers.h"
#include "common/config/job_spec.h"
#include "common/tensor/safetensors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/store/test_job.h"

namespace paramd {
namespace {

class WeightsWriterTest : public testing::Test {
 protected:
  void SetUp() override {
    plan_ = *JobPlan::Create(TestAssignment({.workers = 2, .servers = 2}), 0);
    arena_.resize(plan_->arena.arena_elements());
    std::iota(arena_.begin(), arena_.end(), 0.5f);
    directory_ = absl::StrCat(testing::TempDir(), "/", testing::UnitTest::GetInstance()->current_test_info()->name());
  }

  v1::FetchChunksResponse Chunk(int chunk, uint64_t version) const {
    const ElementRange range = plan_->arena.ChunkRange(chunk);
    v1::FetchChunksResponse message;
    message.set_chunk(chunk);
    message.set_version(version);
    message.set_payload(arena_.data() + range.begin, range.size() * sizeof(float));
    message.set_crc32c(Crc32c(absl::string_view(message.payload().data(), message.payload().size())));
    return message;
  }
  // Chunks of the placement, each changed by `change`.
  ChunkFetcher Fetcher(std::function<void(v1::FetchChunksResponse&)> change = [](v1::FetchChunksResponse&) {}) {
    return [this, change](uint32_t server, const ChunkSink& sink) {
      for (int chunk = 0; chunk < plan_->arena.chunk_count(); ++chunk) {
        if (plan_->placement.chunk_server(chunk) != server) continue;
        v1::FetchChunksResponse message = Chunk(chunk, 10);
        change(message);
        RETURN_IF_ERROR(sink(message));
      }
      return absl::OkStatus();
    };
  }

  // Weights and specification at `directory`, which are complete or it is a failure.
  void ExpectComplete(const std::string& directory) {
    ASSERT_OK_AND_ASSIGN(const SafetensorsReader reader, SafetensorsReader::Open(directory + "/model.safetensors"));
    for (int i = 0; i < static_cast<int>(plan_->arena.parameters().size()); ++i) {
      const ElementRange range = plan_->arena.ParameterRange(i);
      ASSERT_OK_AND_ASSIGN(const SafetensorsTensor* tensor, reader.Find(plan_->arena.parameters()[i].name));
      std::vector<float> values(range.size());
      ASSERT_OK(reader.ReadFloats(*tensor, absl::MakeSpan(values)));
      EXPECT_EQ(std::memcmp(values.data(), arena_.data() + range.begin, values.size() * 4), 0);
    }
    ASSERT_OK_AND_ASSIGN(const std::string json, ReadFile(directory + "/job.json", 1 << 20));
    EXPECT_OK(ParseJobSpec(json));
  }
  // Fails the calls that `rule` names and checks what is left. The number of failed calls.
  uint64_t SaveWithFaults(const std::string& rule, absl::StatusCode code) {
    std::filesystem::remove_all(directory_);
    absl::Status status;
    uint64_t fired = 0;
    {
      const ScopedFailpoints armed(rule);
      status = SaveWeights(*plan_, directory_, Fetcher()).status();
      fired = armed.fired();
    }
    const std::string place = directory_ + "/job-1";
    if (fired == 0) {
      EXPECT_OK(status) << rule;
    } else {
      EXPECT_THAT(status, StatusIs(code)) << rule;
      EXPECT_THAT(std::string(status.message()), testing::HasSubstr("saving the weights of job job-1")) << rule;
    }
    if (status.ok() || std::filesystem::exists(place)) ExpectComplete(place);
    return fired;
  }

  std::shared_ptr<const JobPlan> plan_;
  std::vector<float> arena_;
  std::string directory_;
};

TEST_F(WeightsWriterTest, WritesWeightsAndSpec) {
  ASSERT_OK_AND_ASSIGN(const v1::WeightsSaved saved, SaveWeights(*plan_, directory_, Fetcher()));
  EXPECT_EQ(saved.directory(), directory_ + "/job-1");
  EXPECT_EQ(saved.step(), 10u);
  Sha256 hash;
  ASSERT_OK_AND_ASSIGN(const SafetensorsReader reader,
                       SafetensorsReader::Open(saved.directory() + "/model.safetensors"));
  uint64_t bytes = 0;
  for (int i = 0; i < static_cast<int>(plan_->arena.parameters().size()); ++i) {
    const ElementRange range = plan_->arena.ParameterRange(i);
    ASSERT_OK_AND_ASSIGN(const SafetensorsTensor* tensor, reader.Find(plan_->arena.parameters()[i].name));
    EXPECT_EQ(tensor->shape, plan_->arena.parameters()[i].shape);
    std::vector<float> values(range.size());
    ASSERT_OK(reader.ReadFloats(*tensor, absl::MakeSpan(values)));
    EXPECT_EQ(std::memcmp(values.data(), arena_.data() + range.begin, values.size() * 4), 0);
    hash.Update(absl::string_view(reinterpret_cast<const char*>(values.data()), values.size() * 4));
    bytes += values.size() * 4;
  }
  EXPECT_EQ(saved.sha256(), hash.FinishHex());
  EXPECT_EQ(saved.bytes(), bytes);
  ASSERT_OK_AND_ASSIGN(const std::string json, ReadFile(saved.directory() + "/job.json", 1 << 20));
  ASSERT_OK_AND_ASSIGN(const v1::JobSpec spec, ParseJobSpec(json));
  EXPECT_EQ(spec.SerializeAsString(), plan_->spec.SerializeAsString());
}

TEST_F(WeightsWriterTest, RefusesDamagedMissingAndUnequalChunks) {
  const auto refused = [this](auto change, absl::StatusCode code, const char* reason) {
    EXPECT_THAT(SaveWeights(*plan_, directory_, Fetcher(change)), StatusIs(code, reason));
    EXPECT_THAT(SafetensorsReader::Open(directory_ + "/job-1/model.safetensors"), testing::Not(IsOk()));
  };
  using M = v1::FetchChunksResponse;
  refused([](M& m) { (*m.mutable_payload())[0] ^= 1; }, absl::StatusCode::kDataLoss, "CHECKSUM_MISMATCH");
  refused([](M& m) { m.mutable_payload()->pop_back(); }, absl::StatusCode::kDataLoss, "CHECKSUM_MISMATCH");
  refused([](M& m) { m.set_chunk(500); }, absl::StatusCode::kDataLoss, "CHUNK_MISSING");
  refused(
      [](M& m) {
        if (m.chunk() == 3) m.set_version(9);
      },
      absl::StatusCode::kFailedPrecondition, "VERSIONS_DIFFER");
  EXPECT_THAT(SaveWeights(*plan_, directory_, [](uint32_t, const ChunkSink&) { return absl::OkStatus(); }),
              StatusIs(absl::StatusCode::kDataLoss, "CHUNK_MISSING"));
}

TEST_F(WeightsWriterTest, ALaterLifeOfTheJobReplacesWhatAnEarlierOneSaved) {
  ASSERT_OK_AND_ASSIGN(const v1::WeightsSaved earlier, SaveWeights(*plan_, directory_, Fetcher()));
  arena_[0] += 1;  // Asynchronous training does not end twice with the same weights.
  ASSERT_OK_AND_ASSIGN(const v1::WeightsSaved later, SaveWeights(*plan_, directory_, Fetcher()));
  EXPECT_NE(later.sha256(), earlier.sha256());
  ExpectComplete(later.directory());
  // An earlier life that died between the two files.
  ASSERT_TRUE(std::filesystem::remove(later.directory() + "/model.safetensors"));
  ASSERT_OK(SaveWeights(*plan_, directory_, Fetcher()));
  ExpectComplete(later.directory());
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory_), {}), 1) << "something is left behind";
}

TEST_F(WeightsWriterTest, NeverReplacesAnothersWeights) {
  ASSERT_OK_AND_ASSIGN(const v1::WeightsSaved saved, SaveWeights(*plan_, directory_, Fetcher()));
  const std::shared_ptr<const JobPlan> own = plan_;
  const auto refused = [&](auto change) {
    v1::JobAssignment assignment = TestAssignment({.workers = 2, .servers = 2});
    change(assignment);
    plan_ = *JobPlan::Create(assignment, 0);
    EXPECT_THAT(SaveWeights(*plan_, directory_, Fetcher()), StatusIs(absl::StatusCode::kAlreadyExists, "FILE_EXISTS"));
    plan_ = own;
    ExpectComplete(saved.directory());
  };
  refused([](v1::JobAssignment& a) { a.mutable_spec()->set_seed(77); });
  std::filesystem::rename(directory_ + "/job-1", directory_ + "/job-2");
  plan_ = own;
  v1::JobAssignment assignment = TestAssignment({.workers = 2, .servers = 2});
  assignment.set_job_id("job-2");
  plan_ = *JobPlan::Create(assignment, 0);
  EXPECT_THAT(SaveWeights(*plan_, directory_, Fetcher()), StatusIs(absl::StatusCode::kAlreadyExists, "FILE_EXISTS"));
  // Damaged is nobody's.
  std::filesystem::rename(directory_ + "/job-2", directory_ + "/job-1");
  plan_ = own;
  std::ofstream(directory_ + "/job-1/model.safetensors") << "x";
  EXPECT_THAT(SaveWeights(*plan_, directory_, Fetcher()), StatusIs(absl::StatusCode::kAlreadyExists, "FILE_EXISTS"));
}

TEST_F(WeightsWriterTest, WhoLostTheJobPutsNothingInPlace) {
  const int chunks = plan_->arena.chunk_count();
  for (int last : {0, chunks - 1, chunks}) {
    int asked = 0;
    EXPECT_THAT(SaveWeights(*plan_, directory_, Fetcher(), [&] { return asked++ < last; }),
                StatusIs(absl::StatusCode::kAborted, "SAVE_SUPERSEDED"));
    EXPECT_EQ(asked, last + 1);
    EXPECT_FALSE(std::filesystem::exists(directory_ + "/job-1"));
  }
  EXPECT_TRUE(std::filesystem::is_empty(directory_));
}

TEST_F(WeightsWriterTest, FetchingIsTriedAgainOnlyWhileItIsWanted) {
  v1::JobAssignment assignment = TestAssignment();
  assignment.mutable_placement()->mutable_servers(0)->set_address("127.0.0.1:1");  // Nobody there.
  const std::shared_ptr<const JobPlan> plan = *JobPlan::Create(assignment, 0);
  int asked = 0;
  const SaveWanted wanted = [&] { return asked++ < 2; };
  EXPECT_THAT(SaveWeights(*plan, directory_, RemoteChunkFetcher(*plan, absl::Minutes(10), nullptr, wanted), wanted),
              StatusIs(absl::StatusCode::kAborted, "SAVE_SUPERSEDED"));
}

TEST_F(WeightsWriterTest, DiskErrorsAreReported) {
  std::ofstream(directory_) << "a file where the directory should be";
  EXPECT_THAT(SaveWeights(*plan_, directory_, Fetcher()), testing::Not(IsOk()));
}

// The first system call fails, the second, ...: once, and from there on for good. What is under the weights' name is
// complete, or nothing is.
TEST_F(WeightsWriterTest, SurvivesEveryFault) {
  const struct {
    const char* action;
    absl::StatusCode code;
  } faults[] = {{"errno(EIO)", absl::StatusCode::kUnavailable},
                {"errno(ENOSPC)", absl::StatusCode::kResourceExhausted},
                {"errno(EROFS)", absl::StatusCode::kPermissionDenied}};
  for (const auto& fault : faults) {
    for (const char* trigger : {"hit", "from"}) {
      for (const char* points : {"file.*", "directory.*"}) {
        int call = 1;
        while (SaveWithFaults(absl::StrCat(points, "=", fault.action, "@", trigger, "=", call), fault.code) > 0) ++call;
        EXPECT_GT(call, 4) << points;
      }
    }
  }
}

TEST_F(WeightsWriterTest, SurvivesTornWrites) {
  for (int write = 1; write <= 3; ++write) {
    for (const int kept : {0, 1, 7, 8, 511, 512, 4096}) {
      EXPECT_EQ(SaveWithFaults(absl::StrCat("file.write=torn(", kept, ")@hit=", write), absl::StatusCode::kUnavailable),
                1u);
      EXPECT_FALSE(std::filesystem::exists(directory_ + "/job-1"));
      // Nothing is left behind, either.
      EXPECT_TRUE(std::filesystem::is_empty(directory_));
    }
  }
}

}  // namespace
}  // namespace paramd
