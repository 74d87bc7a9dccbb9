#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include "base/mutex.h"

namespace dxg {

// Which worker reads the kernel's next request; the same for others who read what everybody waits for
// (Relay).
//
// One at a time: what has to be in order (a RELEASE before the OPEN behind it) is processed by the reader
// before anybody reads on. Passing the turn to another worker at every request would give that order too, but
// the thread switches double the round trip (8 us to 15, client and daemon on one core). So the reader only
// OFFERS the turn while it processes, and as handlers are short it nearly always finds it still its own
// afterwards. One other worker watches, and takes an offered turn over when the reader has been at the same
// request for a whole tick:
//
//     reader    read | Offer . process . Resume | read | Offer . process ................. Resume: lost
//     watcher   ............ tick ............ tick ............ tick: taken | read | Offer . process ...
//
// The watcher ticks only while requests arrive; on an idle node it sleeps until the next Offer.
class ReadingTurn {
 public:
  static constexpr std::chrono::milliseconds kTick{4};

  // Waits for the turn. False: Stop was called, there is no turn any more.
  bool Take() DXG_EXCLUDES(watching_, mutex_);
  // By the holder, before it processes a request: from here on another worker may take the turn.
  void Offer();
  // By the same worker, after it: true when the turn is still (or again) ours, false when it has to Take.
  bool Resume();
  void Stop() DXG_EXCLUDES(mutex_);

 private:
  enum class State : uint32_t { kFree, kHeld, kOffered };

  bool Swap(State from, State to) { return state_.compare_exchange_strong(from, to); }
  void SleepUntilOffer(uint64_t offers_seen) DXG_REQUIRES(mutex_);
  void WakeWatcher() DXG_EXCLUDES(mutex_);

  // Held by the one worker that watches; the others wait for it.
  Mutex watching_ DXG_ACQUIRED_BEFORE(mutex_);
  Mutex mutex_;  // held from the watcher's last look to its sleep, so that no wake-up is lost
  ConditionVariable wake_;
  bool stopping_ DXG_GUARDED_BY(mutex_) = false;
  std::atomic<bool> awake_ = false;  // false: the watcher sleeps, and Offer has to wake it
  std::atomic<State> state_ = State::kFree;
  std::atomic<uint64_t> offers_ = 0;  // written by the holder alone
};

}  // namespace dxg
