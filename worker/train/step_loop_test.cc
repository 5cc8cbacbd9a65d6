#include "worker/train/step_loop.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "common/base/status_matchers.h"
#include "gtest/gtest.h"
#include "worker/data/test_files.h"
#include "worker/data/text_dataset.h"
#include "worker/parameter_client/fake_parameter_service.h"
#include "worker/train/toy_program.h"

namespace paramd {
namespace {

constexpr float kLearningRate = 0.125f;

// Three parameters over three chunks of 1024: each chunk but the last is shared by two.
ArenaPlan TestPlan() {
  std::vector<ParameterSpec> layout(3);
  layout[0] = {.name = "a", .shape = {700}};
  layout[1] = {.name = "b", .shape = {40, 20}};
  layout[2] = {.name = "c", .shape = {900}};
  return ArenaPlan::Create(layout, 1024).value();
}

v1::JobSpec TestSpec(v1::SyncMode mode, uint32_t steps, uint32_t slots) {
  v1::JobSpec spec;
  spec.set_seed(11);
  spec.mutable_training()->set_steps(steps);
  spec.mutable_training()->set_slots(slots);
  spec.mutable_training()->set_micro_batch(2);
  spec.mutable_training()->set_report_every(2);
  spec.mutable_sync()->set_mode(mode);
  spec.mutable_sync()->set_staleness(1);
  return spec;
}

class Recorder final : public StepLoopObserver {
 public:
  void OnStep(const StepReport& report) override { steps.push_back(report); }
  void OnProgress(const v1::WorkerProgress& report) override { progress.push_back(report); }
  void OnEvaluation(const v1::Evaluation& report) override { evaluations.push_back(report); }

  std::vector<StepReport> steps;
  std::vector<v1::WorkerProgress> progress;
  std::vector<v1::Evaluation> evaluations;
};

// One worker with everything it owns; members are destroyed client first.
struct TestWorker {
  TestWorker(const v1::JobSpec& spec, const ArenaPlan& plan, const Dataset& data, const v1::Placement& placement,
             uint32_t index, uint32_t workers, bool joining = false)
      : program(plan) {
    ParameterClientOptions options;
    options.caller = {.job_id = "job", .generation = 1, .worker_index = index, .worker_incarnation = 1};
    options.placement = placement;
    options.reconnect = {.initial_backoff = absl::Milliseconds(5), .max_backoff = absl::Milliseconds(20)};
    std::unique_ptr<ParameterClient> created = ParameterClient::Create(options, plan).value();
    const std::vector<SlotRange> slots = DealSlots(spec.training().slots(), workers);
    loop = std::make_unique<StepLoop>(StepLoopOptions{.spec = spec,
                                                      .plan = plan,
                                                      .data = data,
                                                      .program = program,
                                                      .client = *created,
                                                      .worker_index = index,
                                                      .workers = workers,
                                                      .slots = joining ? SlotRange() : slots[index],
                                                      .joining = joining},
                                      Sampler::Create(spec, data.train_samples()).value(), recorder);
    client = std::move(created);
  }
  void Start() {
    thread = std::thread([this] { result = loop->Run(); });
  }

  ToyProgram program;
  Recorder recorder;
  std::unique_ptr<StepLoop> loop;
  std::unique_ptr<ParameterClient> client;
  std::thread thread;
  absl::StatusOr<StepLoop::Result> result = absl::UnknownError("not run");
};

class StepLoopTest : public testing::Test {
 protected:
  StepLoopTest() {
    std::string text;
    for (int i = 0; i < 600; ++i) text.push_back(static_cast<char>(i * 7 % 251));
    data_ = TextDataset::Open(
                {.files = {WriteTestFile("text", text)}, .context = 8, .stride = 3, .validation_fraction = 0.2})
                .value();
    for (int64_t i = 0; i < plan_.arena_elements(); ++i) initial_.push_back(static_cast<float>(i % 17) * 0.1f);
    // Padding is 0 everywhere.
    for (size_t p = 0; p + 1 < plan_.parameters().size(); ++p) {
      const int gap = static_cast<int>(p);
      for (int64_t i = plan_.ParameterRange(gap).end; i < plan_.ParameterRange(gap + 1).begin; ++i) initial_[i] = 0;
    }
  }

  void StartService(const v1::JobSpec& spec, uint32_t workers) {
    service_ = std::make_unique<FakeParameterService>(plan_, FakeParameterOptions{.mode = spec.sync().mode(),
                                                                                  .slots = spec.training().slots(),
                                                                                  .workers = workers,
                                                                                  .learning_rate = kLearningRate});
    service_->SetWeights(initial_);
    service_->Start();
  }

  std::vector<std::unique_ptr<TestWorker>> Workers(const v1::JobSpec& spec, uint32_t workers) {
    std::vector<std::unique_ptr<TestWorker>> all;
    for (uint32_t i = 0; i < workers; ++i) {
      all.push_back(std::make_unique<TestWorker>(spec, plan_, *data_, service_->placement(), i, workers));
    }
    return all;
  }

  static void RunAll(std::vector<std::unique_ptr<TestWorker>>& workers) {
    for (auto& worker : workers) worker->Start();
    for (auto& worker : workers) worker->thread.join();
  }

  // The same training in one loop without a client: the tree sum of all slots, then SGD.
  std::vector<float> Reference(const v1::JobSpec& spec, uint32_t steps) {
    std::vector<float> weights = initial_;
    const Sampler sampler = Sampler::Create(spec, data_->train_samples()).value();
    const uint32_t slots = spec.training().slots();
    const SlotTree tree(slots);
    for (uint32_t step = 0; step < steps; ++step) {
      std::vector<std::vector<float>> gradients(slots, std::vector<float>(weights.size(), 0));
      for (uint32_t slot = 0; slot < slots; ++slot) {
        std::vector<int64_t> samples;
        Batch batch;
        sampler.SamplesOf(step, slot, samples);
        EXPECT_OK(data_->Fill(Dataset::Split::kTrain, samples, batch));
        const RunKey key = {.seed = spec.seed(), .step = step, .slot = slot};
        for (size_t p = 0; p < plan_.parameters().size(); ++p) {
          const ElementRange range = plan_.ParameterRange(static_cast<int>(p));
          for (int64_t i = range.begin; i < range.end; ++i) {
            gradients[slot][i] = ToyProgram::Gradient(weights[i], i, ToyProgram::Input(batch), key);
          }
        }
      }
      for (uint32_t width = 1; width < slots; width *= 2) {
        for (uint32_t left = 0; left + width < slots; left += 2 * width) {
          for (size_t i = 0; i < weights.size(); ++i) gradients[left][i] += gradients[left + width][i];
        }
      }
      const float average = 1.0f / static_cast<float>(slots);
      for (size_t i = 0; i < weights.size(); ++i) weights[i] -= kLearningRate * (gradients[0][i] * average);
    }
    return weights;
  }

  const ArenaPlan plan_ = TestPlan();
  std::unique_ptr<Dataset> data_;
  std::vector<float> initial_;
  std::unique_ptr<FakeParameterService> service_;
};

TEST_F(StepLoopTest, SyncGivesTheSameBitsForAnyNumberOfWorkers) {
  const v1::JobSpec spec = TestSpec(v1::SYNC_MODE_SYNC, 6, 7);
  const std::vector<float> expected = Reference(spec, 6);
  for (uint32_t count : {1, 2, 3, 4, 7}) {
    StartService(spec, count);
    auto workers = Workers(spec, count);
    RunAll(workers);
    for (auto& worker : workers) {
      ASSERT_OK(worker->result);
      EXPECT_EQ(worker->result->step, 6u);
      EXPECT_FALSE(worker->result->stopped_early);
      EXPECT_EQ(std::vector<float>(worker->loop->weights().begin(), worker->loop->weights().end()), expected) << count;
    }
    EXPECT_EQ(service_->weights(), expected);
    workers.clear();
    service_.reset();
  }
}

TEST_F(StepLoopTest, SyncKeepsItsBitsWhenStreamsBreak) {
  const v1::JobSpec spec = TestSpec(v1::SYNC_MODE_SYNC, 6, 5);
  StartService(spec, 2);
  auto requests = std::make_shared<int>(0);
  service_->SetFault([requests](const v1::ParameterRequest&) {
    ++*requests;
    if (*requests % 11 == 5) return Fault::kBreakBefore;
    if (*requests % 11 == 9) return Fault::kBreakAfter;
    return *requests % 13 == 0 ? Fault::kUnavailable : Fault::kNone;
  });
  auto workers = Workers(spec, 2);
  RunAll(workers);
  for (auto& worker : workers) {
    ASSERT_OK(worker->result);
    EXPECT_GT(worker->client->stats().reconnections, 0);
  }
  EXPECT_EQ(service_->weights(), Reference(spec, 6));
}

TEST_F(StepLoopTest, ReportsProgressLossAndEvaluations) {
  v1::JobSpec spec = TestSpec(v1::SYNC_MODE_SYNC, 5, 4);
  spec.mutable_training()->set_evaluate_every(2);
  StartService(spec, 2);
  auto workers = Workers(spec, 2);
  RunAll(workers);
  uint64_t evaluated = 0;
  for (auto& worker : workers) {
    ASSERT_OK(worker->result);
    const Recorder& recorder = worker->recorder;
    ASSERT_EQ(recorder.progress.size(), 3u);  // After 2, 4 and 5 steps.
    EXPECT_EQ(recorder.progress[0].step(), 2u);
    EXPECT_EQ(recorder.progress[0].losses_size(), 2);
    EXPECT_EQ(recorder.progress[2].losses_size(), 1);
    EXPECT_EQ(recorder.progress[2].losses(0).step(), 4u);
    EXPECT_EQ(recorder.progress[2].losses(0).slots(), 2u);
    EXPECT_EQ(recorder.progress[2].samples(), 5u * 2 * 2);
    EXPECT_EQ(recorder.progress[2].tokens(), 5u * 2 * 2 * 8);
    EXPECT_GT(recorder.progress[2].training_seconds(), 0);
    ASSERT_EQ(recorder.evaluations.size(), 3u);  // After 2, 4 and at the end.
    EXPECT_EQ(recorder.evaluations[0].step(), 2u);
    EXPECT_EQ(recorder.evaluations[2].step(), 5u);
    evaluated += recorder.evaluations[2].count();
    EXPECT_EQ(recorder.steps.size(), 5u);
  }
  EXPECT_EQ(evaluated, static_cast<uint64_t>(data_->validation_samples()) * 8);
}

// A worker at clock t reads weights that contain every worker's clocks up to t - staleness; pushes are applied once.
TEST_F(StepLoopTest, SspBoundsStalenessAndLosesNoPush) {
  const v1::JobSpec spec = TestSpec(v1::SYNC_MODE_SSP, 12, 4);
  StartService(spec, 2);
  std::atomic<int64_t> clocks[2] = {0, 0};
  std::atomic<int64_t> worst = 0;
  auto workers = Workers(spec, 2);
  for (int w = 0; w < 2; ++w) {
    workers[w]->program.set_on_pass([&, w](const RunKey& key) {
      clocks[w] = static_cast<int64_t>(key.step);
      if (w == 0 && key.slot == 0) absl::SleepFor(absl::Milliseconds(5));  // The slow one.
      // The pass of step t begins before its weights are there, and a worker has pushed step t before it begins the
      // pass of t + 1: hence two more.
      worst = std::max<int64_t>(worst, std::abs(clocks[0] - clocks[1]));
    });
  }
  RunAll(workers);
  for (auto& worker : workers) ASSERT_OK(worker->result);
  EXPECT_EQ(service_->applied_pushes(), 2 * 12 * plan_.chunk_count());
  EXPECT_LE(worst, 1 + 2);
  for (auto& worker : workers) {
    EXPECT_EQ(std::vector<float>(worker->loop->weights().begin(), worker->loop->weights().end()), service_->weights());
  }
}

TEST_F(StepLoopTest, AsyncEndsWithEveryPushAppliedOnceInSpiteOfFaults) {
  const v1::JobSpec spec = TestSpec(v1::SYNC_MODE_ASYNC, 10, 3);
  StartService(spec, 3);
  auto requests = std::make_shared<int>(0);
  service_->SetFault(
      [requests](const v1::ParameterRequest&) { return ++*requests % 17 == 3 ? Fault::kBreakAfter : Fault::kNone; });
  auto workers = Workers(spec, 3);
  RunAll(workers);
  for (auto& worker : workers) {
    ASSERT_OK(worker->result);
    EXPECT_EQ(std::vector<float>(worker->loop->weights().begin(), worker->loop->weights().end()), service_->weights());
  }
  EXPECT_EQ(service_->applied_pushes(), 3 * 10 * plan_.chunk_count());
}

TEST_F(StepLoopTest, ClippingOnTheWorkerBoundsThePush) {
  v1::JobSpec spec = TestSpec(v1::SYNC_MODE_ASYNC, 1, 2);
  spec.mutable_optimizer()->set_clip_norm(0.5);
  StartService(spec, 1);
  auto workers = Workers(spec, 1);
  RunAll(workers);
  ASSERT_OK(workers[0]->result);
  double squared = 0;
  const std::vector<float> after = service_->weights();
  for (size_t i = 0; i < after.size(); ++i) squared += std::pow((after[i] - initial_[i]) / kLearningRate, 2);
  EXPECT_NEAR(std::sqrt(squared), 0.5, 1e-4);
}

TEST_F(StepLoopTest, NonFiniteLossEndsTheJobOrIsCountedByPolicy) {
  v1::JobSpec spec = TestSpec(v1::SYNC_MODE_SYNC, 4, 2);
  StartService(spec, 1);
  auto workers = Workers(spec, 1);
  const auto poison = [](const RunKey& key) { return key.step == 2 && key.slot == 1; };
  workers[0]->program.set_poison(poison);
  RunAll(workers);
  EXPECT_THAT(workers[0]->result, StatusIs(absl::StatusCode::kInvalidArgument, "NON_FINITE_LOSS"));
  EXPECT_TRUE(workers[0]->recorder.steps.back().non_finite_loss);
  workers.clear();

  spec.mutable_optimizer()->set_non_finite(v1::NON_FINITE_POLICY_SKIP);
  StartService(spec, 1);
  workers = Workers(spec, 1);
  workers[0]->program.set_poison(poison);
  RunAll(workers);
  ASSERT_OK(workers[0]->result);
  EXPECT_TRUE(workers[0]->recorder.steps[2].non_finite_loss);
  EXPECT_FALSE(workers[0]->recorder.steps[1].non_finite_loss);
}

TEST_F(StepLoopTest, StopsWhereAllWorkersAgree) {
  const v1::JobSpec spec = TestSpec(v1::SYNC_MODE_SYNC, 1000, 4);
  StartService(spec, 2);
  auto workers = Workers(spec, 2);
  std::atomic<bool> reached = false;
  workers[0]->program.set_on_pass([&](const RunKey& key) { reached = reached || key.step >= 3; });
  for (auto& worker : workers) worker->Start();
  while (!reached) absl::SleepFor(absl::Milliseconds(1));
  const uint64_t stop = std::max(workers[0]->loop->RequestStop(), workers[1]->loop->RequestStop());
  for (auto& worker : workers) worker->loop->StopAt(stop);
  for (auto& worker : workers) worker->thread.join();
  for (auto& worker : workers) {
    ASSERT_OK(worker->result);
    EXPECT_EQ(worker->result->step, stop);
    EXPECT_TRUE(worker->result->stopped_early);
    EXPECT_TRUE(worker->recorder.evaluations.empty());
    EXPECT_EQ(worker->recorder.progress.back().step(), stop);
  }
  EXPECT_EQ(service_->weights(), Reference(spec, static_cast<uint32_t>(stop)));
}

// A worker goes when some chunks have its slots of a step and others lack them, while the other one computes its own
// slots of that step, or waits for what comes of it.
TEST_F(StepLoopTest, TheOtherTakesOverWhatALostWorkerHasNotDone) {
  constexpr uint64_t kStep = 2;
  const v1::JobSpec spec = TestSpec(v1::SYNC_MODE_SYNC, 6, 7);
  const std::vector<float> expected = Reference(spec, 6);
  const auto chunks = static_cast<uint32_t>(plan_.chunk_count());
  for (uint32_t arrive = 0; arrive < chunks; ++arrive) {
    for (bool waits : {false, true}) {
      StartService(spec, 2);
      service_->SetFault([=](const v1::ParameterRequest& request) {
        const bool lost = request.worker_index() == 1 && request.step() == kStep && request.slot_count() > 0 &&
                          request.chunk() + arrive < chunks;  // The last chunks' gradients come first.
        return lost && request.generation() == 1 ? Fault::kIgnore : Fault::kNone;
      });
      auto workers = Workers(spec, 2);
      std::atomic<uint64_t> step = 0;
      workers[0]->program.set_on_pass([&](const RunKey& key) { step = key.step; });
      for (auto& worker : workers) worker->Start();
      const auto there = [&] {
        for (uint32_t chunk = 0; chunk < chunks; ++chunk) {
          if (service_->version(static_cast<int>(chunk)) < kStep) return false;
        }
        return step >= (waits ? kStep + 1 : kStep);
      };
      while (!there()) absl::SleepFor(absl::Milliseconds(1));
      workers[1]->loop->Cancel(absl::AbortedError("lost"));
      workers[1]->thread.join();
      service_->SetGeneration(2);
      workers[0]->loop->Change({.part = {.worker_index = 0, .workers = 1, .slots = {0, 7}},
                                .step = kStep,
                                .own = {0, 3},
                                .inherited = {{3, 4}}});
      workers[0]->client->ChangeGeneration(2, 0);
      workers[0]->thread.join();
      ASSERT_OK(workers[0]->result) << arrive << waits;
      EXPECT_EQ(service_->weights(), expected) << arrive << waits;
      workers.clear();
    }
  }
}

TEST_F(StepLoopTest, WhoJoinsAfterTheLastStepEndsWithItsWeights) {
  const v1::JobSpec spec = TestSpec(v1::SYNC_MODE_SYNC, 3, 4);
  StartService(spec, 2);
  service_->SetFault(
      [](const v1::ParameterRequest& request) { return request.min_version() > 3 ? Fault::kForeign : Fault::kNone; });
  TestWorker first(spec, plan_, *data_, service_->placement(), 0, 1);
  first.Start();
  first.thread.join();
  ASSERT_OK(first.result);
  TestWorker joiner(spec, plan_, *data_, service_->placement(), 1, 2, /*joining=*/true);
  joiner.loop->Change({.part = {.worker_index = 1, .workers = 2, .slots = {2, 2}}, .step = 3});
  joiner.Start();
  joiner.thread.join();
  ASSERT_OK(joiner.result);
  EXPECT_EQ(joiner.result->step, 3u);
  EXPECT_FALSE(joiner.result->stopped_early);
  EXPECT_EQ(std::vector<float>(joiner.loop->weights().begin(), joiner.loop->weights().end()), Reference(spec, 3));
  EXPECT_TRUE(joiner.recorder.evaluations.empty()) << "the first worker's is of all there is";
}

TEST_F(StepLoopTest, WhoJoinsDoesNotStopBeforeItsFirstStep) {
  const std::vector<SlotRange> none, some = {{0, 1}};
  struct Case {
    v1::SyncMode mode;
    bool joining;
    uint64_t step;
    std::vector<SlotRange> inherited;
    uint64_t expected;
  };
  for (const Case& c : {Case{v1::SYNC_MODE_SYNC, true, 5, none, 6}, Case{v1::SYNC_MODE_SYNC, true, 5, some, 5},
                        Case{v1::SYNC_MODE_SYNC, true, 9, none, 10}, Case{v1::SYNC_MODE_SYNC, true, 10, none, 10},
                        Case{v1::SYNC_MODE_SYNC, false, 5, none, 5}, Case{v1::SYNC_MODE_SSP, true, 5, none, 5}}) {
    const v1::JobSpec spec = TestSpec(c.mode, 10, 4);
    StartService(spec, 2);
    TestWorker worker(spec, plan_, *data_, service_->placement(), 1, 2, c.joining);
    worker.loop->Change({.part = {.worker_index = 1, .workers = 2, .slots = {2, 2}},
                         .step = c.step,
                         .inherited = c.inherited,
                         .first_clock = c.step});
    EXPECT_EQ(worker.loop->RequestStop(), c.expected) << c.mode << " " << c.step;
  }
}

// Asked to stop before it runs, while the other one waits at the boundary: both stop with the same weights.
TEST_F(StepLoopTest, WhoJoinsAndIsStoppedFindsItsWeights) {
  const v1::JobSpec spec = TestSpec(v1::SYNC_MODE_SYNC, 1000, 4);
  StartService(spec, 2);
  TestWorker first(spec, plan_, *data_, service_->placement(), 0, 1);
  const uint64_t boundary = first.loop->RequestStop();
  first.Start();
  TestWorker joiner(spec, plan_, *data_, service_->placement(), 1, 2, /*joining=*/true);
  joiner.loop->Change({.part = {.worker_index = 1, .workers = 2, .slots = {2, 2}}, .step = boundary});
  const uint64_t stop = std::max(boundary, joiner.loop->RequestStop());
  service_->SetFault([stop](const v1::ParameterRequest& request) {
    return request.min_version() > stop ? Fault::kForeign : Fault::kNone;
  });
  for (TestWorker* worker : {&first, &joiner}) {
    worker->loop->StopAt(stop);
    if (worker == &joiner) worker->Start();
    worker->thread.join();
    ASSERT_OK(worker->result);
    EXPECT_EQ(worker->result->step, stop);
  }
  EXPECT_EQ(std::vector<float>(joiner.loop->weights().begin(), joiner.loop->weights().end()), Reference(spec, 1));
}

TEST_F(StepLoopTest, CancelEndsAWorkerThatWaitsForOthers) {
  const v1::JobSpec spec = TestSpec(v1::SYNC_MODE_SYNC, 10, 2);
  StartService(spec, 2);
  auto workers = Workers(spec, 2);  // The second never runs.
  workers[0]->Start();
  while (service_->applied_pushes() < plan_.chunk_count()) absl::SleepFor(absl::Milliseconds(1));
  workers[0]->loop->Cancel(absl::AbortedError("released"));
  workers[0]->thread.join();
  EXPECT_THAT(workers[0]->result, StatusIs(absl::StatusCode::kAborted));
}

TEST_F(StepLoopTest, RefusalOfTheServerIsTheResult) {
  const v1::JobSpec spec = TestSpec(v1::SYNC_MODE_SYNC, 10, 2);
  StartService(spec, 1);
  service_->SetFault(
      [](const v1::ParameterRequest& request) { return request.step() == 2 ? Fault::kForeign : Fault::kNone; });
  auto workers = Workers(spec, 1);
  RunAll(workers);
  EXPECT_THAT(workers[0]->result, StatusIs(absl::StatusCode::kFailedPrecondition, "INCARNATION_FENCED"));
}

}  // namespace
}  // namespace paramd
