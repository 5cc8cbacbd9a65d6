#include "worker/infer/saved_model.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/error.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/config/job_spec.h"
#include "common/model/parameter_layout.h"
#include "common/tensor/safetensors.h"
#include "google/protobuf/util/json_util.h"

namespace paramd {
namespace {

constexpr int64_t kMaxSpecBytes = 1 << 20;

absl::Status Invalid(const std::string& path, absl::string_view what) {
  return MakeError(absl::StatusCode::kInvalidArgument, "MODEL_INVALID", absl::StrCat(path, ": ", what),
                   {{"path", path}});
}

// A file error as an error of the model.
absl::Status FileProblem(const std::string& path, const absl::Status& status) {
  if (!absl::IsNotFound(status)) return Invalid(path, status.message());
  return MakeError(absl::StatusCode::kNotFound, "MODEL_NOT_FOUND", absl::StrCat(path, ": ", status.message()),
                   {{"path", path}});
}

absl::Status CheckTensor(const std::string& path, const SafetensorsReader& reader, const ParameterSpec& parameter) {
  const absl::StatusOr<const SafetensorsTensor*> tensor = reader.Find(parameter.name);
  if (!tensor.ok()) return Invalid(path, absl::StrCat("tensor ", parameter.name, " is missing"));
  if ((*tensor)->shape == parameter.shape) return absl::OkStatus();
  return Invalid(path, absl::StrCat("tensor ", parameter.name, " has shape [", absl::StrJoin((*tensor)->shape, ", "),
                                    "], the model needs [", absl::StrJoin(parameter.shape, ", "), "]"));
}

class SavedModel final : public LoadedModel {
 public:
  SavedModel(std::unique_ptr<ArenaPlan> plan, std::vector<float> weights, CompiledModel compiled, GeneratorModel shape)
      : plan_(std::move(plan)), weights_(std::move(weights)), compiled_(std::move(compiled)), shape_(shape) {}

  ModelProgram& program() override { return *compiled_.program; }
  absl::Span<const float> weights() const override { return weights_; }
  GeneratorModel shape() const override { return shape_; }

 private:
  const std::unique_ptr<ArenaPlan> plan_;  // The program may refer to it.
  const std::vector<float> weights_;
  CompiledModel compiled_;
  const GeneratorModel shape_;
};

}  // namespace

absl::StatusOr<v1::JobSpec> LoadSavedSpec(const std::string& directory) {
  const std::string path = absl::StrCat(directory, "/", kSavedSpecFile);
  const absl::StatusOr<std::string> text = ReadFile(path, kMaxSpecBytes);
  if (!text.ok()) return FileProblem(path, text.status());
  v1::JobSpec spec;
  const auto parsed = google::protobuf::util::JsonStringToMessage(*text, &spec);
  if (!parsed.ok()) return Invalid(path, std::string(parsed.message()));
  const absl::Status valid = FillDefaultsAndValidate(spec);
  if (!valid.ok()) return Invalid(path, valid.message());
  if (!spec.model().has_gpt2()) return Invalid(path, "the model is not a language model, it generates no text");
  return spec;
}

absl::StatusOr<std::vector<float>> LoadSavedWeights(const std::string& directory, const ArenaPlan& plan) {
  const std::string path = absl::StrCat(directory, "/", kSavedWeightsFile);
  const absl::StatusOr<SafetensorsReader> reader = SafetensorsReader::Open(path);
  if (!reader.ok()) return FileProblem(path, reader.status());
  // All is checked before anything is allocated: the file is known to be as large as its tensors.
  for (const ParameterSpec& parameter : plan.parameters()) RETURN_IF_ERROR(CheckTensor(path, *reader, parameter));
  for (const SafetensorsTensor& tensor : reader->tensors()) {
    if (plan.Find(tensor.name) < 0) return Invalid(path, absl::StrCat("tensor ", tensor.name, " is not the model's"));
  }
  std::vector<float> weights(plan.arena_elements(), 0.0f);
  for (size_t i = 0; i < plan.parameters().size(); ++i) {
    const ElementRange range = plan.ParameterRange(static_cast<int>(i));
    ASSIGN_OR_RETURN(const SafetensorsTensor* tensor, reader->Find(plan.parameters()[i].name));
    const absl::Status read = reader->ReadFloats(*tensor, absl::MakeSpan(weights).subspan(range.begin, range.size()));
    if (!read.ok()) return Invalid(path, absl::StrCat("tensor ", tensor->name, ": ", read.message()));
  }
  return weights;
}

absl::StatusOr<std::unique_ptr<LoadedModel>> LoadSavedModel(const std::string& directory,
                                                            const ModelCompiler& compile) {
  ASSIGN_OR_RETURN(const v1::JobSpec spec, LoadSavedSpec(directory));
  ASSIGN_OR_RETURN(std::vector<ParameterSpec> layout, ParameterLayout(spec.model()));
  ASSIGN_OR_RETURN(ArenaPlan created, ArenaPlan::Create(std::move(layout), spec.resources().chunk_elements()));
  auto plan = std::make_unique<ArenaPlan>(std::move(created));
  ASSIGN_OR_RETURN(std::vector<float> weights, LoadSavedWeights(directory, *plan));
  ASSIGN_OR_RETURN(CompiledModel compiled, compile(spec.model(), *plan, /*batch_size=*/1));
  const GeneratorModel shape = {.context = spec.model().gpt2().context(),
                                .vocab_size = spec.model().gpt2().vocab_size()};
  return std::unique_ptr<LoadedModel>(
      std::make_unique<SavedModel>(std::move(plan), std::move(weights), std::move(compiled), shape));
}

}  // namespace paramd
