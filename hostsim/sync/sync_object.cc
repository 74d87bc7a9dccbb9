#include "hostsim/sync/sync_object.h"

#include "hostsim/adapter/vertical_sync.h"
#include "hostsim/machine/call.h"
#include "hostsim/machine/commands.h"
#include "hostsim/machine/rollback.h"
#include "proto/abi/d3dkmthk.h"
#include "proto/abi/interface.h"
#include "proto/abi/ntstatus.h"

namespace dxg::hostsim {
namespace {

// What only a monitored fence can be.
constexpr uint32_t kMonitoredFlags = kSyncTopOfPipeline | kSyncNoSignal | kSyncNoWait |
                                     kSyncNoSignalMaxValueOnTdr | kSyncNoGpuAccess |
                                     kSyncUnwaitCpuWaitersOnlyOnDestroy;
constexpr uint32_t kKnownSyncFlags =
    kMonitoredFlags | kSyncShared | kSyncNtSecuritySharing | kSyncCrossAdapter | kSyncSignalByKmd;

// Names for all processes have this in their lowest bits.
constexpr uint32_t kGlobalInstance = 2;

constexpr size_t kInfoBytes = 64;
// Offsets in the union of d3dddi_synchronizationobjectinfo2.
constexpr size_t kInfoAt = offsetof(d3dddi_synchronizationobjectinfo2, reserved);
constexpr size_t kAffinityAt =
    offsetof(d3dddi_synchronizationobjectinfo2, monitored_fence.engine_affinity) - kInfoAt;

constexpr size_t kPeriodicAffinityAt =
    offsetof(d3dddi_synchronizationobjectinfo2, periodic_monitored_fence.engine_affinity) - kInfoAt;

bool ValidFlags(SyncType type, bool monitored, uint32_t flags) {
  const bool shared = (flags & kSyncShared) != 0;
  const bool nt = (flags & kSyncNtSecuritySharing) != 0;
  constexpr uint32_t kUseless = kSyncNoSignal | kSyncNoWait;
  if ((flags & ~kKnownSyncFlags) != 0 || shared != nt || (flags & kUseless) == kUseless) return false;
  if ((flags & kSyncSignalByKmd) != 0 && type != SyncType::kCpuNotification) return false;
  return monitored || (flags & kMonitoredFlags) == 0;
}

// It follows a display, which an adapter has only by its profile.
bool ParsePeriodic(const CommandContext& call, ConstBytes info, SyncTraits* traits) {
  constexpr size_t kTargetAt = 4;  // of displays there is one
  constexpr size_t kTimeAt = 8;
  constexpr uint64_t kTimeUnitNs = 100;
  const uint64_t period_ns = call.adapter->profile().vertical_sync_ns();
  const uint64_t time = Get<uint64_t>(info, kTimeAt);
  if (period_ns == 0 || time >= period_ns / kTimeUnitNs || Get<uint32_t>(info, kTargetAt) != 0) return false;
  traits->before_ns = time * kTimeUnitNs;
  return Get<uint32_t>(info, kPeriodicAffinityAt) <= kEngineAffinityMax;
}

// False: refused.
bool Parse(const CommandContext& call, const host::CreateSyncObject::Request& request, SyncTraits* traits) {
  const std::string& text = request.info();
  if (text.size() != kInfoBytes) return false;
  const ConstBytes info = BytesOf(std::string_view(text));
  traits->type = static_cast<SyncType>(request.type());
  traits->flags = request.flags();
  traits->adapter_luid = call.caller.adapter_luid;
  if (!ValidFlags(traits->type, traits->monitored(), traits->flags)) return false;
  switch (traits->type) {
    case SyncType::kMutex:
      traits->initial = Get<uint32_t>(info, 0) != 0 ? 1 : 0;
      return true;
    case SyncType::kSemaphore:
      traits->count_max = Get<uint32_t>(info, 0);
      traits->initial = Get<uint32_t>(info, 4);
      return traits->initial <= traits->count_max;
    case SyncType::kFence:
      traits->initial = Get<uint64_t>(info, 0);
      return true;
    case SyncType::kCpuNotification:
      traits->event = {call.caller.process, Get<uint64_t>(info, 0)};
      return traits->event.event != 0;
    case SyncType::kMonitoredFence:
      traits->initial = Get<uint64_t>(info, 0);
      return Get<uint32_t>(info, kAffinityAt) <= kEngineAffinityMax;
    case SyncType::kPeriodicMonitoredFence:
      return ParsePeriodic(call, info, traits);
    default:
      return false;
  }
}

// The new handle has the object's one reference. Null: there is no memory, and nothing is left.
SyncHandle* AddHandle(Process& process, Device& device, std::shared_ptr<SyncObject> object,
                      SyncHandle::Use use, uint32_t flags) DXG_REQUIRES(process.mutex()) {
  const bool monitored = object->traits.monitored();
  auto created = std::make_unique<SyncHandle>(device.adapter, std::move(object), use, flags);
  SyncHandle& handle = *created;
  if (monitored) {
    handle.device = device.handle;
    handle.page = SyncPage::Create(process.regions(), handle.object);
    if (!handle.page) return nullptr;
  }
  AdapterUse* const process_use = process.UseAdapter(device.adapter);
  if (!process_use) return nullptr;
  if (monitored && (flags & kSyncNoGpuAccess) == 0) {
    const bool writable = handle.CheckSignal() == kStatusSuccess;
    if (process_use->va.MapFence(handle.object, writable, &handle.gpu_address) != kStatusSuccess) {
      return nullptr;
    }
  }
  const GpuAddress gpu_address = handle.gpu_address;
  Rollback unmap([&] {
    if (gpu_address != GpuAddress()) process_use->va.UnmapFence(gpu_address);
  });
  const bool of_device = handle.device != 0;
  const uint32_t entered =
      of_device ? device.InsertChild(process, std::move(created)) : process.Insert(std::move(created));
  if (entered == 0) return nullptr;
  unmap.Keep();
  if (handle.object->name.object == 0) handle.object->name = {process.handle, process.process_id, entered};
  if (handle.object->traits.type == SyncType::kPeriodicMonitoredFence) ++process.periodic_fences;
  return &handle;
}

// A handle, but not of whoever it came from any more: the object keeps its share.
void EraseHandle(Process& process, SyncHandle& handle) DXG_REQUIRES(process.mutex()) {
  if (handle.gpu_address != GpuAddress()) {
    if (AdapterUse* use = process.UseAdapter(handle.adapter)) use->va.UnmapFence(handle.gpu_address);
  }
  if (handle.object->traits.type == SyncType::kPeriodicMonitoredFence) --process.periodic_fences;
  if (Device* device = process.Find<Device>(handle.device)) device->children.erase(handle.handle);
  process.Erase(handle.handle);
}

}  // namespace

int32_t SyncHandle::CheckSignal() const {
  if (!of_program() || object->traits.type == SyncType::kPeriodicMonitoredFence) return kStatusAccessDenied;
  return (flags & kSyncNoSignal) != 0 ? kStatusAccessDenied : kStatusSuccess;
}

int32_t SyncHandle::CheckWait() const {
  return (flags & kSyncNoWait) != 0 ? kStatusAccessDenied : kStatusSuccess;
}

SyncHandle* FindSync(const CommandContext& call, Process& process, uint32_t handle) {
  SyncHandle* found = process.Find<SyncHandle>(handle);
  return found && found->adapter == call.adapter ? found : nullptr;
}

SyncHandle* CreateQueueFence(Process& process, Device& device, SyncHandle::Use use, bool gpu_access) {
  SyncTraits traits;
  traits.flags = gpu_access ? 0 : kSyncNoGpuAccess;
  traits.adapter_luid = device.adapter->info().address;
  return AddHandle(process, device, process.machine.NewSync(traits), use, traits.flags);
}

void EndSync(Process& process, SyncHandle& handle, Aftermath* aftermath) {
  const std::shared_ptr<SyncObject> object = handle.object;
  EraseHandle(process, handle);
  process.machine.DropSync(*object, true, aftermath);
}

void EndSyncsOf(Process& process, Device& device, Aftermath* aftermath) {
  std::vector<SyncHandle*> handles;
  for (const uint32_t child : device.children) {
    if (SyncHandle* handle = process.Find<SyncHandle>(child)) handles.push_back(handle);
  }
  for (SyncHandle* handle : handles) EndSync(process, *handle, aftermath);
  process.machine.sync().EndCpuWaits(device.cpu_waits, aftermath);
}

// A stopped adapter takes everything with it that lives on it, and nobody on it may be left waiting.
void LoseFences(Process& process, Device& device, bool stopped, Aftermath* aftermath) {
  SyncDomain& domain = process.machine.sync();
  for (const uint32_t child : device.children) {
    const SyncHandle* handle = process.Find<SyncHandle>(child);
    if (!handle) continue;
    const bool own = handle->object->traits.adapter_luid == device.adapter->info().address;
    const bool may_signal = !handle->of_program() || (handle->CheckSignal() == kStatusSuccess &&
                                                      (handle->flags & kSyncNoSignalMaxValueOnTdr) == 0);
    if (may_signal || (stopped && own)) domain.Raise(*handle->object, kFenceLost, aftermath);
  }
  if (stopped) domain.EndCpuWaits(device.cpu_waits, aftermath);
}

// The reply has no status: a refusal is all zeros.
void Commands::Handle(CommandContext& call, const host::CreateSyncObject::Request& request,
                      host::CreateSyncObject::Reply* reply) {
  if (call.CheckLiveAdapter() != kStatusSuccess) return;
  SyncTraits traits;
  if (!Parse(call, request, &traits)) return;
  Process& process = *call.process;
  MutexLock lock(process.mutex());
  Device* device = FindDevice(call, process, request.device());
  if (!device || !device->active() || call.Strike(FaultPoint::kNoMemoryCreate)) return;
  const bool periodic = traits.type == SyncType::kPeriodicMonitoredFence;
  if (periodic && process.periodic_fences >= kPeriodicFencesMax) return;
  SyncHandle* handle =
      AddHandle(process, *device, call.machine.NewSync(traits), SyncHandle::Use::kOfProgram, traits.flags);
  if (!handle) return;
  Rollback end_sync([&]() DXG_REQUIRES(process.mutex()) { EndSync(process, *handle, &call.aftermath); });
  SyncObject& object = *handle->object;
  if ((traits.flags & kSyncShared) != 0) {
    object.global_handle = call.machine.AddShared({.resource = nullptr, .sync = handle->object, .nt = false});
    if (object.global_handle == 0) return;
    reply->set_global_sync_object(object.global_handle | kGlobalInstance);
  }
  if (periodic) {
    FollowVerticalSync(call.machine, call.adapter->profile().vertical_sync_ns(), traits.before_ns,
                       handle->object);
  }
  reply->set_sync_object(handle->handle);
  reply->set_fence_gpu_va(handle->gpu_address.value);
  if (handle->page) reply->set_fence_storage_address(handle->page->window_address());
  end_sync.Keep();
}

namespace {

// The command names no adapter: the device says which it is.
int32_t Open(CommandContext& call, const host::OpenSyncObject::Request& request,
             host::OpenSyncObject::Reply* reply) {
  const auto named = call.machine.FindShared(request.global_sync_object());
  if (!named) return kStatusInvalidHandle;
  if (!named->sync) return kStatusObjectTypeMismatch;
  if (named->nt) return kStatusInvalidHandle;
  const std::shared_ptr<SyncObject>& object = named->sync;
  const SyncTraits& traits = object->traits;
  constexpr uint32_t kSharing = kSyncShared | kSyncNtSecuritySharing;
  const uint32_t flags = request.flags() & ~kSharing;
  if (!ValidFlags(traits.type, traits.monitored(), flags) || request.engine_affinity() > kEngineAffinityMax) {
    return kStatusInvalidParameter;
  }
  Process& process = *call.process;
  MutexLock lock(process.mutex());
  Device* device = process.Find<Device>(request.device());
  if (!device) return kStatusInvalidParameter;
  const bool same_adapter = traits.adapter_luid == device->adapter->info().address;
  if (!same_adapter && (traits.flags & kSyncCrossAdapter) == 0) return kStatusInvalidParameter;
  if (device->adapter->removed() || !device->active()) return kStatusDeviceRemoved;
  if (call.Strike(FaultPoint::kNoMemoryCreate)) return kStatusNoMemory;
  if (!call.machine.sync().Retain(*object)) return kStatusInvalidHandle;
  Rollback drop([&] { call.machine.DropSync(*object, false, &call.aftermath); });
  constexpr uint32_t kOfObject = kSyncNoGpuAccess | kSyncTopOfPipeline | kSharing | kSyncSignalByKmd;
  SyncHandle* handle =
      AddHandle(process, *device, object, SyncHandle::Use::kOfProgram, flags | (traits.flags & kOfObject));
  if (!handle) return kStatusNoMemory;
  drop.Keep();
  reply->set_sync_object(handle->handle);
  reply->set_gpu_virtual_address(handle->gpu_address.value);
  if (handle->page) reply->set_guest_cpu_physical_address(handle->page->window_address());
  return kStatusSuccess;
}

}  // namespace

int32_t Commands::Handle(CommandContext& call, const host::OpenSyncObject::Request& request,
                         host::OpenSyncObject::Reply* reply) {
  return call.process ? Open(call, request, reply) : kStatusInvalidParameter;
}

// The command names no adapter. Works whatever state the device is in.
int32_t Commands::Handle(CommandContext& call, const host::DestroySyncObject::Request& request,
                         host::DestroySyncObject::Reply*) {
  if (!call.process) return kStatusInvalidParameter;
  Process& process = *call.process;
  MutexLock lock(process.mutex());
  SyncHandle* handle = process.Find<SyncHandle>(request.sync_object());
  if (!handle || !handle->of_program()) return kStatusInvalidParameter;
  EndSync(process, *handle, &call.aftermath);
  return kStatusSuccess;
}

uint32_t ShareSync(Machine& machine, const SyncHandle& handle, Aftermath* aftermath) {
  SyncObject& object = *handle.object;
  if ((object.traits.flags & kSyncNtSecuritySharing) == 0 || !machine.sync().Retain(object)) return 0;
  Rollback drop([&] { machine.DropSync(object, false, aftermath); });
  const uint32_t name = machine.AddShared({.resource = nullptr, .sync = handle.object});
  if (name != 0) drop.Keep();
  return name;
}

}  // namespace dxg::hostsim
