// Whether a test runs under ThreadSanitizer, for the few that must do less there: it replaces the allocator, and takes
// milliseconds for every access to memory that the operating system's libraries handed from thread to thread.
#ifndef PARAMD_COMMON_BASE_THREAD_SANITIZER_H_
#define PARAMD_COMMON_BASE_THREAD_SANITIZER_H_

extern "C" void __tsan_init() __attribute__((weak));  // The compiler's own macro is switched off in .bazelrc.

namespace paramd {

inline bool UnderThreadSanitizer() { return &__tsan_init != nullptr; }

}  // namespace paramd

#endif  // PARAMD_COMMON_BASE_THREAD_SANITIZER_H_
