#include "worker/graph/graph.h"

#include <utility>

#include "common/base/status_matchers.h"
#include "gtest/gtest.h"
#include "worker/graph/program_memory.h"

namespace paramd {
namespace {

class FakeOp final : public Op {
 public:
  explicit FakeOp(OpSignature signature) : signature_(std::move(signature)) {}
  absl::string_view name() const override { return "fake"; }
  const OpSignature& signature() const override { return signature_; }
  absl::Status Forward(OpContext&) const override { return absl::OkStatus(); }
  absl::Status Backward(OpContext&) const override { return absl::OkStatus(); }

 private:
  OpSignature signature_;
};

void Add(Graph& graph, OpSignature signature) { graph.AddOp(std::make_unique<FakeOp>(std::move(signature))); }

// An input, one value, and an op between them that uses the only parameter; then the op under test.
absl::Status CheckWith(OpSignature last) {
  Graph graph(1);
  graph.AddInput(4);
  graph.AddValue(4);
  Add(graph, {.inputs = {0}, .outputs = {1}, .parameters = {0}});
  Add(graph, std::move(last));
  return graph.Check();
}

TEST(GraphTest, AcceptsAChain) { EXPECT_OK(CheckWith({.inputs = {1}, .kept = {1}})); }

TEST(GraphTest, RefusesBrokenGraphs) {
  const OpSignature broken[] = {
      {.inputs = {}},                      // Value 1 is never read.
      {.inputs = {1, 1}},                  // Twice.
      {.inputs = {1, 2}},                  // No such value.
      {.inputs = {1, -1}},                 //
      {.inputs = {1}, .outputs = {0}},     // Writes the input.
      {.inputs = {0}, .outputs = {1}},     // Writes a value again.
      {.inputs = {1}, .parameters = {1}},  // No such parameter.
      {.inputs = {1}, .kept = {0}},        // Keeps what is not its own.
  };
  for (const OpSignature& signature : broken) EXPECT_EQ(CheckWith(signature).code(), absl::StatusCode::kInternal);
}

TEST(GraphTest, RefusesUnusedParametersAndEarlyReads) {
  Graph unused(1);
  unused.AddInput(4);
  Add(unused, {.inputs = {0}});
  EXPECT_EQ(unused.Check().code(), absl::StatusCode::kInternal);
  Graph early(0);
  early.AddValue(4);
  Add(early, {.inputs = {0}});
  EXPECT_EQ(early.Check().code(), absl::StatusCode::kInternal);
}

TEST(ProgramMemoryTest, GradientsShareMemoryWhereTheOpAllows) {
  for (InPlaceGradient in_place : {InPlaceGradient::kNo, InPlaceGradient::kOverOutputGradient}) {
    Graph graph(0);
    graph.AddInput(4);
    for (int i = 0; i < 2; ++i) graph.AddValue(4);
    Add(graph, {.inputs = {0}, .outputs = {1}});
    Add(graph, {.inputs = {1}, .outputs = {2}, .in_place = in_place});
    Add(graph, {.inputs = {2}});
    const ProgramMemory memory = PlanProgramMemory(graph, 16);
    EXPECT_EQ(memory.values[0], -1);
    EXPECT_EQ(memory.gradients[0], -1);
    EXPECT_EQ(memory.gradients[1] == memory.gradients[2], in_place != InPlaceGradient::kNo);
  }
}

TEST(ProgramMemoryTest, AKeptValueIsNotOverwrittenBeforeItsLastBackwardUse) {
  // Value 1 is kept by ops 0 and 1, so op 1 must not put its gradient over it.
  Graph graph(0);
  graph.AddInput(4);
  graph.AddValue(4);
  Add(graph, {.inputs = {0}, .outputs = {1}, .kept = {1}});
  Add(graph, {.inputs = {1}, .kept = {1}, .in_place = InPlaceGradient::kOverInput});
  const ProgramMemory memory = PlanProgramMemory(graph, 16);
  EXPECT_NE(memory.values[1], memory.gradients[1]);
  EXPECT_EQ(memory.elements, 2 * 4 * 16);
}

TEST(ProgramMemoryTest, StashesLiveThroughAndScratchDoesNot) {
  Graph graph(0);
  graph.AddInput(4);
  graph.AddValue(1);
  Add(graph, {.inputs = {0},
              .outputs = {1},
              .stash_row_elements = {2},
              .forward_scratch_elements = 160,
              .backward_scratch_elements = 160});
  Add(graph, {.inputs = {1}, .forward_scratch_elements = 160});
  const ProgramMemory memory = PlanProgramMemory(graph, 16);
  EXPECT_EQ(memory.ops[0].forward_scratch, memory.ops[1].forward_scratch);
  EXPECT_GE(memory.ops[0].stashes[0], 160);
  EXPECT_EQ(memory.ops[1].backward_scratch, -1);
  EXPECT_EQ(memory.elements, 160 + 32 + 16);
}

}  // namespace
}  // namespace paramd
