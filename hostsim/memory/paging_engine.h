#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/mutex.h"
#include "hostsim/machine/aftermath.h"
#include "hostsim/machine/recent_amount.h"
#include "hostsim/sync/sync_domain.h"
#include "proto/dxg/profile.pb.h"

namespace dxg::hostsim {

class Machine;
class PagingEngine;

// A piece of work for the paging engine.
struct PagingOperation {
  uint64_t duration_ns = 0;
  std::shared_ptr<SyncObject> after;  // null, or a fence that has to reach after_value first
  uint64_t after_value = 0;
  // Called once. `executed`: the work is done; no lock is held. Otherwise it is dropped, under locks of the
  // dropper, and may only add to the aftermath.
  std::function<void(bool executed, Aftermath* aftermath)> done;
};

// Operations that are carried out in their order. The lock of the PagingEngine guards it; clang cannot check
// that, because a lane does not know its engine, and only PagingEngine has access to the members.
class PagingLane {
 public:
  explicit PagingLane(int32_t priority) : priority_(priority) {}

 private:
  friend class PagingEngine;
  struct Entry {
    PagingOperation operation;
    uint64_t arrival;
    uint64_t waiter = 0;                          // at operation.after
    std::shared_ptr<std::atomic<bool>> released;  // by it; stays so if the fence falls again
  };

  const int32_t priority_;
  std::deque<Entry> waiting_;
  uint64_t stalled_until_ns_ = 0;
  bool closed_ = false;
};

// Moves memory and changes page tables: one operation at a time, each of which takes its time. It serves the
// lane of the highest priority that has something to do, and among equals the operation that came first.
//
// Enqueue and Stall run nothing themselves, because their callers hold locks that an operation may need. The
// engine runs in the aftermath of its callers and when the clock calls.
class PagingEngine : public std::enable_shared_from_this<PagingEngine> {
 public:
  static constexpr uint64_t kForever = ~0ull;

  PagingEngine(Machine& machine, const AdapterProfile::Paging& profile);

  std::shared_ptr<PagingLane> AddLane(int32_t priority);
  // Drops what is left. The lane takes nothing more.
  void Close(PagingLane& lane, Aftermath* aftermath);
  void Enqueue(const std::shared_ptr<PagingLane>& lane, PagingOperation operation, Aftermath* aftermath);

  // Whether work for the lane takes no time and nothing is in its way: its caller does it at once.
  bool Prompt(const PagingLane& lane);
  // Operations that have not ended.
  size_t Outstanding(const PagingLane& lane);
  uint64_t Duration(uint64_t bytes) const;  // of an operation that moves so many, in ns

  // For statistics: so many bytes have been moved, by an operation or without one.
  void NoteMoved(uint64_t bytes);
  uint64_t BytesPerSecond();  // that were moved of late

  // Begins nothing before that time: of one lane, or of all where it is null.
  void Stall(PagingLane* lane, uint64_t until_ns, Aftermath* aftermath);

 private:
  using LaneList = std::vector<std::shared_ptr<PagingLane>>;

  struct Current {
    std::shared_ptr<PagingLane> lane;
    PagingOperation operation;
    uint64_t due_ns;
  };

  void Run();
  std::optional<Current> NextEnded();
  bool StartNext(uint64_t now_ns) DXG_REQUIRES(mutex_);
  bool Ready(PagingLane& lane, uint64_t now_ns) DXG_REQUIRES(mutex_);
  void RunAt(uint64_t at_ns);
  std::function<void()> RunLater();

  Machine& machine_;
  const uint64_t bytes_per_second_;
  const uint64_t operation_ns_;
  const bool immediate_;

  Mutex mutex_;
  LaneList lanes_ DXG_GUARDED_BY(mutex_);
  std::optional<Current> current_ DXG_GUARDED_BY(mutex_);
  std::shared_ptr<PagingLane> ending_ DXG_GUARDED_BY(mutex_);  // whose operation is being told
  uint64_t arrivals_ DXG_GUARDED_BY(mutex_) = 0;
  uint64_t stalled_until_ns_ DXG_GUARDED_BY(mutex_) = 0;
  RecentAmount moved_bytes_ DXG_GUARDED_BY(mutex_);
  bool running_ DXG_GUARDED_BY(mutex_) = false;
  bool again_ DXG_GUARDED_BY(mutex_) = false;
};

}  // namespace dxg::hostsim
