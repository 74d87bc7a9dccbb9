#include "base/workers.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "base/start_thread.h"
#include "base/status.h"

namespace dxg {

bool Workers::Start(int kept, std::function<void()> work) {
  work_ = std::move(work);
  MutexLock lock(mutex_);
  DXG_CHECK(workers_.empty());
  kept_ = kept;
  for (int i = 0; i < kept; ++i) StartWorker();
  return !workers_.empty();
}

void Workers::StartWorker() {
  const auto run = [this] {
    work_();
    MutexLock lock(mutex_);
    --working_;
    ended_.NotifyAll();
  };
  std::thread worker;
  if (!StartThread(&worker, run))
    return spdlog::warn("no thread can be had for another worker (ulimit -u); {} go on", working_);
  workers_.push_back(std::move(worker));
  ++working_;
  ++idle_;  // from here on, so that nobody starts another one before it runs
}

void Workers::Serve(const std::function<bool()>& read) {
  while (TakeTurn()) {
    if (!read() || !BecomeIdle()) return;
  }
}

// Of an idle worker. False: there is no turn any more.
bool Workers::TakeTurn() {
  const bool taken = turn_.Take();
  MutexLock lock(mutex_);
  --idle_;
  if (!taken || stopping_) return false;
  // The turn that we have must be somebody's to take in his turn.
  if (idle_ == 0 && working_ < kThreadsMax) StartWorker();
  return true;
}

// Of a worker that has lost the turn. False: there are enough without it.
bool Workers::BecomeIdle() {
  MutexLock lock(mutex_);
  if (working_ > kept_ && idle_ > 0 && !stopping_) {
    const auto self = std::find_if(workers_.begin(), workers_.end(), [](const std::thread& worker) {
      return worker.get_id() == std::this_thread::get_id();
    });
    self->detach();
    workers_.erase(self);
    return false;
  }
  ++idle_;
  return true;
}

void Workers::Stop() {
  stopping_ = true;
  turn_.Stop();
}

bool Workers::WaitEndedForNs(uint64_t ns) {
  MutexLock lock(mutex_);
  if (working_ > 0) ended_.WaitForNs(mutex_, ns);
  return working_ == 0;
}

void Workers::Join() {
  std::list<std::thread> workers;
  {
    MutexLock lock(mutex_);
    while (working_ > 0) ended_.Wait(mutex_);
    workers.swap(workers_);
  }
  for (std::thread& worker : workers) worker.join();
}

}  // namespace dxg
