// One direction of one connection of the fault proxy: what becomes of its bytes, as a machine without sockets or clock.
//
//   FaultPipe pipe(/*seed=*/7);
//   pipe.SetRule({.kind = FaultRule::Kind::kDelay, .delay = absl::Milliseconds(75)});
//   pipe.Push(bytes, now);
//   pipe.Pop(Send(pipe.Ready(now)), now);      // And again at pipe.Next(now).
//
// Rules: see FaultRule. Bytes inside TCP are never lost with the later ones arriving: a direction that has lost bytes
// in a blackhole stays dark until its connection ends, whatever the rule becomes. Bounded: CanTake says when to stop
// reading. Not thread safe.
#ifndef PARAMD_TESTS_FRAMEWORK_FAULT_PIPE_H_
#define PARAMD_TESTS_FRAMEWORK_FAULT_PIPE_H_

#include <cstdint>
#include <deque>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/base/philox.h"

namespace paramd {

struct FaultRule {
  enum class Kind {
    kPass,
    kBlackhole,  // Bytes are taken and lost.
    kStall,      // Bytes wait until another rule comes.
    kDelay,      // By `delay`, and by up to `jitter` more; order is kept.
    kThrottle,   // To `bytes_per_second`.
    kTruncate,   // After `at_byte` more bytes the connection is closed. Once.
    kFlip,       // Bit `bit` of byte `at_byte` (the next one is 0) changes. Once.
  };
  Kind kind = Kind::kPass;
  absl::Duration delay;
  absl::Duration jitter;
  int64_t bytes_per_second = 0;
  int64_t at_byte = 0;
  int bit = 0;
};

struct FaultPipeCounters {
  int64_t forwarded_bytes = 0;
  int64_t lost_bytes = 0;
  int64_t delayed_bytes = 0;  // Delayed, throttled, or held by a stall.
  int64_t flipped_bits = 0;
  int64_t truncations = 0;
};

class FaultPipe {
 public:
  static constexpr int64_t kMaxQueuedBytes = 4 << 20;

  explicit FaultPipe(uint64_t seed) : random_(seed, RandomStream::kTest) {}

  // Positions of kTruncate and kFlip count from here.
  void SetRule(const FaultRule& rule);
  // False: the queue is full, read later.
  bool CanTake() const { return queued_bytes_ < kMaxQueuedBytes; }
  void Push(absl::string_view bytes, absl::Time now);
  // The sender will send no more.
  void PushEnd() { end_pushed_ = true; }

  // What may go out now; valid until the next call. Pop says how much of it went.
  absl::string_view Ready(absl::Time now) const;
  void Pop(size_t bytes, absl::Time now);
  // The sender's end may be passed on: everything before it is out.
  bool Ended() const { return end_pushed_ && queue_.empty() && !Silent(); }
  // Nothing gets through now, not even the news that the sender is gone.
  bool Silent() const {
    return dark_ || rule_.kind == FaultRule::Kind::kBlackhole || rule_.kind == FaultRule::Kind::kStall;
  }
  // The connection is to be closed: a truncation is done.
  bool Cut() const { return truncated_ && queue_.empty(); }
  // A rule that happens once has happened.
  bool fired() const { return fired_; }
  // When something may become ready without a Push; infinite when nothing will.
  absl::Time Next(absl::Time now) const;

  const FaultPipeCounters& counters() const { return counters_; }

 private:
  struct Block {
    std::string bytes;
    size_t sent = 0;
    absl::Time due;
  };
  // Changes `bytes` as kTruncate and kFlip say.
  void Damage(std::string& bytes);

  FaultRule rule_;
  Philox random_;
  std::deque<Block> queue_;
  int64_t queued_bytes_ = 0;
  int64_t position_ = 0;  // Bytes since SetRule.
  absl::Time last_due_ = absl::InfinitePast();
  absl::Time throttled_until_ = absl::InfinitePast();
  bool fired_ = false;  // kTruncate and kFlip happen once.
  bool truncated_ = false;
  bool dark_ = false;
  bool end_pushed_ = false;
  FaultPipeCounters counters_;
};

}  // namespace paramd

#endif  // PARAMD_TESTS_FRAMEWORK_FAULT_PIPE_H_
