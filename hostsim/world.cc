#include "hostsim/world.h"

#include <chrono>

namespace dxg::hostsim {

uint64_t RealClock::NowNs() {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                   std::chrono::steady_clock::now().time_since_epoch())
                                   .count());
}

uint64_t Rng::Next() {
  uint64_t z = (state_ += 0x9E3779B97F4A7C15u);
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

// The bias of the remainder is below 2^-32 for every limit that a test uses.
uint64_t Rng::Below(uint64_t limit) { return Next() % limit; }

void CountedFaults::FailAt(FaultPoint point, uint64_t passage) {
  Counter& counter = counters_[static_cast<int>(point)];
  counter.passages = 0;
  counter.fail_at = passage;
}

bool CountedFaults::Hit(FaultPoint point) {
  Counter& counter = counters_[static_cast<int>(point)];
  return ++counter.passages == counter.fail_at.load();
}

}  // namespace dxg::hostsim
