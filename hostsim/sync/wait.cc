#include "hostsim/machine/call.h"
#include "hostsim/machine/commands.h"
#include "hostsim/sync/signal.h"
#include "hostsim/sync/sync_object.h"
#include "proto/abi/ntstatus.h"

namespace dxg::hostsim {
namespace {

constexpr uint32_t kWaitAny = 1u << 0;

int32_t WaitFromCpu(CommandContext& call, const host::WaitForSyncObjectFromCpu::Request& request,
                    Process& process) DXG_REQUIRES(process.mutex()) {
  Device* device = FindDevice(call, process, request.device());
  if (!device) return kStatusInvalidParameter;
  std::vector<SyncPoint> points;
  int32_t access = kStatusSuccess;
  for (int i = 0; i < request.objects_size(); ++i) {
    const SyncHandle* handle = FindSync(call, process, request.objects(i));
    if (!handle || !handle->object->traits.monitored()) return kStatusInvalidParameter;
    if (access == kStatusSuccess) access = handle->CheckWait();
    points.push_back({handle->object, request.fence_values(i)});
  }
  if (call.adapter->removed() || !device->active()) return kStatusDeviceRemoved;
  if (access != kStatusSuccess) return access;
  const bool noted = call.machine.sync().WaitOnCpu(points, (request.flags() & kWaitAny) != 0,
                                                   {process.handle, request.guest_event()}, device->cpu_waits,
                                                   &call.aftermath);
  return noted ? kStatusSuccess : kStatusNoMemory;
}

}  // namespace

// Answers at once; the event says when the wait is over.
int32_t Commands::Handle(CommandContext& call, const host::WaitForSyncObjectFromCpu::Request& request,
                         host::WaitForSyncObjectFromCpu::Reply*) {
  if (const int32_t status = call.CheckCaller(); status != kStatusSuccess) return status;
  const uint32_t count = request.object_count();
  if (count == 0 || count > kSyncObjectsPerListMax || static_cast<int>(count) != request.objects_size() ||
      static_cast<int>(count) != request.fence_values_size() || (request.flags() & ~kWaitAny) != 0 ||
      request.guest_event() == 0) {
    return kStatusInvalidParameter;
  }
  Process& process = *call.process;
  MutexLock lock(process.mutex());
  return WaitFromCpu(call, request, process);
}

int32_t Commands::Handle(CommandContext& call, const host::WaitForSyncObjectFromGpu::Request& request,
                         host::WaitForSyncObjectFromGpu::Reply*) {
  const int32_t status = call.CheckCaller();
  return status == kStatusSuccess ? WaitInQueue(call, request) : status;
}

}  // namespace dxg::hostsim
