// ^C as a callback, so that a watch can let go of its job politely.
//
//   SignalInterrupt interrupt;                       // first thing in main
//   interrupt.SetHandler([&] { context.TryCancel(); });
//
// Without a handler SIGINT ends the process with exit code 130. Thread safe; the handler runs on a thread of its own
// and must not block or call SetHandler.
#ifndef PARAMD_CLIENT_INTERRUPT_H_
#define PARAMD_CLIENT_INTERRUPT_H_

#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace paramd {

class Interrupt {
 public:
  virtual ~Interrupt() = default;
  // Calls `handler` on every interrupt from now on; nullptr takes the handler away. No call is running after it
  // returns.
  void SetHandler(std::function<void()> handler);

 protected:
  // Calls the handler; false when there is none.
  bool Deliver();

 private:
  absl::Mutex mutex_;
  std::function<void()> handler_ ABSL_GUARDED_BY(mutex_);
};

// SIGINT. Blocks the signal in the constructing thread and all threads started later; one per process.
class SignalInterrupt final : public Interrupt {
 public:
  SignalInterrupt();
  ~SignalInterrupt() override;

 private:
  void Wait();

  int stop_event_ = -1;
  int signal_event_ = -1;
  std::thread thread_;
};

// Interrupts when a test says so.
class ManualInterrupt final : public Interrupt {
 public:
  bool Raise() { return Deliver(); }
};

}  // namespace paramd

#endif  // PARAMD_CLIENT_INTERRUPT_H_
