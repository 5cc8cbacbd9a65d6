#include "common/config/yaml_to_proto.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/error.h"
#include "common/config/proto_to_yaml.h"
#include "gtest/gtest.h"
#include "proto/cluster.pb.h"
#include "proto/job.pb.h"

namespace paramd {
namespace {

std::string Repeat(const std::string& text, int times) {
  std::string result;
  for (int i = 0; i < times; ++i) result += text;
  return result;
}

// The error's message, "" for success.
std::string Error(const std::string& text) {
  v1::JobSpec spec;
  return std::string(YamlToProto(text, "spec", spec, nullptr).message());
}

TEST(YamlToProtoTest, RefusesDocumentsThatAreTooLarge) {
  EXPECT_TRUE(absl::StrContains(Error(std::string(kMaxDocumentBytes + 1, ' ')), "at most 1048576"));
  EXPECT_EQ(Error("name: a\n" + std::string(kMaxDocumentBytes - 8, '\n')), "");
}

TEST(YamlToProtoTest, RefusesDeepNestingWithoutCrashing) {
  EXPECT_NE(Error("name: " + Repeat("[", 100000)), "");
  EXPECT_NE(Error(Repeat("{a: ", 20000)), "");
  EXPECT_NE(Error("name: " + Repeat("- ", 100000)), "");
}

TEST(YamlToProtoTest, AliasesThatMultiplyAreCounted) {
  // A million strings from a few kilobytes.
  const std::string text = "data: {text: {files: &f [" + Repeat("s, ", 1000) + "]}}\noptimizer: {groups: [" +
                           Repeat("{match: *f}, ", 1000) + "]}\n";
  EXPECT_TRUE(absl::StrContains(Error(text), "more than 100000 values")) << Error(text);
}

TEST(YamlToProtoTest, AliasOfItselfEnds) { EXPECT_NE(Error("labels: &a {k: *a}\n"), ""); }

TEST(YamlToProtoTest, RecordsWhatWasGiven) {
  v1::JobSpec spec;
  GivenScalars given;
  ASSERT_TRUE(YamlToProto("seed: 0\noptimizer: {groups: [{match: [x]}]}\nname:\n", "spec", spec, &given).ok());
  EXPECT_EQ(given.at("spec.seed"), "0");
  EXPECT_EQ(given.at("spec.optimizer.groups[0].match[0]"), "x");
  EXPECT_FALSE(given.contains("spec.name")) << "null is not given";
}

TEST(YamlToProtoTest, BytesThatAreNotTextAreRefusedOrKept) {
  for (const std::string bad : {std::string("\0", 1), std::string("\xFF\xFE"), std::string("name: \x01")}) {
    v1::JobSpec spec;
    const absl::Status status = YamlToProto(bad, "spec", spec, nullptr);
    if (!status.ok()) {
      EXPECT_EQ(ErrorReason(status), "INVALID_SPEC");
    }
  }
}

TEST(YamlToProtoTest, AtMostFiftyViolations) {
  v1::JobSpec spec;
  std::string text;
  for (int i = 0; i < 200; ++i) absl::StrAppend(&text, "unknown", i, ": 1\n");
  const absl::Status status = YamlToProto(text, "spec", spec, nullptr);
  EXPECT_EQ(GetErrorMetadata(status).size(), 50u);
}

TEST(YamlToProtoTest, TruncatedFormsOfAGoodDocumentNeverCrash) {
  const std::string text =
      "name: a\nmodel: {gpt2: {layers: 2, dropout: 0.1}}\ndata:\n  text:\n    files: [\"/a\", '/b']\nlabels: {k: v}\n";
  for (size_t length = 0; length <= text.size(); ++length) {
    for (const char* tail : {"", "[", "{", "\"", "&a *a", ": :", "\x80"}) Error(text.substr(0, length) + tail);
  }
}

TEST(ProtoToYamlTest, WritesWhatIsSet) {
  v1::JobSpec spec;
  EXPECT_EQ(ProtoToYaml(spec, nullptr), "{}\n");
  spec.set_name("true");
  spec.mutable_optimizer()->set_learning_rate(0.1);
  spec.mutable_optimizer()->mutable_schedule()->set_type(v1::SCHEDULE_TYPE_INVERSE_SQRT);
  spec.mutable_model()->mutable_gpt2()->set_dropout(0.1f);
  spec.mutable_data()->mutable_text()->add_files("/a b");
  (*spec.mutable_labels())["z"] = "1";
  (*spec.mutable_labels())["a"] = "";
  EXPECT_EQ(ProtoToYaml(spec, nullptr), R"(name: "true"
model:
  gpt2:
    dropout: 0.1
data:
  text:
    files: ["/a b"]
optimizer:
  learning_rate: 0.1
  schedule:
    type: inverse_sqrt
labels:
  a: ""
  z: "1"
)");
}

TEST(ProtoToYamlTest, NumbersComeBack) {
  for (const double value : {1.0 / 3, 1e-300, 6.02e23, 0.1 + 0.2, 1e22}) {
    v1::JobSpec spec, back;
    spec.mutable_optimizer()->set_learning_rate(value);
    spec.mutable_model()->mutable_mlp()->set_dropout(static_cast<float>(value > 1 ? 1.0 / 7 : value));
    ASSERT_TRUE(YamlToProto(ProtoToYaml(spec, nullptr), "spec", back, nullptr).ok());
    EXPECT_EQ(back.optimizer().learning_rate(), value);
    EXPECT_EQ(back.model().mlp().dropout(), spec.model().mlp().dropout());
  }
}

TEST(ProtoToYamlTest, OtherMessagesWork) {
  v1::Node node;
  node.set_node_id("server-1");
  node.set_role(v1::NODE_ROLE_SERVER);
  node.set_incarnation(18446744073709551615u);
  node.add_jobs("a");
  v1::Node back;
  ASSERT_TRUE(YamlToProto(ProtoToYaml(node, nullptr), "node", back, nullptr).ok());
  EXPECT_EQ(back.SerializeAsString(), node.SerializeAsString());
}

}  // namespace
}  // namespace paramd
