#include "worker/graph/program.h"

#include <algorithm>
#include <utility>

#include "common/base/status_macros.h"
#include "worker/graph/program_memory.h"

namespace paramd {
namespace {

bool Contains(const std::vector<int>& ids, int id) { return std::find(ids.begin(), ids.end(), id) != ids.end(); }

float* At(float* block, int64_t offset) { return offset < 0 ? nullptr : block + offset; }

absl::Status NothingToWaitFor(int) { return absl::OkStatus(); }

}  // namespace

class Program::Context final : public OpContext {
 public:
  Context(Program& program, const RunInputs& inputs, absl::Span<const float> weights)
      : program_(program), inputs_(inputs), weights_(weights) {}

  void Train(const RandomKey& key, absl::Span<float> gradients, const ParameterCallback& gradient_final) {
    training_ = true;
    key_ = key;
    gradients_ = gradients;
    gradient_final_ = &gradient_final;
  }
  // The op that runs next, and its scratch.
  void Enter(int op, bool backward) {
    op_ = op;
    backward_ = backward;
  }

  Device& device() override { return program_.device_; }
  const RunInputs& inputs() const override { return inputs_; }
  bool training() const override { return training_; }
  RandomKey random_key() const override {
    RandomKey key = key_;
    key.op = op_;
    return key;
  }
  float* value(ValueId id) override {
    // Features are read only: no op has them as output.
    if (program_.graph_.values()[id].input) return const_cast<float*>(inputs_.features);
    return program_.values_[id];
  }
  float* gradient(ValueId id) override { return program_.gradients_[id]; }
  bool accumulate(ValueId id) const override { return Contains(plan().accumulated, id); }
  const float* weight(int parameter) override { return weights_.data() + program_.parameters_[parameter].begin; }
  float* weight_gradient(int parameter) override { return gradients_.data() + program_.parameters_[parameter].begin; }
  bool accumulate_weight(int parameter) const override { return Contains(plan().accumulated_weights, parameter); }
  absl::Status WeightGradientWritten(int parameter) override {
    return Contains(plan().first_uses, parameter) ? (*gradient_final_)(parameter) : absl::OkStatus();
  }
  float* stash(int index) override { return plan().stashes[index]; }
  float* scratch() override { return backward_ ? plan().backward_scratch : plan().forward_scratch; }
  CrossEntropySums& sums() override { return sums_; }

 private:
  const OpPlan& plan() const { return program_.ops_[op_]; }

  Program& program_;
  const RunInputs& inputs_;
  absl::Span<const float> weights_;
  absl::Span<float> gradients_;
  const ParameterCallback* gradient_final_ = nullptr;
  RandomKey key_;
  CrossEntropySums sums_;
  int op_ = 0;
  bool backward_ = false;
  bool training_ = false;
};

Program::Program(Device& device, Graph graph, const ArenaPlan& plan) : device_(device), graph_(std::move(graph)) {
  int64_t end = 0;
  for (int i = 0; i < static_cast<int>(plan.parameters().size()); ++i) {
    parameters_.push_back(plan.ParameterRange(i));
    if (parameters_.back().begin > end) padding_.push_back({end, parameters_.back().begin});
    end = parameters_.back().end;
  }
  if (end < plan.arena_elements()) padding_.push_back({end, plan.arena_elements()});
}

absl::StatusOr<std::unique_ptr<Program>> Program::Create(Device& device, Graph graph, const ArenaPlan& plan,
                                                         const ProgramOptions& options) {
  RETURN_IF_ERROR(graph.Check());
  if (graph.parameters() != static_cast<int>(plan.parameters().size())) {
    return absl::InternalError("graph: built for another arena plan");
  }
  std::unique_ptr<Program> program(new Program(device, std::move(graph), plan));
  program->PlanBackward();
  RETURN_IF_ERROR(program->PlaceTensors(options));
  return program;
}

void Program::PlanBackward() {
  ops_.resize(graph_.ops().size());
  std::vector<bool> written(graph_.values().size(), false), weight_written(graph_.parameters(), false);
  for (size_t i = ops_.size(); i-- > 0;) {
    const OpSignature& s = graph_.ops()[i]->signature();
    for (ValueId id : s.inputs) {
      if (written[id]) ops_[i].accumulated.push_back(id);
      written[id] = true;
    }
    for (int parameter : s.parameters) {
      if (weight_written[parameter]) ops_[i].accumulated_weights.push_back(parameter);
      weight_written[parameter] = true;
    }
  }
  std::vector<bool> used(graph_.parameters(), false);
  for (size_t i = 0; i < ops_.size(); ++i) {
    for (int parameter : graph_.ops()[i]->signature().parameters) {
      if (!used[parameter]) ops_[i].first_uses.push_back(parameter);
      used[parameter] = true;
    }
  }
}

absl::Status Program::PlaceTensors(const ProgramOptions& options) {
  const ProgramMemory memory = PlanProgramMemory(graph_, options.max_examples * options.max_sequence);
  ASSIGN_OR_RETURN(memory_, device_.Allocate(memory.elements));
  float* block = memory_->data();
  for (int64_t offset : memory.values) values_.push_back(At(block, offset));
  for (int64_t offset : memory.gradients) gradients_.push_back(At(block, offset));
  for (size_t i = 0; i < ops_.size(); ++i) {
    for (int64_t offset : memory.ops[i].stashes) ops_[i].stashes.push_back(At(block, offset));
    ops_[i].forward_scratch = At(block, memory.ops[i].forward_scratch);
    ops_[i].backward_scratch = At(block, memory.ops[i].backward_scratch);
  }
  return absl::OkStatus();
}

absl::Status Program::RunForward(Context& context, int ops, ParameterCallback before_use) {
  for (int i = 0; i < ops; ++i) {
    for (int parameter : ops_[i].first_uses) RETURN_IF_ERROR(before_use(parameter));
    context.Enter(i, /*backward=*/false);
    RETURN_IF_ERROR(graph_.ops()[i]->Forward(context));
  }
  return absl::OkStatus();
}

absl::Status Program::RunBackward(Context& context) {
  for (int i = static_cast<int>(ops_.size()) - 1; i >= 0; --i) {
    context.Enter(i, /*backward=*/true);
    RETURN_IF_ERROR(graph_.ops()[i]->Backward(context));
  }
  return absl::OkStatus();
}

absl::StatusOr<CrossEntropySums> Program::ForwardBackward(const RunInputs& inputs, const RandomKey& key,
                                                          absl::Span<const float> weights, absl::Span<float> gradients,
                                                          ParameterCallback before_use,
                                                          ParameterCallback gradient_final) {
  Context context(*this, inputs, weights);
  context.Train(key, gradients, gradient_final);
  for (const ElementRange& range : padding_) {
    RETURN_IF_ERROR(device_.Fill(gradients.data() + range.begin, range.size(), 0));
  }
  RETURN_IF_ERROR(RunForward(context, static_cast<int>(ops_.size()), before_use));
  RETURN_IF_ERROR(RunBackward(context));
  return context.sums();
}

absl::StatusOr<CrossEntropySums> Program::Forward(const RunInputs& inputs, absl::Span<const float> weights) {
  Context context(*this, inputs, weights);
  RETURN_IF_ERROR(RunForward(context, static_cast<int>(ops_.size()), NothingToWaitFor));
  return context.sums();
}

absl::StatusOr<const float*> Program::ForwardTo(ValueId value, const RunInputs& inputs,
                                                absl::Span<const float> weights) {
  Context context(*this, inputs, weights);
  for (size_t i = 0; i < ops_.size(); ++i) {
    if (!Contains(graph_.ops()[i]->signature().outputs, value)) continue;
    RETURN_IF_ERROR(RunForward(context, static_cast<int>(i) + 1, NothingToWaitFor));
    return values_[value];
  }
  return absl::InternalError("graph: no op writes the value");
}

}  // namespace paramd
