#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace dxg {

// How long somebody else may take, without the time in which we stood still ourselves: a process that was
// stopped (SIGSTOP, a freezer, a machine that was paused) finds its clock far ahead, and that says nothing of
// the other one. So the clock is looked at again and again, and what lies between two looks counts as one
// step at most. Who is never stopped and looks in time does not notice. For one thread at a time. All times
// are in ns; `now_ns` is of one clock that never goes back.
class Patience {
 public:
  static constexpr uint64_t kEndless = ~0ull;
  static constexpr uint64_t kSteps = 16;  // a stop costs one of them, if no other length is asked for

  Patience() = default;  // endless
  Patience(uint64_t limit_ns, uint64_t now_ns) : Patience(limit_ns, limit_ns / kSteps, now_ns) {}
  Patience(uint64_t limit_ns, uint64_t step_ns, uint64_t now_ns)
      : left_ns_(limit_ns), step_ns_(std::max<uint64_t>(step_ns, 1)), seen_ns_(now_ns) {}

  bool endless() const { return left_ns_ == kEndless; }
  // Looks at the clock. True: the limit is reached.
  bool IsOver(uint64_t now_ns) { return IsOver(now_ns, now_ns); }
  // As above, where what came after `until_ns` was not the other one's time.
  bool IsOver(uint64_t now_ns, uint64_t until_ns) {
    if (endless()) return false;
    const uint64_t counted_ns = std::min(now_ns, until_ns);
    if (counted_ns > seen_ns_) left_ns_ -= std::min({counted_ns - seen_ns_, step_ns_, left_ns_});
    seen_ns_ = std::max(seen_ns_, now_ns);
    return left_ns_ == 0;
  }
  // What has passed until now was not the other one's time.
  void Skip(uint64_t now_ns) { seen_ns_ = std::max(seen_ns_, now_ns); }
  // The other one took so long by another clock.
  void Use(uint64_t ns) {
    if (!endless()) left_ns_ -= std::min(ns, left_ns_);
  }
  // When to look again at the latest.
  uint64_t next_look_ns() const { return endless() ? kEndless : seen_ns_ + std::min(left_ns_, step_ns_); }

 private:
  uint64_t left_ns_ = kEndless;
  uint64_t step_ns_ = kEndless;
  uint64_t seen_ns_ = 0;
};

// The same by this machine's clock:
//
//    while (!answered && !patience.IsOver()) changed.WaitUntil(mutex, patience.next_look());
class RealPatience {
 public:
  using Clock = std::chrono::steady_clock;

  explicit RealPatience(std::chrono::nanoseconds limit, Clock::time_point now = Clock::now())
      : patience_(Ns(limit), Ns(now.time_since_epoch())) {}
  RealPatience(std::chrono::nanoseconds limit, std::chrono::nanoseconds step,
               Clock::time_point now = Clock::now())
      : patience_(Ns(limit), Ns(step), Ns(now.time_since_epoch())) {}

  bool IsOver(Clock::time_point now = Clock::now()) { return patience_.IsOver(Ns(now.time_since_epoch())); }
  Clock::time_point next_look() const {
    return Clock::time_point(
        std::chrono::duration_cast<Clock::duration>(std::chrono::nanoseconds(patience_.next_look_ns())));
  }

 private:
  static uint64_t Ns(std::chrono::nanoseconds time) { return static_cast<uint64_t>(time.count()); }

  Patience patience_;
};

}  // namespace dxg
