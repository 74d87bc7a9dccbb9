#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <thread>
#include <utility>

#include "base/mutex.h"
#include "hostsim/machine/bytes.h"
#include "hostsim/machine/user_budget.h"
#include "hostsim/memory/io_space.h"

// What the simulated host takes from outside: time, random numbers and faults. It has none of its own, so a
// test that hands in a virtual clock, a seed and a fault plan sees the same run every time.

namespace dxg::hostsim {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual uint64_t NowNs() = 0;  // never goes back; called from several threads
  // Calls once when the time has come, on a thread of the clock's choice and without any lock of its own;
  // never from inside CallAt.
  virtual void CallAt(uint64_t at_ns, std::function<void()> call) = 0;
};

// Calls that wait for their time: the earliest first, and calls of the same time in the order they came.
using Timers = std::map<std::pair<uint64_t, uint64_t>, std::function<void()>>;  // by time and arrival

// The monotonic clock of this computer. The thread that makes its calls starts with the first call. Calls
// that are still waiting when the clock is destroyed are dropped.
class RealClock : public Clock {
 public:
  ~RealClock() override;
  uint64_t NowNs() override;
  void CallAt(uint64_t at_ns, std::function<void()> call) override;

 private:
  void Run();
  Timers::node_type WaitUntilDue();

  Mutex mutex_;
  ConditionVariable changed_;
  Timers timers_ DXG_GUARDED_BY(mutex_);
  uint64_t arrivals_ DXG_GUARDED_BY(mutex_) = 0;
  bool stop_ DXG_GUARDED_BY(mutex_) = false;
  std::thread thread_;  // the lock guards its start; after that only the destructor uses it
};

// A clock that stands still until a test moves it. The thread that moves it makes the calls that fall due,
// each at its own time, so a run is the same every time. One thread at a time moves it, and not from inside a
// call.
class VirtualClock : public Clock {
 public:
  explicit VirtualClock(uint64_t start_ns = 0) : now_ns_(start_ns) {}
  uint64_t NowNs() override { return now_ns_.load(std::memory_order_acquire); }
  void CallAt(uint64_t at_ns, std::function<void()> call) override;

  void AdvanceNs(uint64_t ns);
  bool AdvanceToNext();  // to the time of the next call, and makes it; false: none is waiting
  // As when the process is stopped: time passes, and what is due meanwhile is late.
  void StandStillNs(uint64_t ns) { now_ns_.fetch_add(ns, std::memory_order_release); }
  size_t Pending();

 private:
  bool RunNext(uint64_t until_ns);

  std::atomic<uint64_t> now_ns_;
  Mutex mutex_;
  Timers timers_ DXG_GUARDED_BY(mutex_);
  uint64_t arrivals_ DXG_GUARDED_BY(mutex_) = 0;
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

// The guest's own memory, for allocations whose bytes are pages of a client. A run of pages that the guest
// has described to the host has a number, its GPADL (guest physical address descriptor list). Offsets and
// sizes are in bytes.
class GuestMemory {
 public:
  virtual ~GuestMemory() = default;
  // False where the page is gone. Called from several threads.
  virtual bool Read(uint32_t gpadl, uint64_t offset, Bytes bytes) = 0;
  virtual bool Write(uint32_t gpadl, uint64_t offset, ConstBytes bytes) = 0;
  virtual uint64_t Size(uint32_t gpadl) = 0;  // 0: there is no such GPADL

  // As above, for one page by its frame number. Called only if knows_frames() is true.
  virtual bool knows_frames() const { return false; }
  virtual bool ReadFrame(uint64_t /*frame*/, uint64_t /*offset*/, Bytes) { return false; }
  virtual bool WriteFrame(uint64_t /*frame*/, uint64_t /*offset*/, ConstBytes) { return false; }
};

class FaultPlan;
class WorkObserver;

// Objects of all kinds that one process may have. A real host stops where its memory does; a limit keeps one
// client of the simulator from taking everybody's.
inline constexpr uint32_t kObjectsPerProcessMax = 1u << 20;

struct World {
  Clock& clock;  // outlives the host
  Rng rng{0};
  FaultPlan* faults = nullptr;          // outlives the host; null: the host has its own
  GuestMemory* guest_memory = nullptr;  // outlives the host; null: there is none to reach
  WorkObserver* work = nullptr;         // as above; null: nobody asks what engines do
  WindowFile window = {};               // one file for the whole window, if the guest chooses its address
  uint32_t objects_per_process_max = kObjectsPerProcessMax;  // a test has lower limits, here and below
  UserLimits user_limits = {};
  bool engine_threads = false;  // engines execute commands on threads of their own
};

}  // namespace dxg::hostsim
