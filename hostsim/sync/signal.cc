#include "hostsim/sync/signal.h"

#include "hostsim/machine/call.h"
#include "hostsim/machine/commands.h"
#include "hostsim/sync/sync_object.h"
#include "proto/abi/interface.h"
#include "proto/abi/ntstatus.h"

namespace dxg::hostsim {
namespace {

constexpr uint64_t kJumpTo = kFenceLost - 1;  // of fences that jump: one below what only lost ones have

int32_t CheckShape(const host::SignalSyncObject::Request& request) {
  const uint32_t count = request.object_count();
  const bool whole = static_cast<int>(count) == request.objects_size() &&
                     static_cast<int>(count) == request.fence_values_size();
  // Without a packet, kSignalAtSubmission means nothing.
  const bool known = (request.flags() & ~(kSignalAtSubmission | kAllowFenceRewind)) == 0;
  return count != 0 && count <= kSyncObjectsPerListMax && whole && known ? kStatusSuccess
                                                                         : kStatusInvalidParameter;
}

int32_t Signal(CommandContext& call, const host::SignalSyncObject::Request& request, Process& process,
               const Device* device) DXG_REQUIRES(process.mutex()) {
  if (const int32_t status = CheckShape(request); status != kStatusSuccess || !device) {
    return kStatusInvalidParameter;
  }
  std::vector<SyncPoint> points;
  int32_t access = kStatusSuccess;
  for (int i = 0; i < request.objects_size(); ++i) {
    const SyncHandle* handle = FindSync(call, process, request.objects(i));
    if (!handle || !handle->object->traits.monitored()) return kStatusInvalidParameter;
    if (access == kStatusSuccess) access = handle->CheckSignal();
    points.push_back({handle->object, request.fence_values(i)});
  }
  if (call.adapter->removed() || !device->active()) return kStatusDeviceRemoved;
  if (access != kStatusSuccess) return access;
  if (call.Strike(FaultPoint::kFenceJump)) {
    for (SyncPoint& point : points) point.value = kJumpTo;
  }
  SyncDomain& sync = call.machine.sync();
  const bool rewind = (request.flags() & kAllowFenceRewind) != 0;
  if (!sync.SignalFromCpu(points, rewind, &call.aftermath)) return kStatusInvalidParameter;
  if (const auto storm = call.Strike(FaultPoint::kSignalStorm)) {
    for (uint64_t i = 0; i < storm->value; ++i) sync.Signal(points, rewind, &call.aftermath);
  }
  if (const auto back = call.Strike(FaultPoint::kFenceRewind)) {
    for (SyncPoint& point : points) point.value = back->value;
    sync.Signal(points, true, &call.aftermath);
  }
  return kStatusSuccess;
}

// All of it, or nothing. The values are there, and the events of those who waited have been told, before the
// answer.
int32_t SignalFromCpu(CommandContext& call, const host::SignalSyncObject::Request& request) {
  Process& process = *call.process;
  MutexLock lock(process.mutex());
  const uint64_t named = request.event_or_device();
  const Device* device =
      named <= UINT32_MAX ? FindDevice(call, process, static_cast<uint32_t>(named)) : nullptr;
  return Heard(call, Signal(call, request, process, device));
}

}  // namespace

int32_t Commands::Handle(CommandContext& call, const host::SignalSyncObject::Request& request,
                         host::SignalSyncObject::Reply*) {
  if (const int32_t status = call.CheckCaller(); status != kStatusSuccess) return status;
  return request.contexts_size() == 0 && request.context_count() == 0 ? SignalFromCpu(call, request)
                                                                      : SignalFromQueues(call, request);
}

}  // namespace dxg::hostsim
