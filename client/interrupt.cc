#include "client/interrupt.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cstdint>
#include <utility>

#include "client/exit_code.h"

namespace paramd {

void Interrupt::SetHandler(std::function<void()> handler) {
  absl::MutexLock lock(&mutex_);
  handler_ = std::move(handler);
}

bool Interrupt::Deliver() {
  absl::MutexLock lock(&mutex_);
  if (!handler_) return false;
  handler_();
  return true;
}

SignalInterrupt::SignalInterrupt() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  stop_event_ = eventfd(0, EFD_CLOEXEC);
  signal_event_ = signalfd(-1, &signals, SFD_CLOEXEC);
  thread_ = std::thread([this] { Wait(); });
}

SignalInterrupt::~SignalInterrupt() {
  const uint64_t one = 1;
  while (write(stop_event_, &one, sizeof(one)) < 0) {
  }
  thread_.join();
  close(stop_event_);
  close(signal_event_);
}

void SignalInterrupt::Wait() {
  while (true) {
    pollfd events[2] = {{stop_event_, POLLIN, 0}, {signal_event_, POLLIN, 0}};
    if (poll(events, 2, -1) < 0) continue;
    if (events[0].revents != 0) return;
    signalfd_siginfo info;
    if (read(signal_event_, &info, sizeof(info)) != sizeof(info)) continue;
    if (!Deliver()) _exit(kExitInterrupted);
  }
}

}  // namespace paramd
