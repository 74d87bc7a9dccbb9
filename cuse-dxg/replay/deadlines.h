#pragma once

#include <coroutine>
#include <cstdint>
#include <functional>
#include <map>
#include <thread>

#include "base/mutex.h"
#include "base/status.h"

namespace dxg::replay {

// Coroutines that wait for a time of CLOCK_MONOTONIC, with no thread of anybody's: one thread of its own
// wakes them, and hands them on.
class Deadlines {
 public:
  // Goes on with a coroutine of that process elsewhere, because it may touch its client.
  using Resume = std::function<void(uint32_t process, std::coroutine_handle<> waiter)>;

  ~Deadlines() { Stop(); }
  // EAGAIN: no thread can be had.
  Status Start(Resume resume);
  // All go on now, and nobody waits from here on.
  void Stop() DXG_EXCLUDES(mutex_);

  // `co_await Until(...)`.
  struct Awaiter {
    Deadlines& deadlines;
    uint64_t at_ns;
    uint32_t process;
    bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<> waiter) const { return deadlines.Add(at_ns, process, waiter); }
    void await_resume() const noexcept {}
  };
  Awaiter Until(uint64_t at_ns, uint32_t process) { return {*this, at_ns, process}; }

  static uint64_t NowNs();

 private:
  struct Waiter {
    uint32_t process;
    std::coroutine_handle<> handle;
  };
  // False: it is that late already.
  bool Add(uint64_t at_ns, uint32_t process, std::coroutine_handle<> waiter) DXG_EXCLUDES(mutex_);
  void Run() DXG_EXCLUDES(mutex_);

  Resume resume_;
  Mutex mutex_;
  ConditionVariable changed_;
  std::multimap<uint64_t, Waiter> waiting_ DXG_GUARDED_BY(mutex_);
  bool stopping_ DXG_GUARDED_BY(mutex_) = true;
  std::thread thread_;
};

}  // namespace dxg::replay
