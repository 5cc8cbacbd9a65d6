// A program together with the device it runs on, and how the worker comes by one.
#ifndef PARAMD_WORKER_MODEL_COMPILER_H_
#define PARAMD_WORKER_MODEL_COMPILER_H_

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "common/partition/arena_plan.h"
#include "proto/job.pb.h"
#include "worker/device/device.h"
#include "worker/models/model_program.h"

namespace paramd {

struct CompiledModel {
  std::unique_ptr<Device> device;  // Outlives the program; may be null in tests.
  std::unique_ptr<ModelProgram> program;
};

// Compiles a model laid out by `plan` for batches of `batch_size` examples. Thread safe.
using ModelCompiler =
    std::function<absl::StatusOr<CompiledModel>(const v1::ModelSpec& model, const ArenaPlan& plan, int64_t batch_size)>;

}  // namespace paramd

#endif  // PARAMD_WORKER_MODEL_COMPILER_H_
