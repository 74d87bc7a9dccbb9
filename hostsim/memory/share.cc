// Names by which other processes, and the host itself, open resources and synchronization objects.
#include "hostsim/machine/call.h"
#include "hostsim/machine/commands.h"
#include "hostsim/machine/rollback.h"
#include "hostsim/memory/allocation.h"
#include "hostsim/memory/resource.h"
#include "hostsim/sync/sync_object.h"
#include "proto/abi/ntstatus.h"

namespace dxg::hostsim {

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

int32_t Commands::Handle(CommandContext& call, const host::DestroyNtSharedObject::Request& request,
                         host::DestroyNtSharedObject::Reply*) {
  const auto removed = call.machine.RemoveShared(request.shared_handle(), true);
  if (removed && removed->sync) call.machine.DropSync(*removed->sync, false, &call.aftermath);
  return removed ? kStatusSuccess : kStatusInvalidParameter;
}

namespace {

// Handles for all of it, or for none.
bool Open(CommandContext& call, Process& process, Device& device, AdapterUse& use,
          const std::shared_ptr<SharedResource>& shared, host::OpenResource::Reply* reply)
    DXG_REQUIRES(process.mutex()) {
  auto created = std::make_unique<Resource>(device, shared, call.machine.counts.resources);
  Resource& resource = *created;
  if (device.InsertChild(process, std::move(created)) == 0) return false;
  Rollback erase([&]() DXG_REQUIRES(process.mutex()) {
    for (const auto& [place, handle] : resource.allocations) {
      if (handle != 0) device.EraseChild(process, handle);
    }
    device.EraseChild(process, resource.handle);
  });
  for (const auto& [place, storage] : shared->storages) {
    if (call.Strike(FaultPoint::kNoMemoryCreate)) return false;
    const auto entry = resource.allocations.emplace_hint(resource.allocations.end(), place, 0);
    entry->second = device.InsertChild(
        process,
        std::make_unique<Allocation>(device, use, &resource, storage, call.machine.counts.allocations));
    if (entry->second == 0) return false;
    process.Find<Allocation>(entry->second)->place = place;
  }
  reply->set_resource(resource.handle);
  for (const auto& [place, handle] : resource.allocations) reply->add_allocations(handle);
  erase.Keep();
  return true;
}

}  // namespace

int32_t Commands::Handle(CommandContext& call, const host::OpenResource::Request& request,
                         host::OpenResource::Reply* reply) {
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
}

namespace {

// A name by which a process of the host itself could open an object. None of ours does, so all that it does
// is to keep the object until the process ends that gave it away.
class HostShare : public Object {
 public:
  static constexpr ObjectKind kKind = ObjectKind::kHostShare;
  explicit HostShare(SharedObject shared) : Object(kKind), shared(std::move(shared)) {}
  const SharedObject shared;
};

// Nothing: it cannot be shared.
std::optional<SharedObject> FindShareable(Process& process, uint32_t handle) DXG_REQUIRES(process.mutex()) {
  if (const SyncHandle* sync = process.Find<SyncHandle>(handle)) {
    if ((sync->object->traits.flags & kSyncNtSecuritySharing) == 0) return std::nullopt;
    return SharedObject{.resource = nullptr, .sync = sync->object};
  }
  const Resource* resource = process.Find<Resource>(handle);
  if (!resource || !resource->shared->nt_sharing) return std::nullopt;
  return SharedObject{.resource = resource->shared, .sync = nullptr};
}

}  // namespace

void EndHostShare(Process& process, const Object& share, Aftermath* aftermath) {
  const SharedObject& shared = static_cast<const HostShare&>(share).shared;
  if (shared.sync) process.machine.DropSync(*shared.sync, false, aftermath);
}

// The command names no adapter.
int32_t Commands::Handle(CommandContext& call, const host::ShareObjectWithHost::Request& request,
                         host::ShareObjectWithHost::Reply* reply) {
  if (!call.process || request.reserved() != 0) return kStatusInvalidParameter;
  Process& process = *call.process;
  MutexLock lock(process.mutex());
  const Device* device = process.Find<Device>(request.device());
  const std::optional<SharedObject> shared = FindShareable(process, request.object());
  if (!device || !shared) return kStatusInvalidParameter;
  if (device->adapter->removed() || !device->active()) return kStatusDeviceRemoved;
  if (shared->sync && !call.machine.sync().Retain(*shared->sync)) return kStatusInvalidParameter;
  const uint32_t name = process.Insert(std::make_unique<HostShare>(*shared));
  if (name == 0) {
    if (shared->sync) call.machine.DropSync(*shared->sync, false, &call.aftermath);
    return kStatusNoMemory;
  }
  if (shared->resource) shared->resource->sealed = true;
  reply->set_vail_nt_handle(name);
  return kStatusSuccess;
}

}  // namespace dxg::hostsim
