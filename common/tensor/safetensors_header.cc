// The JSON header: parsing with every check, and writing.
#include <algorithm>
#include <exception>
#include <limits>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/error.h"
#include "common/base/status_macros.h"
#include "common/tensor/safetensors.h"
#include "nlohmann/json.hpp"

namespace paramd {
namespace {

using nlohmann::json;

constexpr char kMetadataKey[] = "__metadata__";

absl::Status Malformed(absl::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, "INVALID_SAFETENSORS",
                   absl::StrCat("safetensors header: ", message));
}

// A name for messages: escaped and cut.
std::string Quoted(absl::string_view name) {
  return absl::StrCat("\"", absl::CEscape(name.substr(0, 100)), name.size() > 100 ? "..." : "", "\"");
}

// Bytes of a tensor; nullopt when the product overflows 63 bits or an extent is negative.
std::optional<uint64_t> ByteSize(const SafetensorsSpec& spec) {
  constexpr uint64_t kMax = std::numeric_limits<int64_t>::max();
  uint64_t size = static_cast<uint64_t>(DTypeSize(spec.dtype));
  for (const int64_t extent : spec.shape) {
    if (extent < 0) return std::nullopt;
    const uint64_t factor = static_cast<uint64_t>(extent);
    if (factor != 0 && size > kMax / factor) return std::nullopt;
    size *= factor;
  }
  return size;
}

// Takes the parser's events one by one, so that neither depth nor duplicate keys nor the number of values can cost more
// than what they are. Depth 1: names; depth 2: a tensor's fields, or the metadata; depth 3: a field's array.
class HeaderHandler : public json::json_sax_t {
 public:
  explicit HeaderHandler(SafetensorsHeader& header) : header_(header) {}
  const absl::Status& status() const { return status_; }

  bool start_object(std::size_t) override {
    if (depth_ >= 2 || in_array_) return Unexpected("an object");
    if (++depth_ == 1) return true;
    in_metadata_ = name_ == kMetadataKey;
    seen_dtype_ = seen_shape_ = false;
    offsets_.reset();
    if (!in_metadata_) header_.tensors.emplace_back().name = name_;
    return true;
  }
  bool end_object() override {
    if (depth_-- == 1 || in_metadata_) return true;
    return FinishTensor();
  }
  bool key(std::string& key) override {
    if (depth_ == 1) {
      if (!names_.insert(key).second) return Fail(absl::StrCat("duplicate name ", Quoted(key)));
      name_ = key;
      return true;
    }
    field_ = key;
    if (in_metadata_) {
      if (!header_.metadata.emplace(key, "").second) return Fail(absl::StrCat("duplicate metadata key ", Quoted(key)));
      return true;
    }
    const bool twice = (key == "dtype" && seen_dtype_) || (key == "shape" && seen_shape_) ||
                       (key == "data_offsets" && offsets_.has_value());
    if (twice) return Fail(absl::StrCat("tensor ", Quoted(name_), " has ", key, " twice"));
    if (key != "dtype" && key != "shape" && key != "data_offsets") {
      return Fail(absl::StrCat("tensor ", Quoted(name_), " has an unknown field ", Quoted(key)));
    }
    return true;
  }
  bool start_array(std::size_t) override {
    if (depth_ != 2 || in_metadata_ || in_array_ || field_ == "dtype") return Unexpected("an array");
    in_array_ = true;
    if (field_ == "shape") seen_shape_ = true;
    if (field_ == "data_offsets") offsets_.emplace();
    return true;
  }
  bool end_array() override {
    in_array_ = false;
    return true;
  }
  bool string(std::string& value) override {
    if (depth_ != 2 || in_array_) return Unexpected("a string");
    if (in_metadata_) {
      header_.metadata[field_] = value;
      return true;
    }
    if (field_ != "dtype") return Unexpected("a string");
    const std::optional<DType> dtype = ParseDType(value);
    if (!dtype) return Fail(absl::StrCat("tensor ", Quoted(name_), " has an unknown dtype ", Quoted(value)));
    header_.tensors.back().dtype = *dtype;
    seen_dtype_ = true;
    return true;
  }
  bool number_unsigned(json::number_unsigned_t value) override {
    if (!in_array_) return Unexpected("a number");
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return Fail(absl::StrCat("tensor ", Quoted(name_), ": ", field_, " has ", value, ", above 2^63 - 1"));
    }
    if (field_ == "shape") {
      header_.tensors.back().shape.push_back(static_cast<int64_t>(value));
    } else if (offsets_->size() == 2) {
      return Fail(absl::StrCat("tensor ", Quoted(name_), ": data_offsets has more than 2 entries"));
    } else {
      offsets_->push_back(static_cast<int64_t>(value));
    }
    return true;
  }
  bool number_integer(json::number_integer_t) override { return Unexpected("a negative number"); }
  bool number_float(json::number_float_t, const std::string&) override {
    return Unexpected("a number that is no integer or too large");
  }
  bool null() override { return Unexpected("null"); }
  bool boolean(bool) override { return Unexpected("a boolean"); }
  bool binary(json::binary_t&) override { return Unexpected("binary data"); }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception&) override {
    return Fail(absl::StrCat("not valid JSON at byte ", position));
  }

 private:
  bool Fail(absl::string_view message) {
    if (status_.ok()) status_ = Malformed(message);
    return false;
  }
  bool Unexpected(absl::string_view what) {
    if (depth_ == 0) return Fail(absl::StrCat("must be an object, is ", what));
    if (depth_ == 1) return Fail(absl::StrCat(Quoted(name_), " must be an object, is ", what));
    return Fail(absl::StrCat(Quoted(name_), ": ", Quoted(field_), " has ", what));
  }
  bool FinishTensor() {
    SafetensorsTensor& tensor = header_.tensors.back();
    const std::string of = absl::StrCat("tensor ", Quoted(name_));
    if (!seen_dtype_) return Fail(of + " has no dtype");
    if (!seen_shape_) return Fail(of + " has no shape");
    if (!offsets_.has_value() || offsets_->size() != 2) return Fail(of + " must have data_offsets [BEGIN, END]");
    tensor.begin = (*offsets_)[0];
    tensor.end = (*offsets_)[1];
    const std::optional<uint64_t> size = ByteSize(tensor);
    if (!size) return Fail(of + ": its size overflows");
    if (tensor.end < tensor.begin || static_cast<uint64_t>(tensor.end - tensor.begin) != *size) {
      return Fail(absl::StrCat(of, " has ", *size, " bytes by dtype and shape, but data_offsets [", tensor.begin, ", ",
                               tensor.end, "]"));
    }
    return true;
  }

  SafetensorsHeader& header_;
  absl::Status status_;
  absl::flat_hash_set<std::string> names_;
  int depth_ = 0;
  bool in_array_ = false, in_metadata_ = false;
  std::string name_, field_;
  bool seen_dtype_ = false, seen_shape_ = false;
  std::optional<std::vector<int64_t>> offsets_;
};

// Tensors one after the other from 0 to the end, which leaves no room for overlaps or holes.
absl::Status CheckCoverage(std::vector<SafetensorsTensor>& tensors, uint64_t data_bytes) {
  std::sort(tensors.begin(), tensors.end(), [](const SafetensorsTensor& a, const SafetensorsTensor& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  int64_t at = 0;
  for (const SafetensorsTensor& tensor : tensors) {
    if (tensor.begin != at) {
      return Malformed(absl::StrCat("tensor ", Quoted(tensor.name), " begins at ", tensor.begin,
                                    tensor.begin < at ? ", inside the one before it, which ends at "
                                                      : ", a hole after the one before it, which ends at ",
                                    at));
    }
    at = tensor.end;
  }
  if (static_cast<uint64_t>(at) != data_bytes) {
    return Malformed(absl::StrCat("the tensors end at ", at, ", but the file has ", data_bytes, " bytes of data"));
  }
  return absl::OkStatus();
}

// `text` as a JSON string. Throws when it is not UTF-8.
std::string JsonString(const std::string& text) { return json(text).dump(); }

// The JSON without padding. Throws like JsonString.
absl::StatusOr<std::string> HeaderJson(absl::Span<const SafetensorsSpec> specs, const SafetensorsMetadata& metadata) {
  std::vector<std::string> entries;
  if (!metadata.empty()) {
    const auto append = [](std::string* out, const std::pair<const std::string, std::string>& entry) {
      absl::StrAppend(out, JsonString(entry.first), ":", JsonString(entry.second));
    };
    entries.push_back(absl::StrCat("\"", kMetadataKey, "\":{", absl::StrJoin(metadata, ",", append), "}"));
  }
  absl::flat_hash_set<absl::string_view> names = {kMetadataKey};
  uint64_t at = 0;
  for (const SafetensorsSpec& spec : specs) {
    if (!names.insert(spec.name).second) return Malformed(absl::StrCat("name ", Quoted(spec.name), " is taken"));
    const std::optional<uint64_t> size = ByteSize(spec);
    if (!size || *size > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) - at) {
      return Malformed(absl::StrCat("tensor ", Quoted(spec.name), ": a negative extent, or its end overflows"));
    }
    entries.push_back(absl::StrCat(JsonString(spec.name), ":{\"dtype\":\"", DTypeName(spec.dtype), "\",\"shape\":[",
                                   absl::StrJoin(spec.shape, ","), "],\"data_offsets\":[", at, ",", at + *size, "]}"));
    at += *size;
  }
  return absl::StrCat("{", absl::StrJoin(entries, ","), "}");
}

}  // namespace

absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(absl::string_view text, uint64_t data_bytes) {
  if (text.size() > kMaxSafetensorsHeaderBytes) {
    return Malformed(absl::StrCat("has ", text.size(), " bytes, above the limit of ", kMaxSafetensorsHeaderBytes));
  }
  if (text.empty() || text[0] != '{') return Malformed("does not start with '{'");
  // The parser takes a NUL for the end of its input, and other white space than this for padding.
  const size_t last = text.find_last_not_of(' ');
  if (text[last] != '}' || text.find('\0') != absl::string_view::npos) {
    return Malformed("does not end with '}' and spaces");
  }
  SafetensorsHeader header;
  HeaderHandler handler(header);
  try {
    if (!json::sax_parse(text.begin(), text.end(), &handler)) {
      return handler.status().ok() ? Malformed("not valid JSON") : handler.status();
    }
  } catch (const std::exception& error) {
    return Malformed(error.what());
  }
  RETURN_IF_ERROR(CheckCoverage(header.tensors, data_bytes));
  return header;
}

absl::StatusOr<std::string> SerializeSafetensorsHeader(absl::Span<const SafetensorsSpec> specs,
                                                       const SafetensorsMetadata& metadata) {
  std::string text;
  try {
    ASSIGN_OR_RETURN(text, HeaderJson(specs, metadata));
  } catch (const std::exception& error) {
    return Malformed(absl::StrCat("a name or the metadata is not UTF-8: ", error.what()));
  }
  text.resize((text.size() + 7) / 8 * 8, ' ');
  if (text.size() > kMaxSafetensorsHeaderBytes) {
    return Malformed(
        absl::StrCat("would have ", text.size(), " bytes, above the limit of ", kMaxSafetensorsHeaderBytes));
  }
  std::string start;
  for (int i = 0; i < 8; ++i) start.push_back(static_cast<char>(uint64_t{text.size()} >> (8 * i)));
  return start + text;
}

}  // namespace paramd
