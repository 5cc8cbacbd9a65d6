#include "worker/graph/program_memory.h"

#include <algorithm>

#include "worker/graph/memory_plan.h"

namespace paramd {
namespace {

// Collects tensors; several names may share one tensor (in-place gradients).
class TensorTable {
 public:
  int Add(int64_t elements) {
    tensors_.push_back({.elements = elements, .first_step = 1 << 30, .last_step = -1});
    return static_cast<int>(tensors_.size()) - 1;
  }
  void Use(int tensor, int step) {
    tensors_[tensor].first_step = std::min(tensors_[tensor].first_step, step);
    tensors_[tensor].last_step = std::max(tensors_[tensor].last_step, step);
  }
  int last_step(int tensor) const { return tensors_[tensor].last_step; }
  MemoryPlan Plan() const { return PlanMemory(tensors_); }

 private:
  std::vector<TensorLifetime> tensors_;
};

class Planner {
 public:
  Planner(const Graph& graph, int64_t rows) : graph_(graph), rows_(rows) {
    const int values = static_cast<int>(graph.values().size());
    values_.assign(values, -1);
    gradients_.assign(values, -1);
  }

  ProgramMemory Plan() {
    const int n = static_cast<int>(graph_.ops().size());
    for (int i = 0; i < n; ++i) AddForward(i);
    for (int i = n - 1; i >= 0; --i) AddBackward(i);
    return Resolve(table_.Plan());
  }

 private:
  int64_t ElementsOf(ValueId id) const { return graph_.values()[id].width * rows_; }
  int BackwardStep(int op) const { return 2 * static_cast<int>(graph_.ops().size()) - 1 - op; }

  void AddForward(int i) {
    const OpSignature& s = graph_.ops()[i]->signature();
    OpIds ids;
    for (ValueId id : s.outputs) values_[id] = table_.Add(ElementsOf(id));
    for (ValueId id : s.inputs) UseValue(id, i);
    for (ValueId id : s.outputs) UseValue(id, i);
    for (ValueId id : s.kept) UseValue(id, BackwardStep(i));
    for (int64_t elements : s.stash_row_elements) {
      ids.stashes.push_back(table_.Add(elements * rows_));
      table_.Use(ids.stashes.back(), i);
      table_.Use(ids.stashes.back(), BackwardStep(i));
    }
    ids.forward_scratch = AddScratch(s.forward_scratch_elements, i);
    ids.backward_scratch = AddScratch(s.backward_scratch_elements, BackwardStep(i));
    ops_.push_back(ids);
  }

  // Ops come in backward order, so the first op that names a value's gradient is its first writer.
  void AddBackward(int i) {
    const OpSignature& s = graph_.ops()[i]->signature();
    const int step = BackwardStep(i);
    for (ValueId id : s.outputs) table_.Use(gradients_[id], step);
    for (ValueId id : s.inputs) {
      if (graph_.values()[id].input) continue;
      if (gradients_[id] < 0) gradients_[id] = NewGradient(s, id, step);
      table_.Use(gradients_[id], step);
    }
  }

  int NewGradient(const OpSignature& s, ValueId id, int step) {
    if (id == s.inputs[0] && s.in_place == InPlaceGradient::kOverOutputGradient) return gradients_[s.outputs[0]];
    if (id == s.inputs[0] && s.in_place == InPlaceGradient::kOverInput && table_.last_step(values_[id]) <= step) {
      return values_[id];
    }
    return table_.Add(ElementsOf(id));
  }

  void UseValue(ValueId id, int step) {
    if (values_[id] >= 0) table_.Use(values_[id], step);
  }

  int AddScratch(int64_t elements, int step) {
    if (elements == 0) return -1;
    const int tensor = table_.Add(elements);
    table_.Use(tensor, step);
    return tensor;
  }

  ProgramMemory Resolve(const MemoryPlan& plan) const {
    const auto offset = [&](int tensor) { return tensor < 0 ? -1 : plan.offsets[tensor]; };
    ProgramMemory memory;
    memory.elements = plan.elements;
    for (int tensor : values_) memory.values.push_back(offset(tensor));
    for (int tensor : gradients_) memory.gradients.push_back(offset(tensor));
    for (const OpIds& ids : ops_) {
      ProgramMemory::OpTensors& op = memory.ops.emplace_back();
      for (int tensor : ids.stashes) op.stashes.push_back(offset(tensor));
      op.forward_scratch = offset(ids.forward_scratch);
      op.backward_scratch = offset(ids.backward_scratch);
    }
    return memory;
  }

  struct OpIds {
    std::vector<int> stashes;
    int forward_scratch = -1;
    int backward_scratch = -1;
  };

  const Graph& graph_;
  const int64_t rows_;
  TensorTable table_;
  std::vector<int> values_;     // Tensor of each value, -1 for inputs.
  std::vector<int> gradients_;  // Tensor of each value's gradient, -1 where not wanted.
  std::vector<OpIds> ops_;
};

}  // namespace

ProgramMemory PlanProgramMemory(const Graph& graph, int64_t rows) { return Planner(graph, rows).Plan(); }

}  // namespace paramd
