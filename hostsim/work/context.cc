#include "hostsim/work/context.h"

#include "hostsim/adapter/driver_model.h"
#include "hostsim/machine/call.h"
#include "hostsim/machine/commands.h"
#include "hostsim/machine/rollback.h"
#include "hostsim/memory/update_gpu_va.h"
#include "hostsim/work/engine.h"
#include "hostsim/work/hw_queue.h"
#include "proto/abi/ntstatus.h"

namespace dxg::hostsim {
namespace {

constexpr int32_t kPriorityMin = -7;
constexpr int32_t kPriorityMax = 7;
constexpr int32_t kAbsolutePriority = 0x40000000;  // a flag; 0 to 31 below it
constexpr int32_t kAbsolutePriorityMax = 31;
constexpr int32_t kInProcessPriorityMax = 1;

int32_t CheckPriority(const Adapter& adapter, int32_t priority, bool in_process) {
  if (in_process)
    return priority >= 0 && priority <= kInProcessPriorityMax ? kStatusSuccess : kStatusInvalidParameter;
  if (priority >= kPriorityMin && priority <= kPriorityMax) return kStatusSuccess;
  // Negative numbers have the flag's bit as well.
  const bool absolute = priority >= kAbsolutePriority && priority <= kAbsolutePriority + kAbsolutePriorityMax;
  if (!absolute) return kStatusInvalidParameter;
  return adapter.profile().policy().absolute_priorities() ? kStatusSuccess : kStatusAccessDenied;
}

}  // namespace

Context* FindContext(const CommandContext& call, Process& process, uint32_t handle) {
  Context* context = process.Find<Context>(handle);
  return context && context->device.adapter == call.adapter ? context : nullptr;
}

// The reply has no status: a refusal is handle 0. Without rules in the profile the driver takes any private
// data and changes none.
void Commands::Handle(CommandContext& call, const host::CreateContextVirtual::Request& request,
                      host::CreateContextVirtual::Reply* reply) {
  std::string data = request.priv_drv_data();
  if (call.CheckLiveAdapter() != kStatusSuccess) return;
  if (data.size() != request.priv_drv_data_size() || data.size() >= kMessageBytesMax) return;
  if ((request.flags() & ~Context::kKnownFlags) != 0) return;
  if (request.node_ordinal() >= call.adapter->nodes() || request.engine_affinity() > kEngineAffinityMax)
    return;
  if ((request.flags() & Context::kHwQueueSupported) != 0 && !call.adapter->hardware_queues()) return;
  if (!ApplyCreation(call.adapter->profile().driver_model().contexts(), *call.adapter, BytesOf(data))) return;
  if (call.Strike(FaultPoint::kNoMemoryCreate)) return;
  Process& process = *call.process;
  MutexLock lock(process.mutex());
  Device* device = FindDevice(call, process, request.device());
  if (!device || !device->active()) return;
  Engines& engines = call.adapter->engines();
  auto queue = engines.AddQueue(device->work, request.node_ordinal());
  Rollback end_queue([&] { engines.End(*queue, nullptr, &call.aftermath); });
  reply->set_priv_drv_data(std::move(data));
  const uint32_t handle =
      device->InsertChild(process, std::make_unique<Context>(*device, request.node_ordinal(), request.flags(),
                                                             queue, call.machine.counts.contexts));
  if (handle == 0) return reply->Clear();
  engines.SetName(*queue, process, handle);
  reply->set_context(handle);
  if (call.adapter->profile().driver_model().contexts().empty())
    call.NoteUnread(request.priv_drv_data_size());
  end_queue.Keep();
}

int32_t Commands::Handle(CommandContext& call, const host::DestroyContext::Request& request,
                         host::DestroyContext::Reply*) {
  if (const int32_t status = call.CheckCaller(); status != kStatusSuccess) return status;
  Process& process = *call.process;
  MutexLock lock(process.mutex());
  Context* context = FindContext(call, process, request.context());
  if (!context) return kStatusInvalidParameter;
  EndUpdates(context->device, request.context(), &call.aftermath);
  const std::shared_ptr<void> stopped = call.DeferUntilLetGo();
  const std::unordered_set<uint32_t> hw_queues = std::move(context->hw_queues);
  for (const uint32_t queue : hw_queues)
    EndHwQueue(process, *process.Find<HwQueue>(queue), stopped, &call.aftermath);
  call.adapter->engines().End(*context->queue, stopped, &call.aftermath);
  context->device.children.erase(CanonicalHandle(request.context()));
  process.Erase(request.context());
  return kStatusSuccess;
}

int32_t Commands::Handle(CommandContext& call, const host::SetContextSchedulingPriority::Request& request,
                         host::SetContextSchedulingPriority::Reply*) {
  if (const int32_t status = call.CheckCaller(); status != kStatusSuccess) return status;
  Process& process = *call.process;
  MutexLock lock(process.mutex());
  Context* context = FindContext(call, process, request.context());
  if (!context) return kStatusInvalidParameter;
  if (call.adapter->removed() || !context->device.active()) return kStatusDeviceRemoved;
  const bool in_process = request.in_process() != 0;
  if (const int32_t status = CheckPriority(*call.adapter, request.priority(), in_process);
      status != kStatusSuccess) {
    return status;
  }
  (in_process ? context->in_process_priority : context->priority) = request.priority();
  Engines& engines = call.adapter->engines();
  engines.SetPriority(*context->queue, context->priority, context->in_process_priority);
  for (const uint32_t handle : context->hw_queues) {
    engines.SetPriority(*process.Find<HwQueue>(handle)->queue, context->priority,
                        context->in_process_priority);
  }
  return kStatusSuccess;
}

// A query: it also works on a device in error.
int32_t Commands::Handle(CommandContext& call, const host::GetContextSchedulingPriority::Request& request,
                         host::GetContextSchedulingPriority::Reply* reply) {
  if (const int32_t status = call.CheckCaller(); status != kStatusSuccess) return status;
  Process& process = *call.process;
  MutexLock lock(process.mutex());
  const Context* context = FindContext(call, process, request.context());
  if (!context) return kStatusInvalidParameter;
  if (call.adapter->removed()) return kStatusDeviceRemoved;
  reply->set_priority(request.in_process() != 0 ? context->in_process_priority : context->priority);
  return kStatusSuccess;
}

}  // namespace dxg::hostsim
