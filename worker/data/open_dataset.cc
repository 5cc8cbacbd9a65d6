#include "worker/data/open_dataset.h"

#include <utility>

#include "common/base/error.h"
#include "worker/data/idx_dataset.h"
#include "worker/data/text_dataset.h"

namespace paramd {
namespace {

absl::StatusOr<std::unique_ptr<Dataset>> OpenText(const v1::JobSpec& spec) {
  if (!spec.model().has_gpt2()) {
    return MakeError(absl::StatusCode::kInvalidArgument, "DATA_INVALID",
                     "spec.data.text: only a language model can be trained on text");
  }
  const v1::Gpt2Model& model = spec.model().gpt2();
  TextDatasetOptions options;
  options.files.assign(spec.data().text().files().begin(), spec.data().text().files().end());
  options.context = model.context();
  options.stride = spec.data().text().stride() == 0 ? model.context() : spec.data().text().stride();
  options.validation_fraction = spec.data().text().validation_fraction();
  options.vocab_size = model.vocab_size() == 0 ? kByteTokens : model.vocab_size();
  return TextDataset::Open(options);
}

absl::StatusOr<std::unique_ptr<Dataset>> OpenIdx(const v1::JobSpec& spec) {
  if (!spec.model().has_mlp() || spec.model().mlp().widths_size() < 2) {
    return MakeError(absl::StatusCode::kInvalidArgument, "DATA_INVALID",
                     "spec.data.idx: only a classifier (spec.model.mlp) can be trained on images");
  }
  const v1::IdxSource& source = spec.data().idx();
  const auto& widths = spec.model().mlp().widths();
  return IdxDataset::Open({.train_images = source.train_images(),
                           .train_labels = source.train_labels(),
                           .test_images = source.test_images(),
                           .test_labels = source.test_labels(),
                           .inputs = widths.Get(0),
                           .classes = widths.Get(widths.size() - 1)});
}

}  // namespace

absl::StatusOr<std::unique_ptr<Dataset>> OpenDataset(const v1::JobSpec& spec) {
  switch (spec.data().source_case()) {
    case v1::DataSpec::kText:
      return OpenText(spec);
    case v1::DataSpec::kIdx:
      return OpenIdx(spec);
    case v1::DataSpec::SOURCE_NOT_SET:
      break;
  }
  return MakeError(absl::StatusCode::kInvalidArgument, "DATA_INVALID", "spec.data: no source is set");
}

}  // namespace paramd
