#include "hostsim/memory/resource.h"

#include "hostsim/machine/call.h"
#include "hostsim/machine/commands.h"
#include "hostsim/memory/allocation.h"
#include "hostsim/sync/sync_object.h"
#include "proto/abi/ntstatus.h"

namespace dxg::hostsim {

Resource* FindResource(const CommandContext& call, Process& process, uint32_t handle) {
  Resource* resource = process.Find<Resource>(handle);
  return resource && resource->device.adapter == call.adapter ? resource : nullptr;
}

Objects TakeResource(Process& process, Resource& resource) {
  Objects taken;
  Device& device = resource.device;
  for (const uint32_t allocation : resource.allocations) {
    device.children.erase(allocation);
    taken.push_back(process.Take(allocation));
  }
  const uint32_t handle = resource.handle;
  device.children.erase(handle);
  taken.push_back(process.Take(handle));
  return taken;
}

// The reply has no status: a refusal is handle 0. The command names no adapter.
void Commands::Handle(CommandContext& call, const host::CreateNtSharedObject::Request& request,
                      host::CreateNtSharedObject::Reply* reply) {
  if (!call.process) return;
  Process& process = *call.process;
  MutexLock lock(process.mutex());
  if (const SyncHandle* sync = process.Find<SyncHandle>(request.object())) {
    return reply->set_shared_handle(ShareSync(call.machine, *sync, &call.aftermath));
  }
  const Resource* resource = process.Find<Resource>(request.object());
  if (!resource || !resource->shared->nt_sharing) return;
  const uint32_t handle = call.machine.AddShared({.resource = resource->shared, .sync = nullptr});
  if (handle != 0) resource->shared->sealed = true;
  reply->set_shared_handle(handle);
}

void Commands::Handle(CommandContext& call, const host::DestroyNtSharedObject::Request& request,
                      host::DestroyNtSharedObject::Reply* reply) {
  const auto removed = call.machine.RemoveShared(request.shared_handle(), true);
  if (removed && removed->sync) call.machine.DropSync(*removed->sync, false, &call.aftermath);
  reply->set_status(removed ? kStatusSuccess : kStatusInvalidParameter);
}

namespace {

// Handles for all of it, or for none.
bool Open(CommandContext& call, Process& process, Device& device, AdapterUse& use,
          const std::shared_ptr<SharedResource>& shared, host::OpenResource::Reply* reply)
    DXG_REQUIRES(process.mutex()) {
  auto created = std::make_unique<Resource>(device, shared, call.machine.counts.resources);
  Resource& resource = *created;
  if (process.Insert(std::move(created)) == 0) return false;
  for (const auto& storage : shared->storages) {
    const uint32_t handle = call.Strike(FaultPoint::kNoMemoryCreate)
                                ? 0
                                : process.Insert(std::make_unique<Allocation>(
                                      device, use, &resource, storage, call.machine.counts.allocations));
    if (handle == 0) {
      TakeResource(process, resource);
      return false;
    }
    resource.allocations.push_back(handle);
  }
  device.children.insert(resource.handle);
  device.children.insert(resource.allocations.begin(), resource.allocations.end());
  reply->set_resource(resource.handle);
  for (const uint32_t handle : resource.allocations) reply->add_allocations(handle);
  return true;
}

}  // namespace

void Commands::Handle(CommandContext& call, const host::OpenResource::Request& request,
                      host::OpenResource::Reply* reply) {
  auto open = [&]() -> int32_t {
    if (const int32_t status = call.CheckCaller(); status != kStatusSuccess) return status;
    if (request.nt_security_sharing() != 1) return kStatusInvalidParameter;
    const auto named = call.machine.FindShared(request.global_share());
    if (!named) return kStatusInvalidHandle;
    if (!named->resource) return kStatusObjectTypeMismatch;
    const std::shared_ptr<SharedResource>& shared = named->resource;
    Process& process = *call.process;
    MutexLock lock(process.mutex());
    Device* device = FindDevice(call, process, request.device());
    AdapterUse* use = process.UseAdapter(call.adapter);
    if (!device || !use || shared->adapter.lock() != call.adapter ||
        request.allocation_count() != shared->storages.size()) {
      return kStatusInvalidParameter;
    }
    if (call.adapter->removed() || !device->active()) return kStatusDeviceRemoved;
    return Open(call, process, *device, *use, shared, reply) ? kStatusSuccess : kStatusNoMemory;
  };
  reply->set_status(open());
}

}  // namespace dxg::hostsim
