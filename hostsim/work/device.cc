#include "hostsim/work/device.h"

#include <algorithm>

#include "base/memory_reserve.h"
#include "hostsim/machine/bytes.h"
#include "hostsim/machine/call.h"
#include "hostsim/machine/commands.h"
#include "hostsim/machine/rollback.h"
#include "hostsim/sync/sync_object.h"
#include "hostsim/work/engine.h"
#include "proto/abi/d3dkmthk.h"
#include "proto/abi/interface.h"
#include "proto/abi/ntstatus.h"

namespace dxg::hostsim {
namespace {

// D3DKMT_CREATEDEVICEFLAGS: legacy mode, vertical sync, no timeout, GDI. Only the third changes anything
// here.
constexpr uint32_t kKnownDeviceFlags = 0xF;

constexpr size_t kStateBytes = sizeof(d3dkmt_getdevicestate::alignment);
// D3DKMT_DEVICEPRESENT_STATE (d3dkmthk.h): the source's number, then D3DKMT_PRESENT_STATS.
constexpr size_t kPresentStats = 8, kPresentStatsBytes = 32;

void PutPageFault(Bytes state, const PageFault& fault) {
  Put<uint64_t>(state, offsetof(d3dkmt_devicepagefault_state, faulted_primitive_api_sequence_number),
                fault.primitive_sequence);
  Put<uint32_t>(state, offsetof(d3dkmt_devicepagefault_state, faulted_pipeline_stage), fault.pipeline_stage);
  Put<uint32_t>(state, offsetof(d3dkmt_devicepagefault_state, faulted_bind_table_entry),
                fault.bind_table_entry);
  Put<uint32_t>(state, offsetof(d3dkmt_devicepagefault_state, page_fault_flags), fault.flags);
  Put<uint32_t>(state, offsetof(d3dkmt_devicepagefault_state, fault_error_code), fault.error_code);
  Put<uint64_t>(state, offsetof(d3dkmt_devicepagefault_state, faulted_virtual_address),
                fault.virtual_address);
}

}  // namespace

void Device::Fail(Process& process, ExecutionState state, Aftermath* aftermath) {
  if (!active()) {
    if (state == ExecutionState::kStopped) LoseFences(process, *this, true, aftermath);
    return;
  }
  const MemoryReserve::Use of_all;
  state_ = state;
  aftermath->changes.push_back({process.handle, adapter->info().address, cookie, state});
  process.machine.Note({.kind = WorkEvent::Kind::kDeviceState,
                        .of = {process.handle, process.process_id, handle},
                        .value = static_cast<uint64_t>(state),
                        .adapter = adapter->info().luid},
                       aftermath);
  EndPaging(aftermath);
  adapter->engines().End(*work, nullptr, aftermath);
  LoseFences(process, *this, state == ExecutionState::kStopped, aftermath);
}

uint32_t Device::InsertChild(Process& process, std::unique_ptr<Object> object) {
  const uint32_t handle = process.Insert(std::move(object));
  if (handle == 0) return 0;
  Rollback erase([&]() DXG_REQUIRES(process.mutex()) { process.Erase(handle); });
  children.insert(handle);
  erase.Keep();
  return handle;
}

void Device::EraseChild(Process& process, uint32_t handle) {
  children.erase(handle);
  process.Erase(handle);
}

void Device::EndPaging(Aftermath* aftermath) {
  for (const PagingWork& work : paging) {
    adapter->paging().Close(*work.lane, aftermath);
    if (work.fence) work.fence->domain().Raise(*work.fence, kFenceLost, aftermath);
  }
  paging.clear();
  update_lanes.clear();
}

void Device::FailByPageFault(Process& process, const PageFault& fault, Aftermath* aftermath) {
  if (!active()) return;
  page_fault_ = fault;
  Fail(process, ExecutionState::kDmaPageFault, aftermath);
}

void Device::FailByFault(Process& process, const PageFault& fault, Aftermath* aftermath) {
  if (!active()) return;
  page_fault_ = fault;
  Fail(process, ExecutionState::kDmaFault, aftermath);
}

Device* FindDevice(const CommandContext& call, Process& process, uint32_t handle) {
  Device* device = process.Find<Device>(handle);
  return device && device->adapter == call.adapter ? device : nullptr;
}

int32_t Heard(CommandContext& call, int32_t status) {
  if (call.caller.asynchronous && status < 0) ++call.machine.counts.unheard_refusals;
  return status;
}

int32_t HeardOfWork(CommandContext& call, Process& process, Device* device, int32_t status) {
  const bool unheard = call.caller.asynchronous && status < 0;
  if (unheard && device) device->Fail(process, ExecutionState::kDmaFault, &call.aftermath);
  return Heard(call, status);
}

// The reply has no status: a refusal is handle 0.
void Commands::Handle(CommandContext& call, const host::CreateDevice::Request& request,
                      host::CreateDevice::Reply* reply) {
  if (call.CheckLiveAdapter() != kStatusSuccess) return;
  if ((request.flags() & ~kKnownDeviceFlags) != 0 || request.cdd_device() != 0) return;
  if (call.Strike(FaultPoint::kNoMemoryCreate)) return;
  Process& process = *call.process;
  MutexLock lock(process.mutex());
  if (call.adapter->removed())
    return;  // between the check and the lock; a removal looks through us after this
  AdapterUse* use = process.UseAdapter(call.adapter);
  if (!use) return;
  auto created = std::make_unique<Device>(process, call.adapter, request.flags(), request.state_cookie(),
                                          call.machine.counts.devices);
  Device& device = *created;
  const uint32_t handle = process.Insert(std::move(created));
  if (handle == 0) return;
  Rollback erase([&]() DXG_REQUIRES(process.mutex()) { process.Erase(handle); });
  device.work = std::make_shared<DeviceWork>(call.process, handle, use->work);
  erase.Keep();
  if (use->devices++ == 0) call.adapter->memory().Activate(use->memory);
  reply->set_device(handle);
}

int32_t Commands::Handle(CommandContext& call, const host::DestroyDevice::Request& request,
                         host::DestroyDevice::Reply*) {
  if (const int32_t status = call.CheckCaller(); status != kStatusSuccess) return status;
  Process& process = *call.process;
  MutexLock lock(process.mutex());
  Device* device = FindDevice(call, process, request.device());
  if (!device) return kStatusInvalidParameter;
  device->EndPaging(&call.aftermath);
  call.adapter->engines().End(*device->work, call.DeferUntilLetGo(), &call.aftermath);
  EndSyncsOf(process, *device, &call.aftermath);
  for (const uint32_t child : device->children) process.Erase(child);
  process.Erase(request.device());
  AdapterUse* use = process.UseAdapter(call.adapter);
  if (--use->devices == 0) call.adapter->memory().Deactivate(use->memory);
  return kStatusSuccess;
}

// Comes before the guest takes a device apart. What is queued goes with the device.
int32_t Commands::Handle(CommandContext& call, const host::FlushDevice::Request& request,
                         host::FlushDevice::Reply*) {
  if (const int32_t status = call.CheckCaller(); status != kStatusSuccess) return status;
  // The only reason that guests have.
  if (request.reason() != kFlushDeviceTerminate) return kStatusInvalidParameter;
  Process& process = *call.process;
  MutexLock lock(process.mutex());
  return FindDevice(call, process, request.device()) ? kStatusSuccess : kStatusInvalidParameter;
}

int32_t Commands::Handle(CommandContext& call, const host::GetDeviceState::Request& request,
                         host::GetDeviceState::Reply* reply) {
  // The struct goes back whole; what a state does not fill stays as the caller had it.
  std::string* state = reply->mutable_state();
  state->assign(request.state(), 0, kStateBytes);
  state->resize(kStateBytes);
  reply->set_device(request.device());
  reply->set_state_type(request.state_type());
  if (const int32_t status = call.CheckCaller(); status != kStatusSuccess) return status;
  Process& process = *call.process;
  MutexLock lock(process.mutex());
  const Device* device = FindDevice(call, process, request.device());
  if (!device) return kStatusInvalidParameter;
  if (device->adapter->removed()) return kStatusDeviceRemoved;
  const Bytes bytes = BytesOf(*state);
  switch (request.state_type()) {
    case _D3DKMT_DEVICESTATE_EXECUTION:
      Put<uint32_t>(bytes, 0, static_cast<uint32_t>(device->state()));
      return kStatusSuccess;
    case _D3DKMT_DEVICESTATE_RESET:
      Put<uint32_t>(bytes, 0, 0);  // no desktop that could have been switched
      return kStatusSuccess;
    case _D3DKMT_DEVICESTATE_PAGE_FAULT:
      PutPageFault(bytes, device->page_fault());
      return kStatusSuccess;
    case _D3DKMT_DEVICESTATE_PRESENT:
      // Nothing was presented: the counts and times behind the source's number are 0. A refusal would mean
      // "device lost" to clients.
      std::ranges::fill(bytes.subspan(kPresentStats, kPresentStatsBytes), 0);
      return kStatusSuccess;
    default:  // what a desktop compositor asks, which a render adapter does not have
      return kStatusInvalidParameter;
  }
}

int32_t Commands::Handle(CommandContext& call, const host::MarkDeviceAsError::Request& request,
                         host::MarkDeviceAsError::Reply*) {
  if (const int32_t status = call.CheckCaller(); status != kStatusSuccess) return status;
  Process& process = *call.process;
  MutexLock lock(process.mutex());
  Device* device = FindDevice(call, process, request.device());
  if (!device) return kStatusInvalidParameter;
  if (device->adapter->removed()) return kStatusDeviceRemoved;
  switch (request.reason()) {
    case _D3DKMT_DEVICE_ERROR_REASON_GENERIC:
    case _D3DKMT_DEVICE_ERROR_REASON_DRIVER_ERROR:
      device->Fail(process, ExecutionState::kDmaFault, &call.aftermath);
      return kStatusSuccess;
    default:
      return kStatusInvalidParameter;
  }
}

}  // namespace dxg::hostsim
