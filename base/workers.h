#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <thread>

#include "base/mutex.h"
#include "base/reading_turn.h"

namespace dxg {

// The threads that serve requests, one of which reads at a time.
//
// So many are kept. Where one of them reads and all others are in requests that take long, another one is
// started, so that somebody watches the one who reads. Whoever comes back to find enough others ends.
class Workers {
 public:
  // With those that are started because others are in a request that takes long.
  static constexpr int kThreadsMax = 1024;

  // Each worker runs `work` once, which calls Serve. False: there is no thread to be had for any of them.
  [[nodiscard]] bool Start(int kept, std::function<void()> work) DXG_EXCLUDES(mutex_);

  // Of a worker: has `read` called each time that it has the turn. `read` reads and processes, with Offer and
  // Resume of the turn, until the turn is lost (true) or there is nothing left to read (false).
  void Serve(const std::function<bool()>& read) DXG_EXCLUDES(mutex_);
  ReadingTurn& turn() { return turn_; }

  // No worker gets the turn any more. The one that has it ends when its `read` returns.
  void Stop() DXG_EXCLUDES(mutex_);
  // Whether Stop was called: `read` has to return false then.
  bool stopping() const { return stopping_; }
  // False: a worker still runs.
  bool WaitEndedForNs(uint64_t ns) DXG_EXCLUDES(mutex_);
  // After Stop: when it returns, no worker runs. Not from a worker.
  void Join() DXG_EXCLUDES(mutex_);

 private:
  void StartWorker() DXG_REQUIRES(mutex_);
  bool TakeTurn() DXG_EXCLUDES(mutex_);
  bool BecomeIdle() DXG_EXCLUDES(mutex_);

  std::function<void()> work_;
  ReadingTurn turn_;
  std::atomic<bool> stopping_ = false;

  Mutex mutex_;
  ConditionVariable ended_;
  // A worker that is not needed any more takes itself out; Join joins the rest.
  std::list<std::thread> workers_ DXG_GUARDED_BY(mutex_);
  int kept_ DXG_GUARDED_BY(mutex_) = 0;
  int working_ DXG_GUARDED_BY(mutex_) = 0;  // workers that have not ended
  int idle_ DXG_GUARDED_BY(mutex_) = 0;     // those of them that wait for the turn, one of which watches
};

}  // namespace dxg
