#include "worker/train/evaluator.h"

#include <string>
#include <vector>

#include "common/base/status_matchers.h"
#include "gtest/gtest.h"
#include "worker/data/test_files.h"
#include "worker/data/text_dataset.h"
#include "worker/train/toy_program.h"

namespace paramd {
namespace {

class EvaluatorTest : public testing::Test {
 protected:
  EvaluatorTest() {
    ParameterSpec parameter;
    parameter.name = "p";
    parameter.shape = {16};
    plan_ = ArenaPlan::Create({parameter}, 1024).value();
    // 200 tokens, the last 100 held out: 24 samples of context 4.
    data_ = TextDataset::Open({.files = {WriteTestFile("text", std::string(200, 'x'))},
                               .context = 4,
                               .stride = 4,
                               .validation_fraction = 0.5})
                .value();
  }

  absl::StatusOr<v1::Evaluation> Run(const EvaluatorOptions& options) {
    ToyProgram program(plan_);
    return Evaluate(options, 7, *data_, program, std::vector<float>(16, 0.5f), [] { return absl::OkStatus(); });
  }

  ArenaPlan plan_;
  std::unique_ptr<Dataset> data_;
};

TEST_F(EvaluatorTest, SharesOfAllWorkersMakeTheWholeSplit) {
  ASSERT_EQ(data_->validation_samples(), 24);
  for (uint32_t workers : {1, 2, 3, 7, 30}) {
    v1::Evaluation total;
    for (uint32_t worker = 0; worker < workers; ++worker) {
      ASSERT_OK_AND_ASSIGN(v1::Evaluation share, Run({.worker_index = worker, .workers = workers, .batch_size = 5}));
      EXPECT_EQ(share.step(), 7u);
      total.set_count(total.count() + share.count());
      total.set_correct(total.correct() + share.correct());
      total.set_loss_sum(total.loss_sum() + share.loss_sum());
    }
    EXPECT_EQ(total.count(), 24u * 4);
    EXPECT_EQ(total.correct(), 24u);
    EXPECT_DOUBLE_EQ(total.loss_sum(), 24 * 4 * 8.0);
  }
}

TEST_F(EvaluatorTest, MaxBatchesBoundsAllWorkersTogether) {
  ASSERT_OK_AND_ASSIGN(v1::Evaluation first, Run({.worker_index = 0, .workers = 2, .batch_size = 5, .max_batches = 3}));
  ASSERT_OK_AND_ASSIGN(v1::Evaluation second,
                       Run({.worker_index = 1, .workers = 2, .batch_size = 5, .max_batches = 3}));
  EXPECT_EQ(first.count(), 2u * 5 * 4);
  EXPECT_EQ(second.count(), 1u * 5 * 4);
}

TEST_F(EvaluatorTest, StopsWhenTold) {
  ToyProgram program(plan_);
  int asked = 0;
  const auto result = Evaluate({.batch_size = 1}, 0, *data_, program, std::vector<float>(16),
                               [&] { return ++asked < 4 ? absl::OkStatus() : absl::AbortedError("released"); });
  EXPECT_THAT(result, StatusIs(absl::StatusCode::kAborted));
  EXPECT_EQ(asked, 4);
}

}  // namespace
}  // namespace paramd
