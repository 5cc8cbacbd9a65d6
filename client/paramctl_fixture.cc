#include "client/paramctl_fixture.h"

#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "client/environment.h"
#include "client/paramctl.h"
#include "common/base/clock.h"

namespace paramd {

ParamctlFixture::Outcome ParamctlFixture::Run(std::vector<std::string> arguments, const std::string& input) {
  if (default_coordinator_) arguments.insert(arguments.begin(), absl::StrCat("--coordinator=", cluster_.address()));
  std::istringstream in(input);
  std::ostringstream out;
  std::ostringstream err;
  RealClock clock;
  Environment environment{.in = in, .out = out, .err = err, .clock = clock, .interrupt = interrupt_};
  environment.variable = [this](const std::string& name) { return variables_[name]; };
  environment.reconnect_for = absl::Seconds(3);
  environment.terminal = terminal_;
  const int code = RunParamctl(arguments, environment);
  return {code, out.str(), err.str()};
}

std::string ParamctlFixture::WriteFile(const std::string& name, const std::string& text) {
  const std::string path = absl::StrCat(::testing::TempDir(), "/", name);
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path) << text;
  return path;
}

v1::Job ParamctlFixture::MakeJob(const std::string& id, v1::JobState state, uint64_t step) {
  v1::Job job;
  job.set_job_id(id);
  job.set_state(state);
  job.mutable_progress()->set_step(step);
  job.mutable_progress()->set_total_steps(10);
  job.mutable_progress()->set_loss(1.5);
  return job;
}

}  // namespace paramd
