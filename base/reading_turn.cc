#include "base/reading_turn.h"

namespace dxg {

bool ReadingTurn::Take() {
  MutexLock watching(watching_);
  MutexLock lock(mutex_);
  uint64_t offers_before = UINT64_MAX;  // no tick of ours yet
  while (!stopping_) {
    if (Swap(State::kFree, State::kHeld)) return true;
    const uint64_t offers = offers_.load();
    const bool whole_tick = offers == offers_before;
    if (whole_tick && Swap(State::kOffered, State::kHeld)) return true;
    if (whole_tick) SleepUntilOffer(offers);
    offers_before = offers_.load();
    if (!stopping_) wake_.WaitForNs(mutex_, std::chrono::nanoseconds(kTick).count());
  }
  return false;
}

// The order of the two stores and loads here and in Offer (all sequentially consistent) makes sure that
// either we see the new offer, or its maker sees us asleep.
void ReadingTurn::SleepUntilOffer(uint64_t offers_seen) {
  awake_.store(false);
  if (offers_.load() == offers_seen) {
    while (!awake_.load() && !stopping_) wake_.Wait(mutex_);
  }
  awake_.store(true);
}

void ReadingTurn::Offer() {
  offers_.store(offers_.load(std::memory_order_relaxed) + 1);
  state_.store(State::kOffered);
  if (!awake_.load()) WakeWatcher();
}

bool ReadingTurn::Resume() { return Swap(State::kOffered, State::kHeld); }

void ReadingTurn::WakeWatcher() {
  {
    MutexLock lock(mutex_);
    awake_.store(true);
  }
  wake_.NotifyOne();
}

void ReadingTurn::Stop() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
  }
  wake_.NotifyAll();
}

}  // namespace dxg
