#include "hostsim/machine/world.h"

#include <chrono>

#include "base/start_thread.h"

namespace dxg::hostsim {

uint64_t RealClock::NowNs() {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                   std::chrono::steady_clock::now().time_since_epoch())
                                   .count());
}

RealClock::~RealClock() {
  {
    MutexLock lock(mutex_);
    stop_ = true;
  }
  changed_.NotifyAll();
  if (thread_.joinable()) thread_.join();
}

void RealClock::CallAt(uint64_t at_ns, std::function<void()> call) {
  MutexLock lock(mutex_);
  timers_.emplace(std::pair(at_ns, ++arrivals_), std::move(call));
  // Without a thread it waits for the next call that is to be made.
  if (!thread_.joinable()) (void)StartThread(&thread_, [this] { Run(); });
  changed_.NotifyAll();
}

// Nothing: the clock ends.
Timers::node_type RealClock::WaitUntilDue() {
  MutexLock lock(mutex_);
  while (!stop_) {
    if (timers_.empty()) {
      changed_.Wait(mutex_);
      continue;
    }
    const uint64_t now_ns = NowNs();
    const uint64_t at_ns = timers_.begin()->first.first;
    if (at_ns <= now_ns) return timers_.extract(timers_.begin());
    changed_.WaitForNs(mutex_, at_ns - now_ns);
  }
  return {};
}

void RealClock::Run() {
  // A call, and what it holds, ends without the lock.
  while (const Timers::node_type due = WaitUntilDue()) due.mapped()();
}

void VirtualClock::CallAt(uint64_t at_ns, std::function<void()> call) {
  MutexLock lock(mutex_);
  timers_.emplace(std::pair(at_ns, ++arrivals_), std::move(call));
}

bool VirtualClock::RunNext(uint64_t until_ns) {
  Timers::node_type due;
  {
    MutexLock lock(mutex_);
    if (timers_.empty() || timers_.begin()->first.first > until_ns) return false;
    due = timers_.extract(timers_.begin());
  }
  if (due.key().first > NowNs()) now_ns_.store(due.key().first, std::memory_order_release);
  due.mapped()();
  return true;
}

void VirtualClock::AdvanceNs(uint64_t ns) {
  const uint64_t until_ns = NowNs() + ns;
  while (RunNext(until_ns)) {
  }
  now_ns_.store(until_ns, std::memory_order_release);
}

bool VirtualClock::AdvanceToNext() { return RunNext(~0ull); }

size_t VirtualClock::Pending() {
  MutexLock lock(mutex_);
  return timers_.size();
}

uint64_t Rng::Next() {
  uint64_t z = (state_ += 0x9E3779B97F4A7C15u);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

// The bias of the remainder is below 2^-32 for every limit that a test uses.
uint64_t Rng::Below(uint64_t limit) { return Next() % limit; }

}  // namespace dxg::hostsim
