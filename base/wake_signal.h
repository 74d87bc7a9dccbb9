#pragma once

#include <ctime>

namespace dxg {

// The signal that gets a thread out of a system call. Ignored by default, so a stray one harms nobody.
int WakeSignal();
// It interrupts from here on, in the whole process.
void InstallWakeSignal();
// Of the calling thread.
void UnblockWakeSignal();

// As long as it lives, what the calling thread waits for in the kernel is interrupted about every
// millisecond. Where no timer can be had, nothing is.
class WokenAgainAndAgain {
 public:
  WokenAgainAndAgain();
  ~WokenAgainAndAgain();
  WokenAgainAndAgain(const WokenAgainAndAgain&) = delete;
  WokenAgainAndAgain& operator=(const WokenAgainAndAgain&) = delete;

 private:
  timer_t timer_ = {};
  bool has_timer_ = false;
};

}  // namespace dxg
