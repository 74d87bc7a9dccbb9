#pragma once

#include <atomic>
#include <cstdint>

// What the simulated host takes from outside: time, chance and trouble. It has none of its own, so that a
// test which hands in a virtual clock, a seed and a plan of faults sees the same run every time.

namespace dxg::hostsim {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual uint64_t NowNs() = 0;  // never goes back; called from several threads
};

// The machine's monotonic clock.
class RealClock : public Clock {
 public:
  uint64_t NowNs() override;
};

// Stands still until somebody moves it.
class VirtualClock : public Clock {
 public:
  explicit VirtualClock(uint64_t start_ns = 0) : now_ns_(start_ns) {}
  uint64_t NowNs() override { return now_ns_.load(std::memory_order_acquire); }
  void AdvanceNs(uint64_t ns) { now_ns_.fetch_add(ns, std::memory_order_acq_rel); }

 private:
  std::atomic<uint64_t> now_ns_;
};

// A generator with a seed (SplitMix64): the same seed gives the same numbers on every machine and compiler.
class Rng {
 public:
  explicit Rng(uint64_t seed) : state_(seed) {}
  uint64_t Next();
  uint64_t Below(uint64_t limit);  // 0 to limit - 1; limit is not 0

 private:
  uint64_t state_;
};

// Where trouble can be made. A point is asked about once at each passage.
enum class FaultPoint {
  kCreateProcess,  // no memory
  kCreateDevice,
  kCreateContext,
  kCount,
};

class Faults {
 public:
  virtual ~Faults() = default;
  virtual bool Hit(FaultPoint point) = 0;  // true: it goes wrong now; called from several threads
};

// Lets each point go wrong at its n-th passage, counted from 1.
class CountedFaults : public Faults {
 public:
  void FailAt(FaultPoint point, uint64_t passage);
  bool Hit(FaultPoint point) override;

 private:
  struct Counter {
    std::atomic<uint64_t> passages{0};
    std::atomic<uint64_t> fail_at{0};  // 0: never
  };
  Counter counters_[static_cast<int>(FaultPoint::kCount)];
};

struct World {
  Clock& clock;  // outlives the host
  Rng rng{0};
  Faults* faults = nullptr;  // outlives the host; null: nothing goes wrong
};

}  // namespace dxg::hostsim
