#include "common/config/validate.h"

#include <cmath>
#include <cstdint>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/config/enum_names.h"
#include "common/config/validate_communication.h"
#include "common/config/validate_optimizer.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"

namespace paramd {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr size_t kMaxNameBytes = 63;
constexpr int kMaxLabels = 32;
constexpr size_t kMaxLabelBytes = 63;
constexpr size_t kMaxPathBytes = 4096;
constexpr int kMaxFiles = 65536;
constexpr int kMaxWidths = 256;
constexpr size_t kMaxPromptBytes = 65536;
constexpr uint64_t kMaxWidth = 1048576;
constexpr uint64_t kMaxCheckpoints = 1000;
constexpr uint64_t kMaxVocabulary = 1 << 24;

class Rules {
 public:
  explicit Rules(Violations& violations) : violations_(violations) {}

  void Spec(const v1::JobSpec& spec);

 private:
  void Generic(const Message& message, const std::string& path);
  void GenericField(const Message& message, const FieldDescriptor& field, const std::string& path);
  void Name(const std::string& name);
  void Labels(const v1::JobSpec& spec);
  void Model(const v1::ModelSpec& model);
  void Mlp(const v1::MlpModel& mlp);
  void Gpt2(const v1::Gpt2Model& gpt2);
  void Data(const v1::DataSpec& data);
  void Idx(const v1::IdxSource& idx);
  void Training(const v1::TrainingSpec& training);
  void Resources(const v1::ResourceSpec& resources, uint32_t slots);
  void AcrossParts(const v1::JobSpec& spec);

  template <typename T>
  void Require(bool holds, absl::string_view path, absl::string_view rule, T got) {
    if (!holds) violations_.Add(path, absl::StrCat(rule, ", got ", got));
  }
  void Range(absl::string_view path, uint64_t value, uint64_t low, uint64_t high) {
    if (value >= low && value <= high) return;
    const std::string rule = absl::StrCat("must be in ", low, "..", high);
    violations_.Add(path, value == 0 ? absl::StrCat("required; ", rule) : absl::StrCat(rule, ", got ", value));
  }
  void Dropout(absl::string_view path, float value) {
    Require(value >= 0 && value < 1, path, "must be in [0, 1)", value);
  }
  void FilePath(absl::string_view path, const std::string& file) {
    if (file.empty()) return violations_.Add(path, "required");
    Require(file.size() <= kMaxPathBytes, path, absl::StrCat("must be at most ", kMaxPathBytes, " bytes"), file.size());
    if (absl::StrContains(file, absl::string_view("\0", 1))) violations_.Add(path, "must not contain a NUL character");
  }

  Violations& violations_;
};

// What holds for every message: enum values are known, numbers are finite.
void Rules::Generic(const Message& message, const std::string& path) {
  std::vector<const FieldDescriptor*> fields;
  message.GetReflection()->ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    if (!field->is_map()) GenericField(message, *field, absl::StrCat(path, ".", field->name()));
  }
}

void Rules::GenericField(const Message& message, const FieldDescriptor& field, const std::string& path) {
  const auto* reflection = message.GetReflection();
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
    if (!field.is_repeated()) return Generic(reflection->GetMessage(message, &field), path);
    for (int i = 0; i < reflection->FieldSize(message, &field); ++i) {
      Generic(reflection->GetRepeatedMessage(message, &field, i), absl::StrCat(path, "[", i, "]"));
    }
    return;
  }
  if (field.is_repeated()) return;  // Strings and unsigned numbers only.
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_ENUM) {
    const int number = reflection->GetEnumValue(message, &field);
    Require(field.enum_type()->FindValueByNumber(number) != nullptr, path, "unknown value of its enum", number);
  } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_FLOAT) {
    Require(std::isfinite(reflection->GetFloat(message, &field)), path, "must be finite",
            reflection->GetFloat(message, &field));
  } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_DOUBLE) {
    Require(std::isfinite(reflection->GetDouble(message, &field)), path, "must be finite",
            reflection->GetDouble(message, &field));
  }
}

void Rules::Name(const std::string& name) {
  bool allowed = !name.empty() && name.size() <= kMaxNameBytes;
  for (char c : name) allowed = allowed && (absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '-');
  // Without a model there is no default name either; that is reported once.
  Require(allowed, "spec.name", "must match [a-z0-9-]{1,63}", absl::StrCat("\"", name.substr(0, 80), "\""));
}

void Rules::Labels(const v1::JobSpec& spec) {
  Require(spec.labels_size() <= kMaxLabels, "spec.labels", absl::StrCat("must be at most ", kMaxLabels),
          spec.labels_size());
  for (const auto& [key, value] : spec.labels()) {
    const std::string path = absl::StrCat("spec.labels[\"", key.substr(0, 80), "\"]");
    Require(!key.empty() && key.size() <= kMaxLabelBytes, path, "the key must have 1..63 bytes", key.size());
    Require(value.size() <= kMaxLabelBytes, path, "the value must have at most 63 bytes", value.size());
  }
}

void Rules::Model(const v1::ModelSpec& model) {
  switch (model.model_case()) {
    case v1::ModelSpec::kMlp:
      return Mlp(model.mlp());
    case v1::ModelSpec::kGpt2:
      return Gpt2(model.gpt2());
    case v1::ModelSpec::MODEL_NOT_SET:
      return violations_.Add("spec.model", "required: one of mlp, gpt2");
  }
}

void Rules::Mlp(const v1::MlpModel& mlp) {
  const std::string path = "spec.model.mlp";
  Require(mlp.widths_size() >= 2 && mlp.widths_size() <= kMaxWidths, path + ".widths",
          absl::StrCat("must have 2..", kMaxWidths, " entries (input, hidden..., classes)"), mlp.widths_size());
  for (int i = 0; i < mlp.widths_size() && !violations_.full(); ++i) {
    Range(absl::StrCat(path, ".widths[", i, "]"), mlp.widths(i), 1, kMaxWidth);
  }
  Dropout(path + ".dropout", mlp.dropout());
}

void Rules::Gpt2(const v1::Gpt2Model& gpt2) {
  const std::string path = "spec.model.gpt2";
  Range(path + ".layers", gpt2.layers(), 1, 256);
  Range(path + ".hidden", gpt2.hidden(), 1, 65536);
  Range(path + ".context", gpt2.context(), 1, 65536);
  Range(path + ".heads", gpt2.heads(), 1, 65536);
  if (gpt2.heads() > 0) {
    Require(gpt2.hidden() % gpt2.heads() == 0, path + ".heads",
            absl::StrCat("must divide hidden (", gpt2.hidden(), ")"), gpt2.heads());
  }
  Range(path + ".vocab_size", gpt2.vocab_size(), 2, kMaxVocabulary);
  Range(path + ".ffn_hidden", gpt2.ffn_hidden(), 1, kMaxWidth);
  Dropout(path + ".dropout", gpt2.dropout());
  Require(gpt2.layer_norm_epsilon() > 0, path + ".layer_norm_epsilon", "must be > 0", gpt2.layer_norm_epsilon());
}

void Rules::Data(const v1::DataSpec& data) {
  switch (data.source_case()) {
    case v1::DataSpec::kText: {
      const v1::TextSource& text = data.text();
      Require(text.files_size() >= 1 && text.files_size() <= kMaxFiles, "spec.data.text.files",
              absl::StrCat("must have 1..", kMaxFiles, " entries"), text.files_size());
      for (int i = 0; i < text.files_size() && !violations_.full(); ++i) {
        FilePath(absl::StrCat("spec.data.text.files[", i, "]"), text.files(i));
      }
      Require(text.validation_fraction() >= 0 && text.validation_fraction() <= 0.5f,
              "spec.data.text.validation_fraction", "must be in [0, 0.5]", text.validation_fraction());
      return;
    }
    case v1::DataSpec::kIdx:
      return Idx(data.idx());
    case v1::DataSpec::SOURCE_NOT_SET:
      return violations_.Add("spec.data", "required: one of text, idx");
  }
}

void Rules::Idx(const v1::IdxSource& idx) {
  FilePath("spec.data.idx.train_images", idx.train_images());
  FilePath("spec.data.idx.train_labels", idx.train_labels());
  if (idx.test_images().empty() != idx.test_labels().empty()) {
    violations_.Add(idx.test_images().empty() ? "spec.data.idx.test_images" : "spec.data.idx.test_labels",
                    "test_images and test_labels go together: give both or neither");
  } else if (!idx.test_images().empty()) {
    FilePath("spec.data.idx.test_images", idx.test_images());
    FilePath("spec.data.idx.test_labels", idx.test_labels());
  }
}

void Rules::Training(const v1::TrainingSpec& training) {
  Range("spec.training.steps", training.steps(), 1, 0x7FFFFFFF);
  Range("spec.training.slots", training.slots(), 1, 4096);
  Range("spec.training.micro_batch", training.micro_batch(), 1, 65536);
  if (!training.has_sample()) return;
  const v1::SampleSpec& sample = training.sample();
  Require(sample.prompt().size() <= kMaxPromptBytes, "spec.training.sample.prompt",
          absl::StrCat("must be at most ", kMaxPromptBytes, " bytes"), sample.prompt().size());
  Range("spec.training.sample.tokens", sample.tokens(), 0, 65536);
  Require(sample.temperature() >= 0, "spec.training.sample.temperature", "must be >= 0", sample.temperature());
}

void Rules::Resources(const v1::ResourceSpec& resources, uint32_t slots) {
  Require(resources.workers() >= 1 && resources.workers() <= slots, "spec.resources.workers",
          absl::StrCat("must be in 1..training.slots (", slots, ")"), resources.workers());
  Range("spec.resources.servers", resources.servers(), 1, 4096);
  const uint32_t elements = resources.chunk_elements();
  const bool power_of_two = elements != 0 && (elements & (elements - 1)) == 0;
  Require(power_of_two && elements >= 1024 && elements <= 1048576, "spec.resources.chunk_elements",
          "must be a power of two in 1024..1048576", elements);
}

void Rules::AcrossParts(const v1::JobSpec& spec) {
  const bool language_model = spec.model().has_gpt2();
  if (language_model && spec.data().has_idx()) {
    violations_.Add("spec.data.idx", "model gpt2 needs the data source text");
  }
  if (spec.model().has_mlp() && spec.data().has_text()) {
    violations_.Add("spec.data.text", "model mlp needs the data source idx");
  }
  if (spec.model().has_mlp() && spec.training().has_sample()) {
    violations_.Add("spec.training.sample", "language models only; leave it out");
  }
  if (language_model && spec.data().has_text()) {
    Require(spec.model().gpt2().vocab_size() >= 256 || spec.data().text().tokenizer() != v1::TOKENIZER_BYTES,
            "spec.model.gpt2.vocab_size", "must be >= 256, the tokens of the tokenizer bytes",
            spec.model().gpt2().vocab_size());
    Range("spec.data.text.stride", spec.data().text().stride(), 1, UINT32_MAX);
  }
  if (spec.sync().mode() != v1::SYNC_MODE_SSP) {
    Require(spec.sync().staleness() == 0, "spec.sync.staleness", "is used by mode ssp only; leave it out",
            spec.sync().staleness());
  }
}

void Rules::Spec(const v1::JobSpec& spec) {
  Generic(spec, "spec");
  if (spec.has_model() || !spec.name().empty()) Name(spec.name());
  Labels(spec);
  Model(spec.model());
  Data(spec.data());
  if (spec.has_training()) {
    Training(spec.training());
    Resources(spec.resources(), spec.training().slots());
  } else {
    violations_.Add("spec.training", "required");
  }
  if (spec.has_optimizer()) {
    ValidateOptimizer(spec.optimizer(), spec.training().steps(), violations_);
  } else {
    violations_.Add("spec.optimizer.learning_rate", "required; must be > 0");
  }
  ValidateCommunication(spec.communication(), violations_);
  Range("spec.checkpoint.keep", spec.checkpoint().keep(), 1, kMaxCheckpoints);
  AcrossParts(spec);
  const std::string& directory = spec.output().directory();
  if (!directory.empty()) {
    FilePath("spec.output.directory", directory);
    Require(directory[0] == '/', "spec.output.directory", "must be an absolute path",
            absl::StrCat("\"", directory.substr(0, 80), "\""));
  }
}

}  // namespace

void Validate(const v1::JobSpec& spec, Violations& violations) { Rules(violations).Spec(spec); }

}  // namespace paramd
