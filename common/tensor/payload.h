// Bytes of a message as they lie in memory: one or more fragments in order, cut anywhere, and the kernels that read
// little-endian fp32 values straight out of them.
//
//   PayloadView payload(fragments, size);              // e.g. the slices of a received message
//   AddFloats(payload, 0, absl::MakeSpan(sums));       // sums[i] += element i
//   FloatReader reader(payload);                       // the same block by block, without searching again
//   while (...) reader.Add(block);
//
// Nothing is copied but the up to 3 bytes of an element that a cut divides. A view borrows the bytes and the array of
// fragments; it is valid as long as they are. Only reads; thread safe as long as nobody writes the bytes.
#ifndef PARAMD_COMMON_TENSOR_PAYLOAD_H_
#define PARAMD_COMMON_TENSOR_PAYLOAD_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/container/inlined_vector.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace paramd {

// Storage for fragments that rarely needs the heap.
using FragmentVector = absl::InlinedVector<absl::string_view, 8>;

class PayloadView {
 public:
  PayloadView() = default;

  // A single fragment is kept in the view itself: the view may outlive everything but the bytes.
  explicit PayloadView(absl::string_view contiguous) : single_(contiguous), size_(contiguous.size()) {}

  // `size` is the sum of the fragments' sizes. Borrows the array unless it has one fragment.
  PayloadView(absl::Span<const absl::string_view> fragments, size_t size);

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

  size_t fragment_count() const { return fragments_.empty() ? (single_.empty() ? 0 : 1) : fragments_.size(); }
  absl::string_view fragment(size_t i) const { return fragments_.empty() ? single_ : fragments_[i]; }

  // Bytes [offset, offset + size) of this view, cut off at its end. The array of the result is `storage`.
  PayloadView Subview(size_t offset, size_t size, FragmentVector& storage) const;

 private:
  absl::string_view single_;  // Used when fragments_ is empty.
  absl::Span<const absl::string_view> fragments_;
  size_t size_ = 0;
};

// Reads fp32 elements from front to back. Not thread safe; the view's bytes must outlive it.
class FloatReader {
 public:
  explicit FloatReader(const PayloadView& payload) : payload_(payload) {}

  // Leaves out elements; stops at the end.
  void Skip(size_t elements);

  // The next out.size() elements: out[i] = element, or out[i] += element. A payload that ends before leaves the rest
  // of `out` as it is.
  void Copy(absl::Span<float> out);
  void Add(absl::Span<float> out);

 private:
  // The rest of the current fragment, or of the next that has any; empty only at the end of the payload.
  absl::string_view Rest();
  // Gathers an element from several fragments; false when the payload ends before it does.
  bool ReadDivided(float& value);
  // bulk(span, bytes) for runs of elements that lie in one fragment, one(element, value) for those that are divided.
  template <typename Bulk, typename One>
  void Read(absl::Span<float> out, Bulk bulk, One one);

  PayloadView payload_;
  size_t fragment_ = 0;
  size_t offset_ = 0;  // Within the fragment.
};

// out[i] = element first_element + i. The payload should have 4 * (first_element + out.size()) bytes; what it lacks
// leaves the rest of `out` as it is.
void CopyFloats(const PayloadView& payload, size_t first_element, absl::Span<float> out);

// out[i] += element first_element + i, with the bits of AddInto.
void AddFloats(const PayloadView& payload, size_t first_element, absl::Span<float> out);

// All bytes in one piece: the payload's own memory when it is one fragment, otherwise a copy in `scratch`.
absl::string_view Contiguous(const PayloadView& payload, std::string& scratch);

// CRC-32C of all bytes; see common/base/crc32c.h.
uint32_t Crc32c(const PayloadView& payload);
// Crc32c and the copy of all elements into `out`, which has as many, in one pass over memory.
uint32_t CopyFloatsWithCrc32c(const PayloadView& payload, absl::Span<float> out);

}  // namespace paramd

#endif  // PARAMD_COMMON_TENSOR_PAYLOAD_H_
