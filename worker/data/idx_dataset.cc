#include "worker/data/idx_dataset.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"
#include "worker/data/input_file.h"

namespace paramd {
namespace {

constexpr uint32_t kImagesMagic = 0x00000803;
constexpr uint32_t kLabelsMagic = 0x00000801;

absl::Status Invalid(const std::string& path, absl::string_view what) {
  return MakeError(absl::StatusCode::kInvalidArgument, "DATA_INVALID", absl::StrCat(path, ": ", what),
                   {{"path", path}});
}

uint32_t BigEndian(const uint8_t* bytes) {
  return uint32_t{bytes[0]} << 24 | uint32_t{bytes[1]} << 16 | uint32_t{bytes[2]} << 8 | uint32_t{bytes[3]};
}

// Reads the magic and `dimensions` extents. The first extent is the count.
absl::StatusOr<std::vector<int64_t>> ReadHeader(InputFile& file, uint32_t magic, int dimensions) {
  const int64_t header_bytes = 4 + 4 * dimensions;
  ASSIGN_OR_RETURN(std::vector<uint8_t> header, file.Read(header_bytes));
  if (header.empty()) return Invalid(file.path(), "the file is empty");
  if (static_cast<int64_t>(header.size()) < header_bytes) {
    return Invalid(file.path(),
                   absl::StrCat("truncated in the IDX header: ", header.size(), " of ", header_bytes, " bytes"));
  }
  if (BigEndian(header.data()) != magic) {
    return Invalid(file.path(), absl::StrFormat("not an IDX file of the expected kind: magic 0x%08x, expected 0x%08x",
                                                BigEndian(header.data()), magic));
  }
  std::vector<int64_t> extents;
  for (int i = 0; i < dimensions; ++i) extents.push_back(BigEndian(header.data() + 4 + 4 * i));
  if (extents[0] == 0) return Invalid(file.path(), "holds no items");
  return extents;
}

// Reads exactly `bytes`, which the header promised; what follows or lacks is an error.
absl::StatusOr<std::vector<uint8_t>> ReadBody(InputFile& file, int64_t bytes, int64_t max_bytes) {
  if (bytes > max_bytes) {
    return MakeError(absl::StatusCode::kResourceExhausted, "DATA_TOO_LARGE",
                     absl::StrCat(file.path(), " announces ", bytes, " bytes, at most ", max_bytes, " are read"),
                     {{"path", file.path()}});
  }
  ASSIGN_OR_RETURN(std::vector<uint8_t> body, file.Read(bytes + 1));
  const auto got = static_cast<int64_t>(body.size());
  if (got < bytes) return Invalid(file.path(), absl::StrCat("truncated: ", got, " of ", bytes, " data bytes"));
  if (got > bytes) return Invalid(file.path(), absl::StrCat("more data than the ", bytes, " bytes of its header"));
  return body;
}

absl::StatusOr<std::vector<uint8_t>> ReadImages(const std::string& path, const IdxDatasetOptions& options) {
  ASSIGN_OR_RETURN(InputFile file, InputFile::Open(path));
  ASSIGN_OR_RETURN(std::vector<int64_t> extents, ReadHeader(file, kImagesMagic, 3));
  // Extents are below 2^32, so rows * columns fits; only then is it multiplied by the count.
  const auto pixels = static_cast<uint64_t>(extents[1]) * static_cast<uint64_t>(extents[2]);
  if (pixels != static_cast<uint64_t>(options.inputs)) {
    return Invalid(path, absl::StrCat("images of ", extents[1], " x ", extents[2], " pixels do not fit the model's ",
                                      options.inputs, " inputs"));
  }
  return ReadBody(file, extents[0] * options.inputs, options.max_bytes);
}

absl::StatusOr<std::vector<uint8_t>> ReadLabels(const std::string& path, const IdxDatasetOptions& options) {
  ASSIGN_OR_RETURN(InputFile file, InputFile::Open(path));
  ASSIGN_OR_RETURN(std::vector<int64_t> extents, ReadHeader(file, kLabelsMagic, 1));
  ASSIGN_OR_RETURN(std::vector<uint8_t> labels, ReadBody(file, extents[0], options.max_bytes));
  const auto bad = std::find_if(labels.begin(), labels.end(), [&](uint8_t label) { return label >= options.classes; });
  if (bad != labels.end()) {
    return Invalid(path, absl::StrCat("label ", int{*bad}, " of item ", bad - labels.begin(),
                                      " is out of range for the model's ", options.classes, " classes"));
  }
  return labels;
}

// The feature of each pixel value.
std::array<float, 256> FeatureTable() {
  std::array<float, 256> table;
  for (int i = 0; i < 256; ++i) table[i] = (static_cast<float>(i) / 255.0f - 0.5f) / 0.5f;
  return table;
}

}  // namespace

IdxDataset::IdxDataset(int64_t inputs, Images train, Images test)
    : inputs_(inputs), train_(std::move(train)), test_(std::move(test)) {}

absl::StatusOr<std::unique_ptr<Dataset>> IdxDataset::Open(const IdxDatasetOptions& options) {
  if (options.inputs < 1 || options.inputs > options.max_bytes || options.classes < 1) {
    return MakeError(absl::StatusCode::kInvalidArgument, "DATA_INVALID",
                     absl::StrCat("images for ", options.inputs, " inputs and ", options.classes, " classes"));
  }
  if (options.test_images.empty() != options.test_labels.empty()) {
    return MakeError(absl::StatusCode::kInvalidArgument, "DATA_INVALID",
                     "spec.data.idx: test_images and test_labels go together");
  }
  ASSIGN_OR_RETURN(Images train, Load(options.train_images, options.train_labels, options));
  Images test;
  if (!options.test_images.empty()) {
    ASSIGN_OR_RETURN(test, Load(options.test_images, options.test_labels, options));
  }
  return std::unique_ptr<Dataset>(new IdxDataset(options.inputs, std::move(train), std::move(test)));
}

absl::StatusOr<IdxDataset::Images> IdxDataset::Load(const std::string& image_path, const std::string& label_path,
                                                    const IdxDatasetOptions& options) {
  Images images;
  ASSIGN_OR_RETURN(images.pixels, ReadImages(image_path, options));
  ASSIGN_OR_RETURN(images.labels, ReadLabels(label_path, options));
  const auto count = static_cast<int64_t>(images.pixels.size()) / options.inputs;
  if (count != static_cast<int64_t>(images.labels.size())) {
    return Invalid(label_path,
                   absl::StrCat(images.labels.size(), " labels for the ", count, " images of ", image_path));
  }
  return images;
}

absl::Status IdxDataset::Fill(Split split, absl::Span<const int64_t> samples, Batch& batch) const {
  static const std::array<float, 256> table = FeatureTable();
  const Images& images = split == Split::kTrain ? train_ : test_;
  batch.examples = static_cast<int64_t>(samples.size());
  batch.tokens.clear();
  batch.features.resize(samples.size() * inputs_);
  batch.targets.resize(samples.size());
  for (size_t row = 0; row < samples.size(); ++row) {
    if (samples[row] < 0 || samples[row] >= this->samples(split)) {
      return absl::OutOfRangeError(absl::StrCat("sample ", samples[row], " of ", this->samples(split)));
    }
    const uint8_t* pixels = images.pixels.data() + samples[row] * inputs_;
    std::transform(pixels, pixels + inputs_, batch.features.begin() + row * inputs_,
                   [](uint8_t pixel) { return table[pixel]; });
    batch.targets[row] = images.labels[samples[row]];
  }
  return absl::OkStatus();
}

}  // namespace paramd
