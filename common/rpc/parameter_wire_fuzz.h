// The properties that every input must have, checked against the generated code; driven by a test with mutated messages
// and by libFuzzer (bazel build --config=fuzz //common/rpc:parameter_wire_fuzzer).
//
// Tests only. Thread safe.
#ifndef PARAMD_COMMON_RPC_PARAMETER_WIRE_FUZZ_H_
#define PARAMD_COMMON_RPC_PARAMETER_WIRE_FUZZ_H_

#include <string>

#include "absl/strings/string_view.h"

namespace paramd {

// Decodes `input` and returns what is wrong with the outcome, or "". The lowest bit of the first byte chooses request
// (0) or response, the next five how many bytes follow that are the sizes of slices; the rest is the message.
std::string FindWireFault(absl::string_view input);

// The input that FindWireFault takes to the message in slices of these sizes (at most 31, below 256 each).
std::string WireInput(bool response, absl::string_view slice_sizes, absl::string_view message);

}  // namespace paramd

#endif  // PARAMD_COMMON_RPC_PARAMETER_WIRE_FUZZ_H_
