// A static graph: values and the ops between them, in the order in which they run forward.
//
//   Graph graph(/*parameters=*/plan.parameters().size());
//   ValueId x = graph.AddInput(784);
//   ValueId y = graph.AddValue(10);
//   graph.AddOp(MakeLinear({.input = x, .output = y, ...}));
//   RETURN_IF_ERROR(graph.Check());
//
// Not thread safe while it is built. Holds no tensors: program.h plans and runs it.
#ifndef PARAMD_WORKER_GRAPH_GRAPH_H_
#define PARAMD_WORKER_GRAPH_GRAPH_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "worker/graph/op.h"

namespace paramd {

struct GraphValue {
  int64_t width = 0;
  bool input = false;  // RunInputs.features: never written, no gradient.
};

class Graph {
 public:
  explicit Graph(int parameters) : parameters_(parameters) {}

  // The features of the batch. At most one.
  ValueId AddInput(int64_t width);
  // An activation, written by exactly one op.
  ValueId AddValue(int64_t width);
  void AddOp(std::unique_ptr<Op> op) { ops_.push_back(std::move(op)); }

  int parameters() const { return parameters_; }
  const std::vector<GraphValue>& values() const { return values_; }
  const std::vector<std::unique_ptr<Op>>& ops() const { return ops_; }

  // kInternal, naming op and rule: a value is read before it is written, written twice, never written or never read; an
  // id is out of range or named twice by one op; a parameter is used by no op.
  absl::Status Check() const;

 private:
  int parameters_;
  std::vector<GraphValue> values_;
  std::vector<std::unique_ptr<Op>> ops_;
};

}  // namespace paramd

#endif  // PARAMD_WORKER_GRAPH_GRAPH_H_
