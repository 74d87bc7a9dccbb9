#include "hostsim/machine/call.h"
#include "hostsim/machine/commands.h"
#include "hostsim/memory/allocation.h"
#include "proto/abi/ntstatus.h"

// Access of the guest's CPU to allocations. The bytes are at one place of the window all their life, wherever
// the GPU is said to have them, so a lock only counts.

namespace dxg::hostsim {
namespace {

// Memory that may lie in the adapter shows only to the process that made it.
bool MayLock(const Process& process, const StorageTraits& traits) {
  return traits.cpu_visible && (traits.creator == process.handle || traits.system_only);
}

}  // namespace

int32_t Commands::Handle(CommandContext& call, const host::Lock2::Request& request,
                         host::Lock2::Reply* reply) {
  if (const int32_t status = call.CheckCaller(); status != kStatusSuccess) return status;
  if (request.flags() != 0) return kStatusInvalidParameter;
  Process& process = *call.process;
  MutexLock lock(process.mutex());
  Allocation* allocation = FindOnDevice(call, process, request.device(), request.allocation());
  if (!allocation) return kStatusInvalidParameter;
  if (call.adapter->removed() || !allocation->device.active()) return kStatusDeviceRemoved;
  Storage& storage = *allocation->storage;
  VideoMemory& memory = *call.adapter->video_memory();
  if (!MayLock(process, storage.traits) || memory.Offered(storage) || memory.Decommitted(storage)) {
    return kStatusInvalidParameter;
  }
  if (call.Strike(FaultPoint::kApertureFull)) return kStatusGraphicsAllocationBusy;
  // A client's own pages are where the client has them.
  const auto shown = storage.traits.of_guest ? std::optional<uint64_t>(0) : storage.ShowInWindow();
  if (!shown) return kStatusGraphicsAllocationBusy;
  ++allocation->locks;
  reply->set_cpu_visible_buffer_offset(*shown);
  return kStatusSuccess;
}

// A guest does not ask us to lock a client's own pages, but tells of their unlock all the same.
int32_t Commands::Handle(CommandContext& call, const host::Unlock2::Request& request, host::Unlock2::Reply*) {
  if (const int32_t status = call.CheckCaller(); status != kStatusSuccess) return status;
  Process& process = *call.process;
  MutexLock lock(process.mutex());
  Allocation* allocation = FindOnDevice(call, process, request.device(), request.allocation());
  if (!allocation) return kStatusInvalidParameter;
  if (allocation->locks != 0) {
    --allocation->locks;
    return kStatusSuccess;
  }
  return allocation->storage->traits.of_guest ? kStatusSuccess : kStatusInvalidParameter;
}

// CPU and GPU see the same bytes at once.
int32_t Commands::Handle(CommandContext& call, const host::InvalidateCache::Request& request,
                         host::InvalidateCache::Reply*) {
  if (const int32_t status = call.CheckCaller(); status != kStatusSuccess) return status;
  Process& process = *call.process;
  MutexLock lock(process.mutex());
  const Allocation* allocation = FindOnDevice(call, process, request.device(), request.allocation());
  if (!allocation) return kStatusInvalidParameter;
  if (call.adapter->removed() || !allocation->device.active()) return kStatusDeviceRemoved;
  const uint64_t bytes = allocation->storage->bytes();
  const bool inside = request.offset() <= bytes && request.length() <= bytes - request.offset();
  return inside ? kStatusSuccess : kStatusInvalidParameter;
}

}  // namespace dxg::hostsim
