#pragma once

#include <sys/types.h>

#include <algorithm>
#include <atomic>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <thread>

#include "base/circle.h"
#include "base/mutex.h"

namespace dxg::guest {

// Where the end of something large goes on, so that whoever began it is free: the thread that reads the
// kernel's requests (a process ends), or a worker (a device does). A teardown is a coroutine; it counts its
// steps, and after as many as take about a millisecond others that wait have their turn: one of each user, so
// that nobody waits longer because somebody else leaves with many processes. What is little is done at once,
// by whoever began it.
class TeardownThread {
 public:
  static constexpr size_t kStepsAtOnce = 256;

  ~TeardownThread() { Stop(); }
  // Waits until all that has begun is done. What begins afterwards is done at once.
  void Stop() DXG_EXCLUDES(mutex_);

  // The part of one teardown in this.
  class Turn {
   public:
    Turn(TeardownThread& thread, uid_t user) : thread_(thread), user_(user) {}

    // `co_await turn.Take(steps)`, before so many steps.
    struct Awaiter {
      Turn& turn;
      const size_t steps;
      bool await_ready() const noexcept { return steps <= turn.left_; }
      bool await_suspend(std::coroutine_handle<> waiter) const {
        return turn.thread_.Enqueue(turn.user_, waiter);
      }
      void await_resume() const noexcept {
        if (steps > turn.left_) turn.left_ = kStepsAtOnce;
        turn.left_ -= std::min(steps, turn.left_);
        ++turn.thread_.steps_;
      }
    };
    Awaiter Take(size_t steps = 1) { return {*this, steps}; }

   private:
    TeardownThread& thread_;
    const uid_t user_;
    size_t left_ = kStepsAtOnce;
  };

  // This thread is such a thread, which everybody may need.
  static bool IsHere();

  // -- For tests --
  // Steps ever, and how often a teardown was put off: once for each turn that it had on the thread.
  uint64_t steps() const { return steps_; }
  uint64_t turns() const { return turns_; }

 private:
  // False: no thread can be had, or no longer; the teardown goes on where it is.
  bool Enqueue(uid_t user, std::coroutine_handle<> waiter) DXG_EXCLUDES(mutex_);
  void Run() DXG_EXCLUDES(mutex_);
  std::coroutine_handle<> Next() DXG_REQUIRES(mutex_);

  std::atomic<uint64_t> steps_{0}, turns_{0};
  Mutex mutex_;
  ConditionVariable changed_;
  bool stopping_ DXG_GUARDED_BY(mutex_) = false;
  Circle<uid_t, std::deque<std::coroutine_handle<>>> waiting_ DXG_GUARDED_BY(mutex_);
  std::thread thread_ DXG_GUARDED_BY(mutex_);  // started when it is first needed
};

}  // namespace dxg::guest
