#include "base/stop_deadline.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <utility>

#include "base/patience.h"
#include "base/start_thread.h"

namespace dxg {

StopDeadline::StopDeadline(int exit_status, std::function<void()> withdraw) {
  const auto watch = [this, exit_status, withdraw = std::move(withdraw)] {
    if (WaitUntilStopped()) return;
    spdlog::warn("not all has stopped after {} ms (memory of a client may not answer); leaving without it",
                 kStopMax.count());
    withdraw();
    close_range(STDERR_FILENO + 1, ~0u, 0);
    _exit(exit_status);
  };
  if (!StartThread(&thread_, watch))
    spdlog::warn("no thread can be had to watch the stop (ulimit -u): it may take as long as a client likes");
}

StopDeadline::~StopDeadline() {
  {
    MutexLock lock(mutex_);
    stopped_ = true;
  }
  changed_.NotifyAll();
  if (thread_.joinable()) thread_.join();
}

bool StopDeadline::WaitUntilStopped() {
  RealPatience patience(kStopMax);
  MutexLock lock(mutex_);
  while (!stopped_ && !patience.IsOver()) changed_.WaitUntil(mutex_, patience.next_look());
  return stopped_;
}

}  // namespace dxg
