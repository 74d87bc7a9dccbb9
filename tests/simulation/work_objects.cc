#include "tests/simulation/work_run.h"

namespace dxg::simulation {

using hostsim::FaultPoint;

namespace {

Handle HandleWith(const d3dddi_synchronizationobject_flags& flags, const std::shared_ptr<Sync>& sync,
                  const std::shared_ptr<ModelDevice>& device, uint32_t name) {
  Handle handle{sync, device, name};
  handle.signals = !flags.no_signal && !sync->periodic();
  handle.waits = !flags.no_wait;
  handle.lost_with_device = !flags.no_signal_max_value_on_tdr;
  return handle;
}

}  // namespace

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
  const bool no_memory = Struck(FaultPoint::kNoMemoryCreate) != 0;
  FindLostDevices();
  if (!device->active()) return True(result <= 0, "CreateContextVirtual");
  if (no_memory) return Equal(result, -EINVAL, "CreateContextVirtual without memory");
  Equal(result, 0, "CreateContextVirtual");
  queue->context = queue->handle = context.context.v;
  if (queue->hardware && !CreateHwQueue(*queue)) return;
  model_.queues.push_back(queue);
  Say("queue {} on device {}, node {}, {}", queue->id, device->id, queue->node,
      queue->hardware ? "hardware" : "context");
}

bool WorkRun::CreateHwQueue(ModelQueue& queue) {
  d3dkmt_createhwqueue args{};
  args.context.v = queue.context;
  const int32_t result = Call(LX_DXCREATEHWQUEUE, &args);
  if (Struck(FaultPoint::kNoMemoryCreate) != 0) {
    Equal(result, -ENOMEM, "CreateHwQueue without memory");
    return false;
  }
  if (!Accepted(*queue.device, result, "CreateHwQueue")) return false;
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
  ++ended_;
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

// Not both: a handle that is good for nothing is refused.
void WorkRun::ForbidSomething(d3dddi_synchronizationobject_flags* flags) {
  const uint64_t what = Below(10);
  flags->no_signal = what < 2;
  flags->no_wait = what == 2;
}

void WorkRun::CreateSync() {
  const auto device = AnyDevice();
  if (device != nullptr) CreateSyncOn(device);
}

void WorkRun::CreateSyncOn(const std::shared_ptr<ModelDevice>& device) {
  if (Now().handles.size() >= kHandlesMax) return;
  static constexpr uint32_t kTypes[] = {kMonitored, kMonitored, kMonitored, kMonitored,      kMonitored,
                                        kFence,     kSemaphore, kMutex,     kCpuNotification};
  auto sync = std::make_shared<Sync>();
  d3dkmt_createsynchronizationobject2 args{};
  args.device.v = device->handle;
  args.info.type = sync->type = kTypes[Below(std::size(kTypes))];
  const bool shared = sync->type != kCpuNotification && Chance(40);
  args.info.flags.shared = args.info.flags.nt_security_sharing = shared;
  if (sync->type == kMonitored) {
    if (shared) ForbidSomething(&args.info.flags);
    args.info.flags.no_signal_max_value_on_tdr = Chance(15);
    sync->gpu_adds = !shared && Chance(25);
  }
  switch (sync->type) {
    case kMonitored:
      args.info.monitored_fence.initial_fence_value = sync->value = sync->seen = sync->now = Below(4);
      break;
    case kFence:
      args.info.fence.fence_value = sync->value = Below(4);
      break;
    case kSemaphore:
      args.info.semaphore.max_count = static_cast<uint32_t>(sync->limit = Chance(70)   ? 1000
                                                                          : Chance(80) ? 2
                                                                                       : 0);
      args.info.semaphore.initial_count =
          static_cast<uint32_t>(sync->value = sync->limit != 0 ? Below(3) : 0);
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
  const bool no_memory = Struck(FaultPoint::kNoMemoryCreate) != 0;
  FindLostDevices();
  if (!device->active()) return True(result <= 0, "CreateSynchronizationObject");
  if (no_memory && !shared && !sync->readable()) return ForgetNothing(result, args.sync_object.v);
  if (no_memory)
    return Equal(result, shared ? -EINVAL : -ENOMEM, "CreateSynchronizationObject without memory");
  Equal(result, 0, "CreateSynchronizationObject");
  sync->id = ++ids_;
  Say("object {} of type {}, flags {:#x}, value {} on device {}", sync->id, sync->type, sync->flags,
      sync->value, device->id);
  model_.syncs.push_back(sync);
  AddHandle(HandleWith(args.info.flags, sync, device, args.sync_object.v),
            sync->readable() ? args.info.monitored_fence.fence_cpu_virtual_address : 0,
            sync->readable() ? args.info.monitored_fence.fence_gpu_virtual_address : 0);
}

// Its display raises it, and nobody else.
void WorkRun::CreatePeriodic() {
  const auto device = AnyDevice();
  if (device == nullptr || Now().handles.size() >= kHandlesMax) return;
  auto sync = std::make_shared<Sync>();
  d3dkmt_createsynchronizationobject2 args{};
  args.device.v = device->handle;
  args.info.type = sync->type = kPeriodic;
  args.info.flags.shared = args.info.flags.nt_security_sharing = Chance(40);
  constexpr uint64_t kTimeUnitNs = 100;
  const uint64_t times = vertical_sync_ns_ / kTimeUnitNs;
  const uint64_t time = Chance(90) ? Below(times) : times + Below(2);
  args.info.periodic_monitored_fence.adapter.v = Now().adapter;
  args.info.periodic_monitored_fence.time = time;
  sync->flags = args.info.flags.value;
  const int32_t result = Call(LX_DXCREATESYNCHRONIZATIONOBJECT, &args);
  const bool no_memory = Struck(FaultPoint::kNoMemoryCreate) != 0;
  FindLostDevices();
  Say("a periodic fence on device {}, {} ns before each {} ns: {}", device->id, time * kTimeUnitNs,
      vertical_sync_ns_, result);
  if (!device->active()) return True(result <= 0, "CreateSynchronizationObject of a periodic fence");
  if (time >= times || no_memory)
    return Equal(result, args.info.flags.shared ? -EINVAL : -ENOMEM,
                 "a periodic fence without a display, or before the vertical sync before");
  Equal(result, 0, "CreateSynchronizationObject of a periodic fence");
  sync->id = ++ids_;
  sync->created_ns = machine_.clock().NowNs();
  sync->period_ns = vertical_sync_ns_;
  sync->before_ns = time * kTimeUnitNs;
  model_.syncs.push_back(sync);
  AddHandle(HandleWith(args.info.flags, sync, device, args.sync_object.v),
            args.info.periodic_monitored_fence.fence_cpu_virtual_address,
            args.info.periodic_monitored_fence.fence_gpu_virtual_address);
}

// Every name of every one.
void WorkRun::EndPeriodic() {
  const int current = current_;
  for (current_ = 0; current_ < static_cast<int>(clients_.size()); ++current_) {
    for (size_t i = 0; i < Now().handles.size();) {
      if (Now().handles[i].sync->periodic()) {
        DestroyHandle(i);
      } else {
        ++i;
      }
    }
  }
  current_ = current;
  for (auto it = descriptors_.begin(); it != descriptors_.end();) {
    const auto next = std::next(it);
    if (it->second.sync->periodic()) CloseDescriptor(it);
    it = next;
  }
}

// The driver takes a refusal for an object of handle 0, which it can have once, and only while nothing else
// has its index.
void WorkRun::ForgetNothing(int32_t result, uint32_t handle) {
  if (result != 0) return Equal(result, -EINVAL, "CreateSynchronizationObject without memory");
  Equal(handle, 0u, "the handle of an object that was refused");
  d3dkmt_destroysynchronizationobject args{};
  Say("an object of handle 0 is destroyed: {}", Call(LX_DXDESTROYSYNCHRONIZATIONOBJECT, &args));
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
  }
  Now().handles.push_back(handle);
  CountHandles(sync);
}

// Whose handles there are, and what they allow.
void WorkRun::CountHandles(Sync& sync) {
  sync.holders.clear();
  sync.signallers.clear();
  for (const Client& client : clients_) {
    for (const Handle& handle : client.handles) {
      if (handle.sync.get() != &sync) continue;
      sync.holders.insert(handle.device->id);
      if (handle.signals && handle.lost_with_device) sync.signallers.insert(handle.device->id);
    }
  }
}

void WorkRun::ForgetHandle(int client, size_t index) {
  const Handle handle = clients_[client].handles[index];
  clients_[client].handles.erase(clients_[client].handles.begin() + static_cast<ptrdiff_t>(index));
  std::erase(handle.sync->views, handle.view);
  CountHandles(*handle.sync);
  model_.Drop(handle.sync, true);
}

void WorkRun::DestroySync() {
  Client& client = Now();
  if (client.handles.empty()) return;
  const size_t index = Below(client.handles.size());
  const Handle& handle = client.handles[index];
  if (handle.sync->gpu_adds && !model_.Idle(*handle.sync))
    return;  // a command would write to where nothing is
  DestroyHandle(index);
}

void WorkRun::DestroyHandle(size_t index) {
  const Handle& handle = Now().handles[index];
  Say("destroy object {}", handle.sync->id);
  d3dkmt_destroysynchronizationobject args{};
  args.sync_object.v = handle.handle;
  Equal(Call(LX_DXDESTROYSYNCHRONIZATIONOBJECT, &args), 0, "DestroySynchronizationObject");
  ForgetHandle(current_, index);
}

void WorkRun::Share() {
  Handle* handle = AnyHandle(nullptr, [](const Handle& each) { return (each.sync->flags & 3) == 3; });
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
  if (it->second.sync->readable()) {
    ForbidSomething(&args.flags);
    args.flags.no_signal_max_value_on_tdr = Chance(15);
  }
  const uint32_t flags = args.flags.value;
  const int32_t result = Call(LX_DXOPENSYNCOBJECTFROMNTHANDLE2, &args);
  const bool no_memory = Struck(FaultPoint::kNoMemoryCreate) != 0;
  Say("open descriptor {} on device {} with flags {:#x}: {}", it->first, device->id, flags, result);
  FindLostDevices();
  if (it->second.adapter_life != adapter_life_)
    return True(result < 0, "an object of another adapter was opened");
  if (!device->active()) return True(result <= 0, "OpenSyncObjectFromNtHandle2");
  if (no_memory) return Equal(result, -ENOMEM, "OpenSyncObjectFromNtHandle2 without memory");
  Equal(result, 0, "OpenSyncObjectFromNtHandle2");
  AddHandle(HandleWith(args.flags, it->second.sync, device, args.sync_object.v),
            args.monitored_fence.fence_value_cpu_va, args.monitored_fence.fence_value_gpu_va);
}

void WorkRun::CloseDescriptor() {
  if (descriptors_.empty()) return;
  auto it = descriptors_.begin();
  std::advance(it, static_cast<ptrdiff_t>(Below(descriptors_.size())));
  CloseDescriptor(it);
}

void WorkRun::CloseDescriptor(std::map<int, Descriptor>::iterator it) {
  Say("close descriptor {}", it->first);
  machine_.CloseDescriptor(it->first);
  model_.Drop(it->second.sync, false);
  descriptors_.erase(it);
}

}  // namespace dxg::simulation
