// Tells ThreadSanitizer what absl's Mutex, CondVar and Notification order.
//
// The operating system's Abseil is not instrumented, so every access under a Mutex would count as a race. With
// `--config=tsan` the linker sends the calls below (--wrap in .bazelrc) here: each is forwarded, with an acquire after
// what locks or waits, and a release before what unlocks or notifies. Abseil may evaluate a waiting thread's Condition
// on the thread that unlocks; these reads happen under the mutex and are ignored.
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"

extern "C" {

void __tsan_acquire(void* address);
void __tsan_release(void* address);
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);

}  // extern "C"

namespace {

struct IgnoreReads {
  IgnoreReads() { AnnotateIgnoreReadsBegin(__FILE__, __LINE__); }
  ~IgnoreReads() { AnnotateIgnoreReadsEnd(__FILE__, __LINE__); }
};

// Runs `call`, which lets go of the mutex and takes it again.
template <typename Call>
auto Waiting(absl::Mutex* mutex, Call call) {
  __tsan_release(mutex);
  struct AcquireAtEnd {
    absl::Mutex* mutex;
    ~AcquireAtEnd() { __tsan_acquire(mutex); }
  } acquire{mutex};
  IgnoreReads ignore;
  return call();
}

}  // namespace

// Declares the real function of a mangled name and opens the definition of its wrapper.
#define PARAMD_WRAP(result, mangled, ...)          \
  extern "C" result __real_##mangled(__VA_ARGS__); \
  extern "C" result __wrap_##mangled(__VA_ARGS__)

PARAMD_WRAP(void, _ZN4absl7debian35Mutex4LockEv, absl::Mutex* mutex) {
  {
    IgnoreReads ignore;
    __real__ZN4absl7debian35Mutex4LockEv(mutex);
  }
  __tsan_acquire(mutex);
}

PARAMD_WRAP(void, _ZN4absl7debian35Mutex6UnlockEv, absl::Mutex* mutex) {
  __tsan_release(mutex);
  IgnoreReads ignore;
  __real__ZN4absl7debian35Mutex6UnlockEv(mutex);
}

PARAMD_WRAP(void, _ZN4absl7debian35Mutex10ReaderLockEv, absl::Mutex* mutex) {
  {
    IgnoreReads ignore;
    __real__ZN4absl7debian35Mutex10ReaderLockEv(mutex);
  }
  __tsan_acquire(mutex);
}

PARAMD_WRAP(void, _ZN4absl7debian35Mutex12ReaderUnlockEv, absl::Mutex* mutex) {
  __tsan_release(mutex);
  IgnoreReads ignore;
  __real__ZN4absl7debian35Mutex12ReaderUnlockEv(mutex);
}

PARAMD_WRAP(void, _ZN4absl7debian35Mutex5AwaitERKNS0_9ConditionE, absl::Mutex* mutex,
            const absl::Condition& condition) {
  Waiting(mutex, [&] { __real__ZN4absl7debian35Mutex5AwaitERKNS0_9ConditionE(mutex, condition); });
}

PARAMD_WRAP(bool, _ZN4absl7debian35Mutex16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE, absl::Mutex* mutex,
            const absl::Condition& condition, absl::Duration timeout) {
  return Waiting(mutex, [&] {
    return __real__ZN4absl7debian35Mutex16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE(mutex, condition, timeout);
  });
}

PARAMD_WRAP(bool, _ZN4absl7debian37CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE, absl::CondVar* variable,
            absl::Mutex* mutex, absl::Time deadline) {
  return Waiting(mutex, [&] {
    return __real__ZN4absl7debian37CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE(variable, mutex, deadline);
  });
}

PARAMD_WRAP(bool, _ZN4absl7debian37CondVar15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE, absl::CondVar* variable,
            absl::Mutex* mutex, absl::Duration timeout) {
  return Waiting(mutex, [&] {
    return __real__ZN4absl7debian37CondVar15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE(variable, mutex, timeout);
  });
}

PARAMD_WRAP(void, _ZN4absl7debian312Notification6NotifyEv, absl::Notification* notification) {
  __tsan_release(notification);
  __real__ZN4absl7debian312Notification6NotifyEv(notification);
}

PARAMD_WRAP(void, _ZNK4absl7debian312Notification19WaitForNotificationEv, absl::Notification* notification) {
  __real__ZNK4absl7debian312Notification19WaitForNotificationEv(notification);
  __tsan_acquire(notification);
}

PARAMD_WRAP(bool, _ZNK4absl7debian312Notification30WaitForNotificationWithTimeoutENS0_8DurationE,
            absl::Notification* notification, absl::Duration timeout) {
  const bool notified =
      __real__ZNK4absl7debian312Notification30WaitForNotificationWithTimeoutENS0_8DurationE(notification, timeout);
  if (notified) __tsan_acquire(notification);
  return notified;
}
