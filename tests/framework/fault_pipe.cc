#include "tests/framework/fault_pipe.h"

#include <algorithm>
#include <utility>

namespace paramd {
namespace {

// Throttled bytes go out in pieces of so much time.
constexpr absl::Duration kThrottlePiece = absl::Milliseconds(10);

size_t PieceBytes(const FaultRule& rule) {
  return static_cast<size_t>(
      std::max<int64_t>(1, rule.bytes_per_second * absl::ToInt64Milliseconds(kThrottlePiece) / 1000));
}

}  // namespace

void FaultPipe::SetRule(const FaultRule& rule) {
  rule_ = rule;
  position_ = 0;
  fired_ = false;
}

void FaultPipe::Push(absl::string_view bytes, absl::Time now) {
  if (bytes.empty() || truncated_) return;
  if (dark_ || rule_.kind == FaultRule::Kind::kBlackhole) {
    dark_ = true;
    counters_.lost_bytes += static_cast<int64_t>(bytes.size());
    return;
  }
  Block block = {.bytes = std::string(bytes), .due = now};
  Damage(block.bytes);
  if (rule_.kind == FaultRule::Kind::kDelay) block.due += rule_.delay + rule_.jitter * double{random_.Uniform()};
  last_due_ = block.due = std::max(block.due, last_due_);
  const bool slow = rule_.kind == FaultRule::Kind::kDelay || rule_.kind == FaultRule::Kind::kThrottle ||
                    rule_.kind == FaultRule::Kind::kStall;
  if (slow) counters_.delayed_bytes += static_cast<int64_t>(block.bytes.size());
  queued_bytes_ += static_cast<int64_t>(block.bytes.size());
  if (!block.bytes.empty()) queue_.push_back(std::move(block));
}

void FaultPipe::Damage(std::string& bytes) {
  const int64_t begin = std::exchange(position_, position_ + static_cast<int64_t>(bytes.size()));
  if (fired_) return;
  if (rule_.kind == FaultRule::Kind::kFlip && rule_.at_byte >= begin && rule_.at_byte < position_) {
    fired_ = true;
    bytes[rule_.at_byte - begin] ^= static_cast<char>(1 << rule_.bit);
    ++counters_.flipped_bits;
  }
  if (rule_.kind == FaultRule::Kind::kTruncate && rule_.at_byte <= position_) {
    fired_ = truncated_ = true;
    bytes.resize(rule_.at_byte - begin);
    ++counters_.truncations;
  }
}

absl::string_view FaultPipe::Ready(absl::Time now) const {
  if (queue_.empty() || rule_.kind == FaultRule::Kind::kStall) return {};
  const Block& block = queue_.front();
  if (block.due > now) return {};
  const absl::string_view rest = absl::string_view(block.bytes).substr(block.sent);
  if (rule_.kind != FaultRule::Kind::kThrottle) return rest;
  return throttled_until_ > now ? absl::string_view() : rest.substr(0, PieceBytes(rule_));
}

void FaultPipe::Pop(size_t bytes, absl::Time now) {
  if (bytes == 0) return;
  Block& block = queue_.front();
  block.sent += bytes;
  queued_bytes_ -= static_cast<int64_t>(bytes);
  counters_.forwarded_bytes += static_cast<int64_t>(bytes);
  if (rule_.kind == FaultRule::Kind::kThrottle) {
    throttled_until_ = now + absl::Seconds(static_cast<double>(bytes) / static_cast<double>(rule_.bytes_per_second));
  }
  if (block.sent == block.bytes.size()) queue_.pop_front();
}

absl::Time FaultPipe::Next(absl::Time now) const {
  if (queue_.empty() || rule_.kind == FaultRule::Kind::kStall) return absl::InfiniteFuture();
  absl::Time next = queue_.front().due;
  if (rule_.kind == FaultRule::Kind::kThrottle) next = std::max(next, throttled_until_);
  return std::max(next, now);
}

}  // namespace paramd
