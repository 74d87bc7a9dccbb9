#include "hostsim/memory/paging_queue.h"

#include "hostsim/adapter/adapter_reset.h"
#include "hostsim/machine/call.h"
#include "hostsim/machine/commands.h"
#include "hostsim/machine/rollback.h"
#include "hostsim/sync/sync_object.h"
#include "hostsim/work/engine.h"

namespace dxg::hostsim {

bool PagingQueue::Trouble(CommandContext& call, uint64_t* duration_ns) {
  bool pending = false;
  if (const auto late = call.Strike(FaultPoint::kPagingPending)) {
    *duration_ns += late->delay_ns;
    pending = true;
  }
  if (const auto stall = call.Strike(FaultPoint::kPagingStall)) {
    device.adapter->paging().Stall(lane.get(), call.machine.NowNs() + stall->delay_ns, &call.aftermath);
    pending = true;
  }
  if (call.Strike(FaultPoint::kPagingFault)) {
    call.aftermath.Then(
        [&machine = call.machine, adapter = device.adapter] { ResetAdapter(machine, *adapter); });
    pending = true;
  }
  return pending;
}

PagingResult PagingQueue::Submit(CommandContext& call, uint64_t bytes, std::function<void()> effect) {
  PagingEngine& engine = device.adapter->paging();
  uint64_t duration_ns = engine.Duration(bytes);
  const bool pending = Trouble(call, &duration_ns);
  const bool immediate = call.Strike(FaultPoint::kPagingImmediate) && engine.Outstanding(*lane) == 0;
  if (!pending && (immediate || engine.Prompt(*lane))) {
    if (effect) effect();
    engine.NoteMoved(bytes);
    return Nothing();
  }
  const uint64_t value = ++last_value_;
  PagingOperation operation;
  operation.duration_ns = duration_ns;
  // What moves memory of the device holds up its commands.
  const std::shared_ptr<DeviceWork> held = effect ? device.work : nullptr;
  if (held) device.adapter->engines().Hold(*held);
  operation.done = [fence = fence, value, bytes, effect = std::move(effect), held,
                    adapter = std::weak_ptr(device.adapter)](bool executed, Aftermath* after) {
    const auto alive = adapter.lock();
    if (executed) {
      if (effect) effect();
      if (alive) alive->paging().NoteMoved(bytes);
      fence->domain().Raise(*fence, value, after);
    }
    if (alive && held) alive->engines().LetGo(*held, after);
  };
  engine.Enqueue(lane, std::move(operation), &call.aftermath);
  return {kStatusPending, value};
}

PagingQueue* FindPagingQueue(const CommandContext& call, Process& process, uint32_t handle) {
  PagingQueue* queue = process.Find<PagingQueue>(handle);
  return queue && queue->device.adapter == call.adapter ? queue : nullptr;
}

// The reply has no status: a refusal is all zeros.
void Commands::Handle(CommandContext& call, const host::CreatePagingQueue::Request& request,
                      host::CreatePagingQueue::Reply* reply) {
  if (call.CheckLiveAdapter() != kStatusSuccess) return;
  if (request.priority() < PagingQueue::kPriorityMin || request.priority() > PagingQueue::kPriorityMax)
    return;
  if (request.physical_adapter_index() >= kPhysicalAdapters) return;
  Process& process = *call.process;
  MutexLock lock(process.mutex());
  Device* device = FindDevice(call, process, request.device());
  if (!device || !device->active()) return;
  if (call.Strike(FaultPoint::kNoMemoryCreate)) return;
  SyncHandle* fence = CreateQueueFence(process, *device, SyncHandle::Use::kOfPagingQueue, false);
  if (!fence) return;
  Rollback end_fence([&]() DXG_REQUIRES(process.mutex()) { EndSync(process, *fence, &call.aftermath); });
  PagingEngine& paging = call.adapter->paging();
  auto lane = paging.AddLane(request.priority());
  Rollback close_lane([&] { paging.Close(*lane, &call.aftermath); });
  device->paging.push_back({lane, fence->object});
  Rollback forget_lane([&] { device->paging.pop_back(); });
  auto created =
      std::make_unique<PagingQueue>(*device, lane, fence->object, call.machine.counts.paging_queues);
  PagingQueue& queue = *created;
  const uint32_t handle = device->InsertChild(process, std::move(created));
  if (handle == 0) return;
  end_fence.Keep();
  close_lane.Keep();
  forget_lane.Keep();
  queue.fence_handle = fence->handle;
  reply->set_paging_queue(handle);
  reply->set_sync_object(fence->handle);
  reply->set_fence_storage_physical_address(fence->page->window_address());
}

namespace {

// A lane has done all that it will.
void EndLane(const std::shared_ptr<Process>& process, uint32_t owner, const std::shared_ptr<PagingLane>& lane,
             Aftermath* aftermath) {
  if (!process || !lane) return;
  Process& locked = *process;
  MutexLock lock(locked.mutex());
  Device* device = locked.Find<Device>(owner);
  if (!device) return;
  std::erase_if(device->paging, [&lane](const PagingWork& work) { return work.lane == lane; });
  device->adapter->paging().Close(*lane, aftermath);
}

}  // namespace

// The handles are gone at once; the answer comes when the last operation has ended, as an operation of no
// time behind all others.
void Commands::Handle(CommandContext& call, const host::DestroyPagingQueue::Request& request,
                      host::DestroyPagingQueue::Reply*) {
  if (call.CheckCaller() != kStatusSuccess) return call.Refuse();
  Process& process = *call.process;
  MutexLock lock(process.mutex());
  PagingQueue* queue = FindPagingQueue(call, process, request.paging_queue());
  if (!queue) return call.Refuse();
  Device& device = queue->device;
  PagingEngine& engine = call.adapter->paging();
  const std::shared_ptr<PagingLane> lane = queue->lane;
  SyncHandle* fence = process.Find<SyncHandle>(queue->fence_handle);
  device.children.erase(queue->handle);
  process.Erase(queue->handle);
  if (engine.Outstanding(*lane) == 0) {
    EndSync(process, *fence, &call.aftermath);
    std::erase_if(device.paging, [&lane](const PagingWork& work) { return work.lane == lane; });
    return engine.Close(*lane, &call.aftermath);
  }
  // The device keeps the lane, so that its error or end reaches it, and the lane the fence: whoever waits for
  // it is released by what is still to be done.
  PagingOperation last;
  last.done = [process = std::weak_ptr(call.process), owner = device.handle, weak_lane = std::weak_ptr(lane),
               fence = fence->object, page = fence->page, &machine = call.machine,
               end = call.Defer()](bool executed, Aftermath* aftermath) {
    if (executed) EndLane(process.lock(), owner, weak_lane.lock(), aftermath);
    machine.DropSync(*fence, true, aftermath);
    aftermath->Then(end);
  };
  device.children.erase(fence->handle);
  process.Erase(fence->handle);
  engine.Enqueue(lane, std::move(last), &call.aftermath);
}

}  // namespace dxg::hostsim
