#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "hostsim/machine/bytes.h"
#include "hostsim/memory/io_space.h"

// What the simulated host takes from outside: time, chance and trouble. It has none of its own, so that a
// test which hands in a virtual clock, a seed and a plan of faults sees the same run every time.

namespace dxg::hostsim {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual uint64_t NowNs() = 0;  // never goes back; called from several threads
  // Calls once when the time has come, on a thread of the clock's choice and without any lock of its own;
  // never from inside CallAt.
  virtual void CallAt(uint64_t at_ns, std::function<void()> call) = 0;
};

// Calls that wait for their time: the earliest first, and among those of one time in the order they came.
using Timers = std::map<std::pair<uint64_t, uint64_t>, std::function<void()>>;  // by time and arrival

// The machine's monotonic clock. The thread that makes its calls starts with the first of them; what is still
// waiting at the clock's end is dropped.
class RealClock : public Clock {
 public:
  ~RealClock() override;
  uint64_t NowNs() override;
  void CallAt(uint64_t at_ns, std::function<void()> call) override;

 private:
  void Run();

  std::mutex mutex_;
  std::condition_variable changed_;
  Timers timers_;
  uint64_t arrivals_ = 0;
  bool stop_ = false;
  std::thread thread_;
};

// Stands still until somebody moves it. Whoever moves it makes the calls that fall due, each at its own time,
// so that a run is the same every time. One thread at a time moves it, and not from inside a call.
class VirtualClock : public Clock {
 public:
  explicit VirtualClock(uint64_t start_ns = 0) : now_ns_(start_ns) {}
  uint64_t NowNs() override { return now_ns_.load(std::memory_order_acquire); }
  void CallAt(uint64_t at_ns, std::function<void()> call) override;

  void AdvanceNs(uint64_t ns);
  bool AdvanceToNext();  // to the time of the next call, and makes it; false: none is waiting
  size_t Pending();

 private:
  bool RunNext(uint64_t until_ns);

  std::atomic<uint64_t> now_ns_;
  std::mutex mutex_;  // guards the rest
  Timers timers_;
  uint64_t arrivals_ = 0;
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

// The guest's own memory, for allocations whose bytes are pages of a client. A run of it that the guest has
// described to us has a number, its GPADL.
class GuestMemory {
 public:
  virtual ~GuestMemory() = default;
  // False where the page is gone. Called from several threads.
  virtual bool Read(uint32_t gpadl, uint64_t offset, Bytes bytes) = 0;
  virtual bool Write(uint32_t gpadl, uint64_t offset, ConstBytes bytes) = 0;
  virtual uint64_t Size(uint32_t gpadl) = 0;  // 0: there is no such GPADL

  // As above, of a page by its frame number. Only who says that it knows frames is asked.
  virtual bool knows_frames() const { return false; }
  virtual bool ReadFrame(uint64_t /*frame*/, uint64_t /*offset*/, Bytes) { return false; }
  virtual bool WriteFrame(uint64_t /*frame*/, uint64_t /*offset*/, ConstBytes) { return false; }
};

class FaultPlan;

struct World {
  Clock& clock;  // outlives the host
  Rng rng{0};
  FaultPlan* faults = nullptr;          // outlives the host; null: the host has its own
  GuestMemory* guest_memory = nullptr;  // outlives the host; null: there is none to reach
  WindowFile window = {};               // of a guest that says itself where it has its window
  bool engine_threads = false;          // engines work on threads of their own, and time passes there
};

}  // namespace dxg::hostsim
