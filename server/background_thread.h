// One thread that runs tasks in order: for work that blocks and must not hold up the session or the owner threads.
//
//   background.Post([this] { WriteFiles(); });
//
// Post and Stop are thread safe. Stop waits for the task under way and drops the others.
#ifndef PARAMD_SERVER_BACKGROUND_THREAD_H_
#define PARAMD_SERVER_BACKGROUND_THREAD_H_

#include <deque>
#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace paramd {

class BackgroundThread {
 public:
  BackgroundThread() : thread_([this] { Run(); }) {}
  ~BackgroundThread() { Stop(); }

  void Post(std::function<void()> task);
  void Stop();

 private:
  void Run();
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return stopped_ || !tasks_.empty(); }

  absl::Mutex mutex_;
  std::deque<std::function<void()>> tasks_ ABSL_GUARDED_BY(mutex_);
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace paramd

#endif  // PARAMD_SERVER_BACKGROUND_THREAD_H_
