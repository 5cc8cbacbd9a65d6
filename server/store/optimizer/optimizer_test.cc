#include "server/store/optimizer/optimizer.h"

#include <cmath>
#include <cstring>
#include <fstream>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_matchers.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace paramd {
namespace {

const char* Bytes(const std::vector<float>& values) { return reinterpret_cast<const char*>(values.data()); }

v1::OptimizerSpec SpecOf(const nlohmann::json& golden) {
  const std::string name = golden["name"];
  v1::OptimizerSpec spec;
  v1::OptimizerType type = v1::OPTIMIZER_TYPE_UNSPECIFIED;
  const std::string kind = absl::StartsWith(name, "rmsprop") ? "rmsprop"
                           : absl::StartsWith(name, "adam_") ? "adam"
                                                             : name;
  for (int value = v1::OptimizerType_MIN; value <= v1::OptimizerType_MAX; ++value) {
    if (OptimizerName(static_cast<v1::OptimizerType>(value)) == kind) type = static_cast<v1::OptimizerType>(value);
  }
  spec.set_type(type);
  spec.set_momentum(golden.value("momentum", 0.0));
  spec.set_beta1(golden.value("beta1", 0.0));
  spec.set_beta2(golden.value("beta2", 0.0));
  spec.set_epsilon(golden.value("epsilon", 0.0));
  spec.set_rho(golden.value("rho", 0.0));
  return spec;
}

// Runs a golden case; `copies` repeats each element so that vector bodies and tails are both reached.
void RunGolden(const nlohmann::json& golden, int copies) {
  ASSERT_OK_AND_ASSIGN(const auto optimizer, CreateOptimizer(SpecOf(golden)));
  const std::vector<float> initial = golden["initial"];
  const size_t base = initial.size(), size = base * copies;
  std::vector<float> weights(size), gradient(size);
  for (size_t i = 0; i < size; ++i) weights[i] = initial[i % base];
  std::vector<float> state(size * optimizer->state_count(), 0.0f);
  uint64_t update = 0;
  for (const nlohmann::json& step : golden["steps"]) {
    const std::vector<float> golden_gradient = step["gradient"], expected = step["weights"];
    for (size_t i = 0; i < size; ++i) gradient[i] = 4 * golden_gradient[i % base];
    std::vector<float> next(size);
    optimizer->Update({.gradient = gradient,
                       .average = 0.25f,
                       .weights = weights,
                       .new_weights = absl::MakeSpan(next),
                       .state = state.data(),
                       .state_stride = static_cast<int64_t>(size),
                       .learning_rate = step["rate"],
                       .weight_decay = golden["weight_decay"],
                       .update = ++update});
    weights = std::move(next);
    for (size_t i = 0; i < size; ++i) {
      // PyTorch may use fused multiply-add: a few units in the last place per step.
      ASSERT_NEAR(weights[i], expected[i % base], 2e-6 * std::max(1.0f, std::fabs(expected[i % base])))
          << "element " << i << " update " << update;
    }
  }
}

TEST(OptimizerTest, AgreesWithPyTorch) {
  std::ifstream file("server/store/optimizer/testdata/goldens.json");
  const nlohmann::json goldens = nlohmann::json::parse(file);
  ASSERT_EQ(goldens.size(), 18u);
  for (const nlohmann::json& golden : goldens) {
    SCOPED_TRACE(absl::StrCat(golden["name"].get<std::string>(), " decay ", golden["weight_decay"].get<double>()));
    ASSERT_EQ(golden["steps"].size(), 10u);
    RunGolden(golden, 1);
    RunGolden(golden, 13);
  }
}

std::vector<v1::OptimizerSpec> AllSpecs() {
  std::vector<v1::OptimizerSpec> specs;
  for (int type = v1::OPTIMIZER_TYPE_SGD; type <= v1::OptimizerType_MAX; ++type) {
    v1::OptimizerSpec spec;
    spec.set_type(static_cast<v1::OptimizerType>(type));
    spec.set_momentum(0.9);
    spec.set_beta1(0.9);
    spec.set_beta2(0.999);
    spec.set_epsilon(1e-8);
    spec.set_rho(0.99);
    specs.push_back(spec);
  }
  return specs;
}

std::vector<float> Random(size_t size, uint64_t seed) {
  std::mt19937_64 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(size);
  for (float& value : values) value = normal(generator);
  return values;
}

struct Trained {
  std::vector<float> weights, state;
};

struct TrainOptions {
  Isa isa = DetectIsa();
  size_t segment = 1023;
  bool in_place = false;
  size_t shift = 0;  // Of the gradient's bytes off their alignment.
};

// Five updates of 1023 elements in segments.
Trained Train(const Optimizer& optimizer, const TrainOptions& options) {
  constexpr size_t kSize = 1023;
  Trained trained{.weights = Random(kSize, 1), .state = std::vector<float>(kSize * optimizer.state_count())};
  for (uint64_t update = 1; update <= 5; ++update) {
    const std::vector<float> gradient = Random(kSize, update + 10);
    const std::string bytes = std::string(options.shift, 'x') + std::string(Bytes(gradient), kSize * sizeof(float));
    std::vector<float> next = trained.weights;
    const UpdateStep step =
        optimizer.Prepare({.learning_rate = 0.01, .weight_decay = 0.1, .update = update}, options.isa);
    for (size_t begin = 0; begin < kSize; begin += options.segment) {
      step.Run({.gradient = bytes.data() + options.shift + begin * sizeof(float),
                .average = 1.0f / 3,
                .clip = 0.7f,
                .weights = (options.in_place ? next : trained.weights).data() + begin,
                .new_weights = next.data() + begin,
                .state = trained.state.data() + begin,
                .state_stride = kSize,
                .size = static_cast<int64_t>(std::min(options.segment, kSize - begin))});
    }
    trained.weights = next;
  }
  return trained;
}

// Segments of one element never reach the vector body: equal bits mean that vector width does not matter.
TEST(OptimizerTest, BitsDoNotDependOnVectorWidthAlignmentOrUpdatingInPlace) {
  for (const v1::OptimizerSpec& spec : AllSpecs()) {
    ASSERT_OK_AND_ASSIGN(const auto optimizer, CreateOptimizer(spec));
    const Trained expected = Train(*optimizer, {.isa = Isa::kPortable, .segment = 1});
    for (Isa isa : {Isa::kPortable, Isa::kAvx2, Isa::kAvx512}) {
      if (isa > DetectIsa()) continue;
      for (const TrainOptions& options : {TrainOptions{.isa = isa}, TrainOptions{.isa = isa, .segment = 1},
                                          TrainOptions{.isa = isa, .segment = 7}, TrainOptions{.isa = isa, .shift = 1},
                                          TrainOptions{.isa = isa, .segment = 64, .in_place = true, .shift = 2}}) {
        const Trained other = Train(*optimizer, options);
        SCOPED_TRACE(absl::StrCat(OptimizerName(spec.type()), " ", std::string(IsaName(isa)), " in segments of ",
                                  options.segment, ", shift ", options.shift));
        EXPECT_EQ(std::memcmp(expected.weights.data(), other.weights.data(), 1023 * sizeof(float)), 0);
        EXPECT_EQ(expected.state, other.state);
      }
    }
  }
}

TEST(OptimizerTest, ZeroLearningRateFreezes) {
  for (const v1::OptimizerSpec& spec : AllSpecs()) {
    ASSERT_OK_AND_ASSIGN(const auto optimizer, CreateOptimizer(spec));
    const std::vector<float> weights = Random(40, 1), gradient = Random(40, 2);
    std::vector<float> next(40), state(40 * optimizer->state_count());
    optimizer->Update({.gradient = gradient,
                       .weights = weights,
                       .new_weights = absl::MakeSpan(next),
                       .state = state.data(),
                       .state_stride = 40,
                       .learning_rate = 0,
                       .weight_decay = 0.1});
    EXPECT_EQ(next, weights) << OptimizerName(spec.type());
  }
}

TEST(OptimizerTest, StateNames) {
  const std::vector<size_t> counts = {0, 1, 1, 1, 2, 2, 2};
  const std::vector<v1::OptimizerSpec> specs = AllSpecs();
  for (size_t i = 0; i < specs.size(); ++i) {
    ASSERT_OK_AND_ASSIGN(const auto optimizer, CreateOptimizer(specs[i]));
    EXPECT_EQ(optimizer->state_names().size(), counts[i]) << OptimizerName(specs[i].type());
  }
}

TEST(OptimizerTest, RefusesBadCoefficients) {
  const auto refused = [](auto change) {
    v1::OptimizerSpec spec;
    spec.set_type(v1::OPTIMIZER_TYPE_ADAM);
    spec.set_epsilon(1e-8);
    change(spec);
    EXPECT_THAT(CreateOptimizer(spec).status(), StatusIs(absl::StatusCode::kInvalidArgument, "INVALID_SPEC"))
        << spec.ShortDebugString();
  };
  refused([](v1::OptimizerSpec& spec) { spec.set_type(v1::OPTIMIZER_TYPE_UNSPECIFIED); });
  refused([](v1::OptimizerSpec& spec) { spec.set_type(static_cast<v1::OptimizerType>(99)); });
  refused([](v1::OptimizerSpec& spec) { spec.set_beta1(1); });
  refused([](v1::OptimizerSpec& spec) { spec.set_beta2(-0.1); });
  refused([](v1::OptimizerSpec& spec) { spec.set_rho(1.5); });
  refused([](v1::OptimizerSpec& spec) { spec.set_momentum(std::nan("")); });
  refused([](v1::OptimizerSpec& spec) { spec.set_epsilon(0); });
}

}  // namespace
}  // namespace paramd
