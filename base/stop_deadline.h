#pragma once

#include <chrono>
#include <functional>
#include <thread>

#include "base/mutex.h"

namespace dxg {

// What it takes at most to stop a process that serves others. A thread may be in the memory of a client that
// does not answer, and nobody can get it out of there. Then the process ends around it, and what others could
// see of it is gone before: `withdraw` takes it away, and the connections to the kernel and to others are
// closed.
class StopDeadline {
 public:
  // From when the stop begins.
  StopDeadline(int exit_status, std::function<void()> withdraw);
  // It has stopped.
  ~StopDeadline() DXG_EXCLUDES(mutex_);
  StopDeadline(const StopDeadline&) = delete;
  StopDeadline& operator=(const StopDeadline&) = delete;

 private:
  static constexpr std::chrono::milliseconds kStopMax{1500};

  bool WaitUntilStopped() DXG_EXCLUDES(mutex_);

  Mutex mutex_;
  ConditionVariable changed_;
  bool stopped_ DXG_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace dxg
