#include "common/rpc/termination.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>

namespace paramd {
namespace {

sigset_t TerminationSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}

// Signals belong to the process, and so does this: the one event that RequestTermination raises. Never closed.
int RequestEvent() {
  static const int descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  return descriptor;
}

}  // namespace

void BlockTerminationSignals() {
  const sigset_t signals = TerminationSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
}

int WaitForTermination() {
  const sigset_t signals = TerminationSignals();
  const int signal_descriptor = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
  pollfd events[] = {{signal_descriptor, POLLIN, 0}, {RequestEvent(), POLLIN, 0}};
  int result = -1;
  while (result < 0) {
    if (poll(events, 2, -1) < 0 && errno != EINTR) result = 0;
    signalfd_siginfo info;
    uint64_t requests;
    if (read(signal_descriptor, &info, sizeof(info)) == sizeof(info)) {
      result = static_cast<int>(info.ssi_signo);
    } else if (read(RequestEvent(), &requests, sizeof(requests)) == sizeof(requests)) {
      result = 0;
    }
  }
  close(signal_descriptor);
  return result;
}

void RequestTermination() {
  const uint64_t one = 1;
  // Fails only when the event is raised already, 2^64 - 2 times.
  [[maybe_unused]] const ssize_t written = write(RequestEvent(), &one, sizeof(one));
}

}  // namespace paramd
