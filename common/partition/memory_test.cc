#include "common/partition/memory.h"

#include "gtest/gtest.h"

namespace paramd {
namespace {

TEST(MemoryTest, PerOptimizer) {
  const struct {
    v1::OptimizerType type;
    int states;
  } kCases[] = {
      {v1::OPTIMIZER_TYPE_UNSPECIFIED, 2}, {v1::OPTIMIZER_TYPE_SGD, 0},     {v1::OPTIMIZER_TYPE_MOMENTUM, 1},
      {v1::OPTIMIZER_TYPE_NESTEROV, 1},    {v1::OPTIMIZER_TYPE_ADAGRAD, 1}, {v1::OPTIMIZER_TYPE_RMSPROP, 2},
      {v1::OPTIMIZER_TYPE_ADAM, 2},        {v1::OPTIMIZER_TYPE_ADAMW, 2},
  };
  for (const auto& c : kCases) {
    EXPECT_EQ(OptimizerStateCount(c.type), c.states) << v1::OptimizerType_Name(c.type);
    EXPECT_EQ(ServerBytesPerElement(c.type), 20 + 4 * c.states) << v1::OptimizerType_Name(c.type);
  }
}

}  // namespace
}  // namespace paramd
