// Command lines of paramctl run in this process, against a fake cluster.
//
//   class MyTest : public ParamctlFixture {};
//
//   TEST_F(MyTest, GetsAJob) {
//     cluster_.SetJob(MakeJob("a-1", v1::JOB_STATE_RUNNING));
//     EXPECT_EQ(Run({"get", "a-1"}).code, kExitOk);
//   }
//
// One thread runs command lines; another may raise interrupt_ meanwhile. Tests only.
#ifndef PARAMD_CLIENT_PARAMCTL_FIXTURE_H_
#define PARAMD_CLIENT_PARAMCTL_FIXTURE_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "client/fake_cluster.h"
#include "client/interrupt.h"
#include "gtest/gtest.h"

namespace paramd {

class ParamctlFixture : public ::testing::Test {
 protected:
  struct Outcome {
    int code = -1;
    std::string out;
    std::string err;
  };

  // A valid specification, of the job "tiny".
  static constexpr char kSpec[] =
      "name: tiny\n"
      "model: {mlp: {widths: [4, 3, 2]}}\n"
      "data: {idx: {train_images: a.gz, train_labels: b.gz}}\n"
      "training: {steps: 10}\n"
      "optimizer: {learning_rate: 0.1}\n";

  // Runs against the fake cluster unless default_coordinator_ is off.
  Outcome Run(std::vector<std::string> arguments, const std::string& input = "");
  // A file below the test's directory; returns its path.
  static std::string WriteFile(const std::string& name, const std::string& text);
  // At `step` of 10.
  static v1::Job MakeJob(const std::string& id, v1::JobState state, uint64_t step = 0);

  FakeCluster cluster_;
  ManualInterrupt interrupt_;
  std::map<std::string, std::string> variables_;  // The environment's.
  bool default_coordinator_ = true;
  bool terminal_ = false;  // Whether the output is one.
};

}  // namespace paramd

#endif  // PARAMD_CLIENT_PARAMCTL_FIXTURE_H_
