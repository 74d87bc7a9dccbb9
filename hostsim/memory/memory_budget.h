#pragma once

#include <atomic>
#include <cstdint>

#include "base/mutex.h"
#include "proto/dxg/profile.pb.h"

namespace dxg::hostsim {

// D3DKMT_MEMORY_SEGMENT_GROUP
enum SegmentGroup : uint32_t {
  kLocal = 0,
  kNonLocal = 1,
  kSegmentGroups = 2,
};

// One process's part of an adapter's memory, in bytes. The process's lock guards it (see Process), except for
// the usage, which VideoMemory changes when other processes take memory away.
struct ProcessMemory {
  std::atomic<uint64_t> usage[kSegmentGroups] = {};
  uint64_t reservation[kSegmentGroups] = {};
  bool active = false;  // has a device on the adapter
};

// D3DKMT_QUERYVIDEOMEMORYINFO's answer, in bytes.
struct MemoryInfo {
  uint64_t budget;
  uint64_t usage;
  uint64_t reservation;
  uint64_t available_for_reservation;
};

// Divides an adapter's memory among the processes that use it. Each of the two segment groups is a pool: its
// size, and of it a percentage for all budgets together. Active processes have equal shares; a share never
// falls below what its owner has reserved, and all reservations together never exceed the budgets' part of
// the pool.
//
// Reads are a few atomic loads, because programs poll the budget.
class MemoryBudget {
 public:
  explicit MemoryBudget(const AdapterProfile& profile);

  uint64_t size(SegmentGroup group) const { return pools_[group].size.load(std::memory_order_relaxed); }
  // A pool that has lost memory, or got it back. Reservations stay.
  void Resize(SegmentGroup group, uint64_t bytes);
  // Of a pool, what all budgets are together; 0: as the profile has it.
  void SetUsable(SegmentGroup group, uint64_t bytes);
  uint64_t usable(SegmentGroup group) const { return pools_[group].usable.load(std::memory_order_relaxed); }

  MemoryInfo Info(SegmentGroup group, const ProcessMemory& process) const;
  // False, and nothing changed, where `bytes` is more than the process has available for reservation.
  bool Reserve(SegmentGroup group, ProcessMemory& process, uint64_t bytes);
  uint64_t reserved(SegmentGroup group) const {
    return pools_[group].reserved.load(std::memory_order_relaxed);
  }

  // The first device of a process, and the end of the last one.
  void Activate(ProcessMemory& process);
  void Deactivate(ProcessMemory& process);
  // The end of the process.
  void Release(ProcessMemory& process);

 private:
  struct Pool {
    std::atomic<uint64_t> size{0};
    std::atomic<uint64_t> usable{0};
    std::atomic<uint64_t> reserved{0};
  };

  void UpdateUsable(uint32_t group) DXG_REQUIRES(reserve_mutex_);

  const uint32_t percent_;
  Pool pools_[kSegmentGroups];
  std::atomic<uint32_t> active_processes_{0};
  // Makes check and change of `reserved` one step. The atomics are also read without it.
  Mutex reserve_mutex_;
  uint64_t wanted_usable_[kSegmentGroups] DXG_GUARDED_BY(reserve_mutex_) = {};  // by SetUsable; 0: none
};

}  // namespace dxg::hostsim
