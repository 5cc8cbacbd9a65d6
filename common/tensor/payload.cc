#include "common/tensor/payload.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "common/base/crc32c.h"
#include "common/tensor/reduce.h"

namespace paramd {
namespace {

// memcpy, but for one case: on AMD's Zen 3 the string instruction that memcpy uses for long copies takes ten times as
// long (2.8 instead of 26 GB/s) when the destination lies 1 to 31 bytes after the source modulo 4096, as happens with
// received slices that are copied into an arena. Short copies do without it.
void CopyBytes(char* to, absl::string_view from) {
  constexpr uintptr_t kPage = 4096, kSlowDistance = 32;
  constexpr size_t kShort = 1024;
  const uintptr_t distance = (reinterpret_cast<uintptr_t>(to) - reinterpret_cast<uintptr_t>(from.data())) % kPage;
  const size_t step = distance == 0 || distance >= kSlowDistance ? from.size() : kShort;
  while (!from.empty()) {
    const absl::string_view piece = from.substr(0, step);
    std::memcpy(to, piece.data(), piece.size());
    to += piece.size();
    from.remove_prefix(piece.size());
  }
}

}  // namespace

PayloadView::PayloadView(absl::Span<const absl::string_view> fragments, size_t size) : size_(size) {
  if (fragments.size() == 1) {
    single_ = fragments[0];
  } else {
    fragments_ = fragments;
  }
}

PayloadView PayloadView::Subview(size_t offset, size_t size, FragmentVector& storage) const {
  storage.resize(0);
  size_t taken = 0;
  for (size_t i = 0; i < fragment_count() && taken < size; ++i) {
    absl::string_view piece = fragment(i);
    const size_t skipped = std::min(offset, piece.size());
    offset -= skipped;
    piece = piece.substr(skipped, size - taken);
    if (piece.empty()) continue;
    storage.push_back(piece);
    taken += piece.size();
  }
  return PayloadView(storage, taken);
}

absl::string_view FloatReader::Rest() {
  while (fragment_ < payload_.fragment_count()) {
    const absl::string_view rest = payload_.fragment(fragment_).substr(offset_);
    if (!rest.empty()) return rest;
    ++fragment_;
    offset_ = 0;
  }
  return {};
}

bool FloatReader::ReadDivided(float& value) {
  char bytes[sizeof(float)];
  for (size_t have = 0; have < sizeof(float);) {
    const absl::string_view piece = Rest().substr(0, sizeof(float) - have);
    if (piece.empty()) return false;
    std::memcpy(bytes + have, piece.data(), piece.size());
    have += piece.size();
    offset_ += piece.size();
  }
  std::memcpy(&value, bytes, sizeof(float));
  return true;
}

template <typename Bulk, typename One>
void FloatReader::Read(absl::Span<float> out, Bulk bulk, One one) {
  for (size_t done = 0; done < out.size();) {
    const absl::string_view rest = Rest();
    const size_t whole = std::min(rest.size() / sizeof(float), out.size() - done);
    if (whole > 0) {
      bulk(out.subspan(done, whole), rest.substr(0, whole * sizeof(float)));
      offset_ += whole * sizeof(float);
      done += whole;
      continue;
    }
    float value;
    if (!ReadDivided(value)) return;
    one(out[done++], value);
  }
}

void FloatReader::Skip(size_t elements) {
  for (size_t bytes = elements * sizeof(float); bytes > 0;) {
    const size_t skipped = std::min(Rest().size(), bytes);
    if (skipped == 0) return;
    offset_ += skipped;
    bytes -= skipped;
  }
}

void FloatReader::Copy(absl::Span<float> out) {
  Read(
      out, [](absl::Span<float> to, absl::string_view bytes) { CopyBytes(reinterpret_cast<char*>(to.data()), bytes); },
      [](float& to, float value) { to = value; });
}

void FloatReader::Add(absl::Span<float> out) {
  Read(
      out, [](absl::Span<float> to, absl::string_view bytes) { AddBytesInto(to, bytes); },
      [](float& to, float value) { to += value; });
}

void CopyFloats(const PayloadView& payload, size_t first_element, absl::Span<float> out) {
  FloatReader reader(payload);
  reader.Skip(first_element);
  reader.Copy(out);
}

void AddFloats(const PayloadView& payload, size_t first_element, absl::Span<float> out) {
  FloatReader reader(payload);
  reader.Skip(first_element);
  reader.Add(out);
}

absl::string_view Contiguous(const PayloadView& payload, std::string& scratch) {
  if (payload.fragment_count() <= 1) return payload.empty() ? absl::string_view() : payload.fragment(0);
  scratch.resize(payload.size());
  char* to = scratch.data();
  for (size_t i = 0; i < payload.fragment_count(); ++i) {
    CopyBytes(to, payload.fragment(i));
    to += payload.fragment(i).size();
  }
  return scratch;
}

uint32_t Crc32c(const PayloadView& payload) {
  uint32_t crc = 0;
  for (size_t i = 0; i < payload.fragment_count(); ++i) crc = ExtendCrc32c(crc, payload.fragment(i));
  return crc;
}

uint32_t CopyFloatsWithCrc32c(const PayloadView& payload, absl::Span<float> out) {
  assert(payload.size() == out.size() * sizeof(float));
  constexpr size_t kPiece = 16 * 1024;  // Still in the first-level cache when it is copied.
  uint32_t crc = 0;
  char* to = reinterpret_cast<char*>(out.data());
  for (size_t i = 0; i < payload.fragment_count(); ++i) {
    absl::string_view rest = payload.fragment(i);
    while (!rest.empty()) {
      const absl::string_view piece = rest.substr(0, kPiece);
      crc = ExtendCrc32c(crc, piece);
      CopyBytes(to, piece);
      to += piece.size();
      rest.remove_prefix(piece.size());
    }
  }
  return crc;
}

}  // namespace paramd
