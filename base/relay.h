#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <list>
#include <thread>

#include "base/mutex.h"
#include "base/reading_turn.h"

namespace dxg {

// A loop that must go on although what it calls may be gone for as long as somebody likes.
//
// One thread runs the loop. Where it touches what may not answer, it says so with a Pause; another thread
// watches, and takes the loop over when a Pause has lasted for a tick. The first one comes back to find the
// loop another's: Lost() is true then, and it must leave the loop without a look at what belongs to it. If
// the other one is in a Pause itself just then, the first one has the loop again, and the other one loses it.
class Relay {
 public:
  static constexpr int kThreadsMax = 256;

  // Runs the loop until it is over (false), or this thread has lost it (true).
  using Loop = std::function<bool()>;

  ~Relay() { Stop(); }
  // False: there is no thread to be had for it.
  [[nodiscard]] bool Start(Loop loop) DXG_EXCLUDES(mutex_);
  // The loop ends by itself; this waits for it and all threads.
  void Stop() DXG_EXCLUDES(mutex_);
  // The same, for so long at most. False: a thread has not come back.
  bool StopFor(std::chrono::milliseconds time_max) DXG_EXCLUDES(mutex_);

  // This thread has lost the loop that it is in. False of all other threads.
  static bool Lost();
  // Of the loop that this thread runs, another thread is gone. False of threads that run no loop.
  static bool AnyGone();
  // This thread has the loop: it runs it, has not lost it, and is in no Pause.
  bool IsMine() const;

  // Nothing, of a thread that runs no such loop. They nest.
  class Pause {
   public:
    Pause();
    ~Pause();
    Pause(const Pause&) = delete;
    Pause& operator=(const Pause&) = delete;
  };

 private:
  void StartThread() DXG_REQUIRES(mutex_);
  // Whoever lives and does not wait is gone, but for the one that has the loop.
  void CountGone() DXG_REQUIRES(mutex_) { gone_ = living_ - idle_ - 1; }
  void Work() DXG_EXCLUDES(mutex_);

  Loop loop_;
  ReadingTurn turn_;
  Mutex mutex_;
  std::list<std::thread> threads_ DXG_GUARDED_BY(mutex_);
  ConditionVariable left_;
  int living_ DXG_GUARDED_BY(mutex_) = 0;  // threads that have not ended
  int idle_ DXG_GUARDED_BY(mutex_) = 0;    // of them, that wait for the loop
  std::atomic<int> gone_ = 0;              // as last counted
  bool over_ DXG_GUARDED_BY(mutex_) = false;
};

}  // namespace dxg
