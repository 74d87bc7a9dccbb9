#include "tests/simulation/work_run.h"

namespace dxg::simulation {

// -- Queues

void WorkRun::CreateQueue() {
  const auto device = AnyDevice();
  if (device != nullptr) CreateQueueOn(device);
}

void WorkRun::CreateQueueOn(const std::shared_ptr<ModelDevice>& device) {
  if (QueuesOf(*device, Queues::kAll).size() >= kQueuesMax) return;
  const uint64_t word = Take(*device, 8);
  auto queue = std::make_shared<ModelQueue>();
  queues_ever_.push_back(queue);
  queue->id = ++ids_;
  queue->device = device;
  queue->hardware = Chance(35);
  queue->node = static_cast<uint32_t>(Below(kNodes));
  queue->word = WordAt(*device, word);
  queue->word_gpu = device->gpu + word;
  d3dkmt_createcontextvirtual context{};
  context.device.v = device->handle;
  context.node_ordinal = queue->node;
  context.flags.hw_queue_supported = queue->hardware;
  const int32_t result = Call(LX_DXCREATECONTEXTVIRTUAL, &context);
  FindLostDevices();
  if (!device->active()) return True(result <= 0, "CreateContextVirtual");
  Equal(result, 0, "CreateContextVirtual");
  queue->context = queue->handle = context.context.v;
  if (queue->hardware && !CreateHwQueue(*queue)) return;
  model_.queues.push_back(queue);
  Say("queue {} on device {}, node {}, {}", queue->id, device->id, queue->node, queue->hardware ? "hardware" : "context");
}

bool WorkRun::CreateHwQueue(ModelQueue& queue) {
  d3dkmt_createhwqueue args{};
  args.context.v = queue.context;
  if (!Accepted(*queue.device, Call(LX_DXCREATEHWQUEUE, &args), "CreateHwQueue")) return false;
  queue.handle = args.queue.v;
  queue.progress_handle = args.queue_progress_fence.v;
  auto progress = std::make_shared<Sync>();
  progress->id = ++ids_;
  progress->type = kMonitored;
  progress->names = 1;
  progress->views.push_back(reinterpret_cast<const volatile uint64_t*>(args.queue_progress_fence_cpu_va));
  Equal(uint64_t{*progress->views[0]}, 0u, "a new progress fence");
  queue.progress = progress;
  model_.syncs.push_back(progress);
  return true;
}

void WorkRun::EndQueue(const std::shared_ptr<ModelQueue>& queue) {
  if (queue->progress) queue->progress->views.clear();
  model_.End(queue);
}

void WorkRun::EndFence(const std::shared_ptr<Sync>& fence) {
  fence->views.clear();
  model_.Drop(fence, true);
}

void WorkRun::DestroyQueue() {
  const auto queue = AnyQueue();
  if (queue == nullptr) return;
  Say("destroy queue {} with {} packets", queue->id, queue->packets.size());
  if (queue->hardware && Chance(50)) {
    d3dkmt_destroyhwqueue args{};
    args.queue.v = queue->handle;
    Equal(Call(LX_DXDESTROYHWQUEUE, &args), 0, "DestroyHwQueue");
  } else {
    d3dkmt_destroycontext args{};
    args.context.v = queue->context;
    Equal(Call(LX_DXDESTROYCONTEXT, &args), 0, "DestroyContext");
  }
  EndQueue(queue);
}

void WorkRun::Priority() {
  const auto queue = AnyQueue();
  if (queue == nullptr) return;
  d3dkmt_setcontextschedulingpriority set{};
  set.context.v = queue->context;
  set.priority = static_cast<int32_t>(Below(17)) - 8;
  const int32_t result = Call(LX_DXSETCONTEXTSCHEDULINGPRIORITY, &set);
  Say("priority of queue {}: {}: {}", queue->id, set.priority, result);
  if (set.priority < -7 || set.priority > 7) return Equal(result, -EINVAL, "a priority out of range");
  if (!Accepted(*queue->device, result, "SetContextSchedulingPriority")) return;
  d3dkmt_getcontextschedulingpriority get{};
  get.context.v = queue->context;
  Equal(Call(LX_DXGETCONTEXTSCHEDULINGPRIORITY, &get), 0, "GetContextSchedulingPriority");
  Equal(get.priority, set.priority, "the priority that was set");
}

// -- Objects

int WorkRun::NewEvent() {
  const int event = machine_.NewEvent(Pid());
  events_[current_].push_back(event);
  model_.ticks[event] = {};
  return event;
}

void WorkRun::CreateSync() {
  const auto device = AnyDevice();
  if (device != nullptr) CreateSyncOn(device);
}

void WorkRun::CreateSyncOn(const std::shared_ptr<ModelDevice>& device) {
  if (Now().handles.size() >= kHandlesMax) return;
  static constexpr uint32_t kTypes[] = {kMonitored, kMonitored, kMonitored, kMonitored, kMonitored, kFence, kSemaphore, kMutex, kCpuNotification};
  auto sync = std::make_shared<Sync>();
  d3dkmt_createsynchronizationobject2 args{};
  args.device.v = device->handle;
  args.info.type = sync->type = kTypes[Below(std::size(kTypes))];
  const bool shared = sync->type != kCpuNotification && Chance(40);
  args.info.flags.shared = args.info.flags.nt_security_sharing = shared;
  if (sync->type == kMonitored && !shared) {
    args.info.flags.no_signal_max_value_on_tdr = Chance(15);
    sync->gpu_adds = Chance(25);
  }
  switch (sync->type) {
    case kMonitored:
      args.info.monitored_fence.initial_fence_value = sync->value = sync->seen = sync->now = Below(4);
      break;
    case kFence:
      args.info.fence.fence_value = sync->value = Below(4);
      break;
    case kSemaphore:
      args.info.semaphore.max_count = static_cast<uint32_t>(sync->limit = Chance(70) ? 1000 : 2);
      args.info.semaphore.initial_count = static_cast<uint32_t>(sync->value = Below(3));
      break;
    case kMutex:
      sync->limit = sync->value = 1;
      break;
    case kCpuNotification:
      args.info.cpu_notification.event = static_cast<uint64_t>(sync->event = NewEvent());
      break;
  }
  sync->flags = args.info.flags.value;
  const int32_t result = Call(LX_DXCREATESYNCHRONIZATIONOBJECT, &args);
  FindLostDevices();
  if (!device->active()) return True(result <= 0, "CreateSynchronizationObject");
  Equal(result, 0, "CreateSynchronizationObject");
  sync->id = ++ids_;
  Say("object {} of type {}, flags {:#x}, value {} on device {}", sync->id, sync->type, sync->flags, sync->value, device->id);
  model_.syncs.push_back(sync);
  AddHandle({sync, device, args.sync_object.v, nullptr, 0}, sync->readable() ? args.info.monitored_fence.fence_cpu_virtual_address : 0,
            sync->readable() ? args.info.monitored_fence.fence_gpu_virtual_address : 0);
}

void WorkRun::AddHandle(Handle handle, uint64_t view, uint64_t gpu) {
  Sync& sync = *handle.sync;
  ++sync.names;
  if (sync.readable()) {
    True(view != 0, "a monitored fence without an address");
    handle.view = reinterpret_cast<const volatile uint64_t*>(view);
    handle.gpu = gpu;
    if (!sync.visible()) sync.now = sync.seen = *handle.view;
    sync.views.push_back(handle.view);
    sync.signallers.insert(handle.device->id);
  }
  Now().handles.push_back(handle);
}

void WorkRun::ForgetHandle(int client, size_t index) {
  const Handle handle = clients_[client].handles[index];
  clients_[client].handles.erase(clients_[client].handles.begin() + static_cast<ptrdiff_t>(index));
  std::erase(handle.sync->views, handle.view);
  bool another = false;
  for (const Handle& other : clients_[client].handles) another |= other.sync == handle.sync && other.device == handle.device;
  if (!another) handle.sync->signallers.erase(handle.device->id);
  model_.Drop(handle.sync, true);
}

void WorkRun::DestroySync() {
  Client& client = Now();
  if (client.handles.empty()) return;
  const size_t index = Below(client.handles.size());
  const Handle& handle = client.handles[index];
  if (handle.sync->gpu_adds && !model_.Idle(*handle.sync)) return;  // a command would write to where nothing is
  Say("destroy object {}", handle.sync->id);
  d3dkmt_destroysynchronizationobject args{};
  args.sync_object.v = handle.handle;
  Equal(Call(LX_DXDESTROYSYNCHRONIZATIONOBJECT, &args), 0, "DestroySynchronizationObject");
  ForgetHandle(current_, index);
}

void WorkRun::Share() {
  Handle* handle = AnyHandle(nullptr, [](const Sync& sync) { return (sync.flags & 3) == 3; });
  if (handle == nullptr || handle->device->adapter_life != adapter_life_) return;
  uint64_t descriptor = 0;
  uint32_t list[] = {handle->handle};
  d3dkmt_shareobjects args{};
  args.object_count = 1;
  args.objects = AddressOf(list);
  args.shared_handle = AddressOf(&descriptor);
  Equal(Call(LX_DXSHAREOBJECTS, &args), 0, "ShareObjects");
  Say("object {} is descriptor {}", handle->sync->id, descriptor);
  ++handle->sync->names;
  descriptors_[static_cast<int>(descriptor)] = {handle->sync, adapter_life_};
}

void WorkRun::OpenShared() {
  const auto device = AnyDevice();
  if (device == nullptr || descriptors_.empty() || Now().handles.size() >= kHandlesMax) return;
  auto it = descriptors_.begin();
  std::advance(it, static_cast<ptrdiff_t>(Below(descriptors_.size())));
  d3dkmt_opensyncobjectfromnthandle2 args{};
  args.nt_handle = static_cast<uint64_t>(it->first);
  args.device.v = device->handle;
  const int32_t result = Call(LX_DXOPENSYNCOBJECTFROMNTHANDLE2, &args);
  Say("open descriptor {} on device {}: {}", it->first, device->id, result);
  FindLostDevices();
  if (it->second.adapter_life != adapter_life_) return True(result < 0, "an object of another adapter was opened");
  if (!device->active()) return True(result <= 0, "OpenSyncObjectFromNtHandle2");
  Equal(result, 0, "OpenSyncObjectFromNtHandle2");
  AddHandle({it->second.sync, device, args.sync_object.v, nullptr, 0}, args.monitored_fence.fence_value_cpu_va, args.monitored_fence.fence_value_gpu_va);
}

void WorkRun::CloseDescriptor() {
  if (descriptors_.empty()) return;
  auto it = descriptors_.begin();
  std::advance(it, static_cast<ptrdiff_t>(Below(descriptors_.size())));
  Say("close descriptor {}", it->first);
  machine_.CloseDescriptor(it->first);
  model_.Drop(it->second.sync, false);
  descriptors_.erase(it);
}

}  // namespace dxg::simulation
