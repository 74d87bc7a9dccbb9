#include "cuse-dxg/attach/reading_turn.h"

namespace dxg::attach {

bool ReadingTurn::Take() {
  std::lock_guard watching(watching_);
  std::unique_lock lock(mutex_);
  uint64_t offers_before = UINT64_MAX;  // no tick of ours yet
  while (!stopping_) {
    if (Swap(State::kFree, State::kHeld)) return true;
    const uint64_t offers = offers_.load();
    const bool whole_tick = offers == offers_before;
    if (whole_tick && Swap(State::kOffered, State::kHeld)) return true;
    if (whole_tick) SleepUntilOffer(lock, offers);
    offers_before = offers_.load();
    if (!stopping_) wake_.wait_for(lock, kTick);
  }
  return false;
}

// The order of the two stores and loads here and in Offer (all sequentially consistent) makes sure that
// either we see the new offer, or its maker sees us asleep.
void ReadingTurn::SleepUntilOffer(std::unique_lock<std::mutex>& lock, uint64_t offers_seen) {
  awake_.store(false);
  if (offers_.load() == offers_seen) wake_.wait(lock, [this] { return awake_.load() || stopping_; });
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
    std::lock_guard lock(mutex_);
    awake_.store(true);
  }
  wake_.notify_one();
}

void ReadingTurn::Stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
}

}  // namespace dxg::attach
