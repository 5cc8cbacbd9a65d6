// Whether a stream may read its next request: back-pressure, and the bound on the memory that one peer can take.
//
//   switch (gate.Next()) {                        // The reader, before each read.
//     case ReadGate::Verdict::kRead:  StartRead(...); break;
//     case ReadGate::Verdict::kPause: break;      // No longer the reader; do not touch the reader's state.
//     case ReadGate::Verdict::kEnd:   ...         // Closed.
//   }
//   gate.Accept(bytes);                           // The reader: it has read a request.
//   if (gate.Consumed(bytes)) GoOnReading();      // Any thread: its payload is not needed any more.
//   if (gate.Answered()) GoOnReading();           // Any thread: its answer is out.
//
// It pauses while too many requests hold a payload, too many payload bytes are held, or too many requests are open
// (accepted and not answered); and lets the reader go on when half of that is left, so that reading does not stop and
// start with every request. Each payload is consumed soon after it came, so a pause for payloads ends by itself.
//
// Threading: the reader is one thread at a time. A method that returns true has made its caller the reader, who must
// call Next. Everything the last reader did before Next is seen by the new one.
#ifndef PARAMD_SERVER_SERVICE_READ_GATE_H_
#define PARAMD_SERVER_SERVICE_READ_GATE_H_

#include <atomic>
#include <cstdint>

namespace paramd {

struct ReadLimits {
  int payloads = 64;                 // Requests whose payload has not been consumed.
  int64_t payload_bytes = 16 << 20;  // Reached by at most one request more than that.
  int64_t open_requests = 65536;     // Accepted and not answered.
};

class ReadGate {
 public:
  enum class Verdict { kRead, kPause, kEnd };

  explicit ReadGate(ReadLimits limits) : limits_(limits) {}

  Verdict Next();
  void Accept(int64_t bytes);
  bool Consumed(int64_t bytes);
  bool Answered();
  // No more reads, from the next on.
  bool Close();

  int64_t held_bytes() const { return bytes_.load(std::memory_order_relaxed); }
  int64_t open() const { return open_.load(std::memory_order_relaxed); }

 private:
  // Whether there is room for a request; with `share` 2, whether half is free.
  bool HasRoom(int share) const;
  bool Unpause() { return paused_.exchange(false); }

  // The order of all changes and looks is what keeps the last one to make room from missing the pause, and the reader
  // from missing the room: everything here is sequentially consistent.
  const ReadLimits limits_;
  std::atomic<int64_t> payloads_ = 0;
  std::atomic<int64_t> bytes_ = 0;
  std::atomic<int64_t> open_ = 0;
  std::atomic<bool> closed_ = false;
  std::atomic<bool> paused_ = false;
};

}  // namespace paramd

#endif  // PARAMD_SERVER_SERVICE_READ_GATE_H_
