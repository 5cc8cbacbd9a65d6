#include "common/config/daemon_main.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace paramd {
namespace {

enum class Fruit { kApple, kPear };

struct TestOptions {
  std::string listen = "0.0.0.0:1", advertise, metrics_listen, node_id, log_level = "info", port_file;
  TlsOptions tls;
  absl::Duration wait = absl::Seconds(1);
  bool lamp = true;
  int64_t size = 0;
  Fruit fruit = Fruit::kApple;
  int runs = 0;
};

int RunWith(TestOptions& options, const std::vector<std::string>& flags, const absl::Status& valid = absl::OkStatus(),
            const absl::Status& result = absl::OkStatus()) {
  std::vector<std::string> words = {"paramd-test"};
  words.insert(words.end(), flags.begin(), flags.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  return RunDaemon({.name = "paramd-test",
                    .description = "A test.",
                    .add_flags =
                        [&options](CLI::App& app) {
                          AddDaemonFlags(app, options);
                          AddDurationFlag(app, "--wait", options.wait, "time");
                          AddSwitchFlag(app, "--lamp", options.lamp, "light");
                          AddBytesFlag(app, "--size", options.size, "room");
                          AddChoiceFlag<Fruit>(app, "--fruit", options.fruit,
                                               {{"apple", Fruit::kApple}, {"pear", Fruit::kPear}}, "food");
                        },
                    .validate = [&] { return valid; },
                    .log_level = options.log_level,
                    .run =
                        [&] {
                          ++options.runs;
                          return result;
                        }},
                   static_cast<int>(words.size()), argv.data());
}

TEST(DaemonMainTest, FillsTheOptions) {
  TestOptions options;
  EXPECT_EQ(RunWith(options, {"--listen",  "a:2",       "--advertise=b:3",
                              "--node-id", "n",         "--tls-cert",
                              "c",         "--tls-key", "k",
                              "--tls-ca",  "a",         "--tls-server-name",
                              "s",         "--wait",    "90s",
                              "--lamp",    "off",       "--size",
                              "2MiB",      "--fruit",   "pear"}),
            0);
  EXPECT_EQ(options.listen, "a:2");
  EXPECT_EQ(options.advertise, "b:3");
  EXPECT_EQ(options.node_id, "n");
  EXPECT_EQ(options.tls.cert + options.tls.key + options.tls.ca + options.tls.server_name, "ckas");
  EXPECT_EQ(options.wait, absl::Seconds(90));
  EXPECT_FALSE(options.lamp);
  EXPECT_EQ(options.size, 2 << 20);
  EXPECT_EQ(options.fruit, Fruit::kPear);
  EXPECT_EQ(options.runs, 1);
}

TEST(DaemonMainTest, DefaultsStay) {
  TestOptions options;
  EXPECT_EQ(RunWith(options, {}), 0);
  EXPECT_EQ(options.listen, "0.0.0.0:1");
  EXPECT_EQ(options.wait, absl::Seconds(1));
  EXPECT_TRUE(options.lamp);
  EXPECT_EQ(options.fruit, Fruit::kApple);
}

TEST(DaemonMainTest, ExitCodes) {
  TestOptions options;
  for (const std::vector<std::string>& flags : {std::vector<std::string>{"--no-such-flag"},
                                                {"--wait", "10"},
                                                {"--lamp", "dim"},
                                                {"--size", "50%"},
                                                {"--size", "-1"},
                                                {"--fruit", "plum"},
                                                {"--log-level", "loud"}}) {
    EXPECT_EQ(RunWith(options, flags), 2) << flags.front() << " " << flags.back();
  }
  options.log_level = "info";
  EXPECT_EQ(RunWith(options, {}, absl::InvalidArgumentError("--x: no")), 2);
  EXPECT_EQ(options.runs, 0) << "nothing runs on wrong flags";
  EXPECT_EQ(RunWith(options, {"--version"}), 0);
  EXPECT_EQ(RunWith(options, {"--help"}), 0);
  EXPECT_EQ(options.runs, 0);
  EXPECT_EQ(RunWith(options, {}, absl::OkStatus(), absl::InvalidArgumentError("refused")), 1);
}

}  // namespace
}  // namespace paramd
