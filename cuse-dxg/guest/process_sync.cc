// What a process has of synchronization: fences, and the hardware queues that have one each.
#include "cuse-dxg/guest/process.h"

namespace dxg::guest {

Result<bool> Process::IsMonitored(uint32_t handle) {
  MutexLock lock(mutex_);
  const auto* entry = object_handles_.Find({handle});
  if (entry != nullptr && entry->type == HandleType::kMonitoredFence) return true;
  DXG_ASSIGN(auto object, Find<SyncObject>(object_handles_, {handle}, HandleType::kSyncObject));
  return object->monitored;
}

Status Process::AddSyncObject(const std::shared_ptr<Device>& device,
                              const std::shared_ptr<SyncObject>& object) {
  MutexLock lock(mutex_);
  if (!device->active)
    return Status::Refuse(ENODEV, "the device was destroyed while the sync object was made");
  auto place = ObjectList<SyncObject>::Prepare(object);
  DXG_TRY(Assign(object->handle, HandleType::kSyncObject, object));
  if (object->monitored) device->sync_objects.Append(std::move(place));
  StoreFenceLocked(object->window_address);
  return Status::Ok();
}

Result<std::shared_ptr<SyncObject>> Process::RemoveSyncObject(uint32_t handle) {
  MutexLock lock(mutex_);
  DXG_ASSIGN(auto object, Find<SyncObject>(object_handles_, {handle}, HandleType::kSyncObject));
  object_handles_.Free(object->handle);
  if (!object->monitored) return object;
  if (auto device = Find<Device>(object_handles_, object->device, HandleType::kDevice); device.ok())
    (*device)->sync_objects.remove(object);
  return object;
}

Status Process::AddHwQueue(const std::shared_ptr<Device>& device, const std::shared_ptr<Context>& context,
                           const std::shared_ptr<HwQueue>& queue) {
  MutexLock lock(mutex_);
  auto live = Find<Context>(object_handles_, context->handle, HandleType::kContext);
  if (!device->active || !live.ok() || *live != context) {
    return Status::Refuse(ENODEV, "the context was destroyed while the hardware queue was created");
  }
  auto place = ObjectList<HwQueue>::Prepare(queue);
  // Waits and signals name the fence; there is nothing else that the guest knows of it.
  DXG_TRY(Assign(queue->fence, HandleType::kMonitoredFence, nullptr));
  if (Status status = Assign(queue->handle, HandleType::kHwQueue, queue); !status.ok()) {
    object_handles_.Free(queue->fence);
    return status;
  }
  context->hw_queues.Append(std::move(place));
  StoreFenceLocked(queue->window_address);
  return Status::Ok();
}

Result<std::shared_ptr<HwQueue>> Process::RemoveHwQueue(uint32_t handle) {
  MutexLock lock(mutex_);
  DXG_ASSIGN(auto queue, Find<HwQueue>(object_handles_, {handle}, HandleType::kHwQueue));
  object_handles_.Free(queue->handle);
  object_handles_.Free(queue->fence);
  auto context = Find<Context>(object_handles_, queue->context, HandleType::kContext);
  if (context.ok()) (*context)->hw_queues.remove(queue);
  return queue;
}

void Process::StoreFences(uint64_t value) {
  MutexLock lock(mutex_);
  all_fences_ = value;
  for (const auto& held : adapters_) {
    for (const auto& device : held->devices) {
      for (const auto& queue : device->paging_queues) StoreFenceLocked(queue->window_address);
      for (const auto& object : device->sync_objects) StoreFenceLocked(object->window_address);
      for (const auto& context : device->contexts) {
        for (const auto& queue : context->hw_queues) StoreFenceLocked(queue->window_address);
      }
    }
  }
}

// For 0, and before StoreFences, nothing.
void Process::StoreFenceLocked(WindowAddress window_address) {
  if (all_fences_ && window_address) arena_.Store(window_address, *all_fences_);
}

}  // namespace dxg::guest
