#include <algorithm>
#include <unordered_set>

#include "hostsim/machine/call.h"
#include "hostsim/machine/commands.h"
#include "hostsim/memory/allocation.h"
#include "hostsim/memory/paging_queue.h"
#include "proto/abi/ntstatus.h"

namespace dxg::hostsim {
namespace {

constexpr uint32_t kResidencyFlags = VideoMemory::kCantTrimFurther | VideoMemory::kMustSucceed;

// D3DDDI_EVICT_FLAGS. What a discarding evict loses is undefined; here nothing.
constexpr uint32_t kOnlyIfNecessary = 1u << 0;
constexpr uint32_t kNotWrittenTo = 1u << 1;

// D3DDDI_UPDATEALLOCPROPERTY: which members count.
constexpr uint32_t kSupportedSegments = 1u << 1;
constexpr uint32_t kPreferredSegment = 1u << 2;
constexpr uint32_t kKnownProperties = (1u << 4) - 1;

constexpr uint32_t kSegmentIdMask = 0x1F;  // of a preference, which counts segments from 1

bool ValidCount(uint32_t count, int listed) {
  return count != 0 && count <= kAllocationsPerListMax && count == static_cast<uint32_t>(listed);
}

std::vector<Storage*> Storages(const std::vector<Allocation*>& allocations) {
  std::vector<Storage*> storages;
  storages.reserve(allocations.size());
  for (const Allocation* allocation : allocations) storages.push_back(allocation->storage.get());
  return storages;
}

// Of those that no earlier command of the process has made resident, each once and in the list's order.
std::vector<Storage*> NewlyListed(const std::vector<Allocation*>& allocations) {
  std::vector<Storage*> storages;
  std::unordered_set<const Allocation*> seen;
  for (const Allocation* allocation : allocations) {
    if (allocation->residency_count != 0 || !seen.insert(allocation).second) continue;
    storages.push_back(allocation->storage.get());
  }
  return storages;
}

PagingResult MoveIn(CommandContext& call, PagingQueue& queue, const std::vector<Allocation*>& allocations,
                    uint64_t bytes) {
  if (bytes == 0) return queue.Nothing();
  std::vector<std::weak_ptr<Storage>> moved;  // what is destroyed meanwhile is not waited for
  moved.reserve(allocations.size());
  for (const Allocation* allocation : allocations) moved.push_back(allocation->storage);
  auto arrive = [memory = queue.device.adapter->video_memory(), moved = std::move(moved)] {
    memory->Arrive(moved);
  };
  return queue.Submit(call, bytes, std::move(arrive));
}

}  // namespace

int32_t Commands::Handle(CommandContext& call, const host::MakeResident::Request& request,
                         host::MakeResident::Reply* reply) {
  if (const int32_t status = call.CheckCaller(); status != kStatusSuccess) return status;
  const bool must_succeed_alone = request.flags() == VideoMemory::kMustSucceed;
  if (!ValidCount(request.alloc_count(), request.allocations_size()) || must_succeed_alone ||
      (request.flags() & ~kResidencyFlags) != 0) {
    return kStatusInvalidParameter;
  }
  Process& process = *call.process;
  MutexLock lock(process.mutex());
  PagingQueue* queue = FindPagingQueue(call, process, request.paging_queue());
  std::vector<Allocation*> allocations;
  if (!queue || !FindAllocations(call, process, queue->device, request.allocations(), &allocations)) {
    return kStatusInvalidParameter;
  }
  if (call.adapter->removed() || !queue->device.active()) return kStatusDeviceRemoved;
  VideoMemory& memory = *call.adapter->video_memory();
  for (const Allocation* allocation : allocations) {
    if (memory.Decommitted(*allocation->storage)) return kStatusInvalidParameter;
  }
  AdapterUse* use = process.UseAdapter(call.adapter);
  const std::vector<Storage*> all = Storages(allocations);
  const bool must_succeed = (request.flags() & VideoMemory::kMustSucceed) != 0;
  uint64_t missing = 0;
  if (call.Strike(FaultPoint::kNoMemoryResident) ||
      (must_succeed && call.Strike(FaultPoint::kMustSucceedFails))) {
    missing = all.front()->bytes();
  } else {
    const auto shrunk = call.Strike(FaultPoint::kBudgetShrinks);
    missing = memory.MakeResident(use->memory, NewlyListed(allocations), request.flags(),
                                  shrunk ? shrunk->value : VideoMemory::kBudgetAsItIs);
  }
  if (missing != 0) {
    reply->set_num_bytes_to_trim(missing);
    if (must_succeed) {
      queue->device.Fail(process, ExecutionState::kOutOfMemory, &call.aftermath);
    }
    return kStatusNoMemory;
  }
  for (Allocation* allocation : allocations) ++allocation->residency_count;
  const PagingResult result = MoveIn(call, *queue, allocations, memory.BytesToMove(all));
  reply->set_paging_fence_value(result.fence_value);
  return result.status;
}

// The reply has no status. Works whatever state the adapter and the device are in.
void Commands::Handle(CommandContext& call, const host::Evict::Request& request, host::Evict::Reply* reply) {
  auto evict = [&]() -> bool {
    if (call.CheckCaller() != kStatusSuccess) return false;
    if (!ValidCount(request.alloc_count(), request.allocations_size()) ||
        (request.flags() & ~(kOnlyIfNecessary | kNotWrittenTo)) != 0) {
      return false;
    }
    Process& process = *call.process;
    MutexLock lock(process.mutex());
    const Device* device = FindDevice(call, process, request.device());
    std::vector<Allocation*> allocations;
    if (!device || !FindAllocations(call, process, *device, request.allocations(), &allocations))
      return false;
    std::vector<Storage*> left;  // by this process's last evict
    for (Allocation* allocation : allocations) {
      if (allocation->residency_count == 0) continue;  // an evict too many changes nothing
      if (--allocation->residency_count == 0) left.push_back(allocation->storage.get());
    }
    AdapterUse* use = process.UseAdapter(call.adapter);
    const bool only_if_necessary = (request.flags() & kOnlyIfNecessary) != 0;
    reply->set_num_bytes_to_trim(call.adapter->video_memory()->Evict(use->memory, left, only_if_necessary));
    return true;
  };
  if (!evict()) call.Refuse();
}

// One answer for each allocation, or one for all of a resource: the worst of them.
int32_t Commands::Handle(CommandContext& call, const host::QueryAllocationResidency::Request& request,
                         host::QueryAllocationResidency::Reply* reply) {
  if (const int32_t status = call.CheckCaller(); status != kStatusSuccess) return status;
  const bool of_resource = request.resource() != 0;
  if (request.allocation_count() != static_cast<uint32_t>(request.allocations_size()) ||
      of_resource != (request.allocation_count() == 0)) {
    return kStatusInvalidParameter;
  }
  Process& process = *call.process;
  MutexLock lock(process.mutex());
  const Device* device = FindDevice(call, process, request.device());
  if (!device) return kStatusInvalidParameter;
  VideoMemory& memory = *call.adapter->video_memory();
  if (!of_resource) {
    std::vector<Allocation*> allocations;
    if (!FindAllocations(call, process, *device, request.allocations(), &allocations)) {
      return kStatusInvalidParameter;
    }
    for (const Allocation* allocation : allocations) {
      reply->add_residency_status(static_cast<uint32_t>(memory.Where(*allocation->storage)));
    }
    return kStatusSuccess;
  }
  const Resource* resource = FindResource(call, process, request.resource());
  if (!resource || &resource->device != device) return kStatusInvalidParameter;
  Residency worst = resource->allocations.empty() ? Residency::kNotResident : Residency::kInGpuMemory;
  for (const auto& [place, handle] : resource->allocations) {
    worst = std::max(worst, memory.Where(*process.Find<Allocation>(handle)->storage));
  }
  reply->add_residency_status(static_cast<uint32_t>(worst));
  return kStatusSuccess;
}

namespace {

// The segments that a command asks for; false: the adapter does not have them, or the storage may not go
// there.
bool WantedSegments(const host::UpdateAllocationProperty::Request& request, VideoMemory& memory,
                    const Storage& storage, uint32_t* supported, uint32_t* preferred) {
  *supported = memory.Supported(storage);
  *preferred = memory.Preferred(storage);
  const uint32_t possible = storage.traits.system_only ? memory.ApertureSegments() : memory.AllSegments();
  if ((request.property_mask() & kSupportedSegments) != 0) *supported = request.supported_segment_set();
  if (*supported == 0 || (*supported & ~possible) != 0) return false;
  if ((request.property_mask() & kPreferredSegment) != 0) {
    const uint32_t id = request.preferred_segment() & kSegmentIdMask;
    if (id == 0 || id > memory.segments().size()) return false;
    *preferred = id - 1;
  } else if ((*supported >> *preferred & 1) == 0) {
    *preferred = static_cast<uint32_t>(std::countr_zero(*supported));
  }
  return (*supported >> *preferred & 1) != 0;
}

}  // namespace

int32_t Commands::Handle(CommandContext& call, const host::UpdateAllocationProperty::Request& request,
                         host::UpdateAllocationProperty::Reply* reply) {
  if (const int32_t status = call.CheckCaller(); status != kStatusSuccess) return status;
  if ((request.property_mask() & ~kKnownProperties) != 0) return kStatusInvalidParameter;
  Process& process = *call.process;
  MutexLock lock(process.mutex());
  PagingQueue* queue = FindPagingQueue(call, process, request.paging_queue());
  const Allocation* allocation = FindAllocation(call, process, request.allocation());
  if (!queue || !allocation || &allocation->device != &queue->device) return kStatusInvalidParameter;
  if (call.adapter->removed() || !queue->device.active()) return kStatusDeviceRemoved;
  VideoMemory& memory = *call.adapter->video_memory();
  Storage& storage = *allocation->storage;
  uint32_t supported = 0;
  uint32_t preferred = 0;
  if (!WantedSegments(request, memory, storage, &supported, &preferred)) return kStatusInvalidParameter;
  const bool same = supported == memory.Supported(storage) && preferred == memory.Preferred(storage);
  uint64_t bytes = 0;
  if (!memory.ChangeSegments(storage, supported, preferred, &bytes)) return kStatusNoMemory;
  const PagingResult result = same ? queue->Nothing() : queue->Submit(call, bytes, nullptr);
  reply->set_paging_fence_value(result.fence_value);
  return result.status;
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
int32_t Commands::Handle(CommandContext& call, const host::ChangeVideoMemoryReservation::Request& request,
                         host::ChangeVideoMemoryReservation::Reply*) {
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
}

}  // namespace dxg::hostsim
