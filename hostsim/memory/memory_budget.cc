#include "hostsim/memory/memory_budget.h"

#include <algorithm>

namespace dxg::hostsim {

// An adapter without memory of its own has one pool, and everything in it is local.
MemoryBudget::MemoryBudget(const AdapterProfile& profile) : percent_(profile.memory().budget_percent()) {
  const AdapterProfile::Memory& memory = profile.memory();
  if (memory.dedicated_video_bytes() != 0) {
    pools_[kLocal].size = memory.dedicated_video_bytes();
    pools_[kNonLocal].size = memory.shared_system_bytes();
  } else {
    pools_[kLocal].size = memory.dedicated_system_bytes() + memory.shared_system_bytes();
  }
  for (uint32_t group = 0; group < kSegmentGroups; ++group) UpdateUsable(group);
}

void MemoryBudget::UpdateUsable(uint32_t group) {
  Pool& pool = pools_[group];
  const uint64_t size = pool.size;
  const uint64_t part = percent_ == 100 ? size : size / 100 * percent_;
  pool.usable = wanted_usable_[group] != 0 ? std::min(wanted_usable_[group], size) : part;
}

void MemoryBudget::Resize(SegmentGroup group, uint64_t bytes) {
  MutexLock lock(reserve_mutex_);
  pools_[group].size = bytes;
  UpdateUsable(group);
}

void MemoryBudget::SetUsable(SegmentGroup group, uint64_t bytes) {
  MutexLock lock(reserve_mutex_);
  wanted_usable_[group] = bytes;
  UpdateUsable(group);
}

MemoryInfo MemoryBudget::Info(SegmentGroup group, const ProcessMemory& process) const {
  const Pool& pool = pools_[group];
  const uint32_t sharers = active_processes_.load(std::memory_order_relaxed) + (process.active ? 0 : 1);
  const uint64_t own = process.reservation[group];
  const uint64_t others = pool.reserved.load(std::memory_order_relaxed) - own;
  MemoryInfo info;
  const uint64_t usable = pool.usable.load(std::memory_order_relaxed);
  info.budget = std::max(usable / std::max(sharers, 1u), own);
  info.usage = process.usage[group].load(std::memory_order_relaxed);
  info.reservation = own;
  // A pool that has shrunk may be reserved beyond its end.
  info.available_for_reservation = std::min(info.budget, usable > others ? usable - others : 0);
  return info;
}

bool MemoryBudget::Reserve(SegmentGroup group, ProcessMemory& process, uint64_t bytes) {
  MutexLock lock(reserve_mutex_);
  if (bytes > Info(group, process).available_for_reservation) return false;
  pools_[group].reserved += bytes - process.reservation[group];  // modulo 2^64, so it can also go down
  process.reservation[group] = bytes;
  return true;
}

void MemoryBudget::Activate(ProcessMemory& process) {
  if (process.active) return;
  process.active = true;
  ++active_processes_;
}

void MemoryBudget::Deactivate(ProcessMemory& process) {
  if (!process.active) return;
  process.active = false;
  --active_processes_;
}

void MemoryBudget::Release(ProcessMemory& process) {
  Deactivate(process);
  MutexLock lock(reserve_mutex_);
  for (uint32_t group = 0; group < kSegmentGroups; ++group) {
    pools_[group].reserved -= process.reservation[group];
    process.reservation[group] = 0;
  }
}

}  // namespace dxg::hostsim
