#include "hostsim/work/hw_queue.h"

#include "hostsim/adapter/driver_model.h"
#include "hostsim/machine/call.h"
#include "hostsim/machine/commands.h"
#include "hostsim/machine/rollback.h"
#include "hostsim/work/engine.h"
#include "proto/abi/ntstatus.h"

namespace dxg::hostsim {
namespace {

constexpr uint32_t kKnownQueueFlags = HwQueue::kDisableGpuTimeout | HwQueue::kNoBroadcastSignal |
                                      HwQueue::kNoBroadcastWait | HwQueue::kNoKmdAccess;

}  // namespace

void EndHwQueue(Process& process, HwQueue& queue, const std::shared_ptr<void>& stopped,
                Aftermath* aftermath) {
  Device& device = queue.context.device;
  device.adapter->engines().End(*queue.queue, stopped, aftermath);
  if (SyncHandle* progress = process.Find<SyncHandle>(queue.progress_handle))
    EndSync(process, *progress, aftermath);
  queue.context.hw_queues.erase(queue.handle);
  device.children.erase(queue.handle);
  process.Erase(queue.handle);
}

QueueOf FindQueue(const CommandContext& call, Process& process, uint32_t handle) {
  if (Context* context = FindContext(call, process, handle)) return {context, nullptr};
  HwQueue* queue = process.Find<HwQueue>(handle);
  if (!queue || queue->context.device.adapter != call.adapter) return {};
  return {&queue->context, queue};
}

// Without rules in the profile the driver takes any private data and changes none.
int32_t Commands::Handle(CommandContext& call, const host::CreateHwQueue::Request& request,
                         host::CreateHwQueue::Reply* reply) {
  if (const int32_t status = call.CheckCaller(); status != kStatusSuccess) return status;
  std::string data = request.priv_drv_data();
  if (data.size() != request.priv_drv_data_size() || data.size() >= kMessageBytesMax)
    return kStatusInvalidParameter;
  if ((request.flags() & ~(kKnownQueueFlags | HwQueue::kUserModeSubmission)) != 0)
    return kStatusInvalidParameter;
  Process& process = *call.process;
  MutexLock lock(process.mutex());
  Context* context = FindContext(call, process, request.context());
  if (!context) return kStatusInvalidParameter;
  Device& device = context->device;
  if (call.adapter->removed() || !device.active()) return kStatusDeviceRemoved;
  if ((context->flags & Context::kHwQueueSupported) == 0) return kStatusInvalidParameter;
  if ((request.flags() & HwQueue::kUserModeSubmission) != 0) return kStatusNotSupported;
  if (!ApplyCreation(call.adapter->profile().driver_model().hw_queues(), *call.adapter, BytesOf(data)))
    return kStatusInvalidParameter;
  if (call.Strike(FaultPoint::kNoMemoryCreate)) return kStatusNoMemory;
  SyncHandle* progress = CreateQueueFence(process, device, SyncHandle::Use::kProgress, true);
  if (!progress) return kStatusNoMemory;
  Rollback end_progress([&]()
                            DXG_REQUIRES(process.mutex()) { EndSync(process, *progress, &call.aftermath); });
  Engines& engines = call.adapter->engines();
  auto queue = engines.AddQueue(device.work, context->node);
  Rollback end_queue([&] { engines.End(*queue, nullptr, &call.aftermath); });
  engines.SetPriority(*queue, context->priority, context->in_process_priority);
  const uint32_t handle = device.InsertChild(
      process,
      std::make_unique<HwQueue>(*context, request.flags(), queue, *progress, call.machine.counts.hw_queues));
  if (handle == 0) return kStatusNoMemory;
  Rollback erase([&]() DXG_REQUIRES(process.mutex()) {
    context->hw_queues.erase(handle);
    device.EraseChild(process, handle);
  });
  engines.SetName(*queue, process, handle);
  context->hw_queues.insert(handle);
  reply->set_hwqueue(handle);
  reply->set_progress_fence(progress->handle);
  reply->set_progress_fence_cpu_va(progress->page->window_address());
  reply->set_progress_fence_gpu_va(progress->gpu_address.value);
  reply->set_priv_drv_data(std::move(data));
  if (call.adapter->profile().driver_model().hw_queues().empty())
    call.NoteUnread(request.priv_drv_data_size());
  end_progress.Keep();
  end_queue.Keep();
  erase.Keep();
  return kStatusSuccess;
}

int32_t Commands::Handle(CommandContext& call, const host::DestroyHwQueue::Request& request,
                         host::DestroyHwQueue::Reply*) {
  if (const int32_t status = call.CheckCaller(); status != kStatusSuccess) return status;
  Process& process = *call.process;
  MutexLock lock(process.mutex());
  const QueueOf found = FindQueue(call, process, request.hwqueue());
  if (!found.hw_queue) return kStatusInvalidParameter;
  EndHwQueue(process, *found.hw_queue, call.DeferUntilLetGo(), &call.aftermath);
  return kStatusSuccess;
}

}  // namespace dxg::hostsim
