#include "hostsim/memory/memory_budget.h"

#include <algorithm>

#include "hostsim/machine/call.h"
#include "hostsim/machine/commands.h"
#include "proto/abi/ntstatus.h"

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

namespace {

bool ValidPool(uint32_t group, uint32_t physical_adapter_index) {
  return group < kSegmentGroups && physical_adapter_index < kPhysicalAdapters;
}

}  // namespace

void Commands::Handle(CommandContext& call, const host::QueryVideoMemoryInfo::Request& request,
                      host::QueryVideoMemoryInfo::Reply* reply) {
  if (call.CheckLiveAdapter() != kStatusSuccess || request.adapter() != call.adapter->info().host_handle ||
      !ValidPool(request.memory_segment_group(), request.physical_adapter_index())) {
    return call.Refuse();  // this reply has no status
  }
  const auto group = static_cast<SegmentGroup>(request.memory_segment_group());
  MemoryInfo info;
  {
    MutexLock lock(call.process->mutex());
    info = call.adapter->memory().Info(group, call.process->MemoryOn(*call.adapter));
  }
  reply->set_budget(info.budget);
  reply->set_current_usage(info.usage);
  reply->set_current_reservation(info.reservation);
  reply->set_available_for_reservation(info.available_for_reservation);
}

// The guest sends 0 for process and adapter: the header names both.
void Commands::Handle(CommandContext& call, const host::ChangeVideoMemoryReservation::Request& request,
                      host::ChangeVideoMemoryReservation::Reply* reply) {
  auto change = [&]() -> int32_t {
    if (const int32_t status = call.CheckCaller(); status != kStatusSuccess) return status;
    if (request.process() != 0 || request.adapter() != 0 ||
        !ValidPool(request.memory_segment_group(), request.physical_adapter_index())) {
      return kStatusInvalidParameter;
    }
    if (call.adapter->removed()) return kStatusDeviceRemoved;
    MutexLock lock(call.process->mutex());
    AdapterUse* use = call.process->UseAdapter(call.adapter);
    if (!use) return kStatusInvalidParameter;  // the process has just ended
    const auto group = static_cast<SegmentGroup>(request.memory_segment_group());
    const bool reserved = call.adapter->memory().Reserve(group, use->memory, request.reservation());
    return reserved ? kStatusSuccess : kStatusInvalidParameter;
  };
  reply->set_status(change());
}

}  // namespace dxg::hostsim
