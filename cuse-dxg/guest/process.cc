#include "cuse-dxg/guest/process.h"

#include <algorithm>

namespace dxg::guest {

template <typename T>
Result<std::shared_ptr<T>> Process::Find(HandleTable& table, Handle handle, HandleType type) {
  const auto* entry = table.Find(handle);
  if (entry == nullptr) {
    return Status::Refuse(EINVAL, "{:#x} is no live handle of this process; expected {}", handle.value,
                          HandleTypeName(type));
  }
  if (entry->type != type) {
    return Status::Refuse(EINVAL, "{:#x} is {}; expected {}", handle.value, HandleTypeName(entry->type),
                          HandleTypeName(type));
  }
  return std::static_pointer_cast<T>(entry->object);
}

Result<std::shared_ptr<ProcessAdapter>> Process::FindAdapter(uint32_t handle) {
  MutexLock lock(mutex_);
  return Find<ProcessAdapter>(adapter_handles_, {handle}, HandleType::kAdapter);
}

Result<std::shared_ptr<Device>> Process::FindDevice(uint32_t handle) {
  MutexLock lock(mutex_);
  return Find<Device>(object_handles_, {handle}, HandleType::kDevice);
}

Result<std::shared_ptr<Context>> Process::FindContext(uint32_t handle) {
  MutexLock lock(mutex_);
  return Find<Context>(object_handles_, {handle}, HandleType::kContext);
}

Result<std::shared_ptr<Allocation>> Process::FindAllocation(uint32_t handle) {
  MutexLock lock(mutex_);
  return Find<Allocation>(object_handles_, {handle}, HandleType::kAllocation);
}

Result<std::shared_ptr<Resource>> Process::FindResource(uint32_t handle) {
  MutexLock lock(mutex_);
  return Find<Resource>(object_handles_, {handle}, HandleType::kResource);
}

Result<std::shared_ptr<PagingQueue>> Process::FindPagingQueue(uint32_t handle) {
  MutexLock lock(mutex_);
  return Find<PagingQueue>(object_handles_, {handle}, HandleType::kPagingQueue);
}

Result<std::shared_ptr<SyncObject>> Process::FindSyncObject(uint32_t handle) {
  MutexLock lock(mutex_);
  return Find<SyncObject>(object_handles_, {handle}, HandleType::kSyncObject);
}

Result<std::shared_ptr<HwQueue>> Process::FindHwQueue(uint32_t handle) {
  MutexLock lock(mutex_);
  return Find<HwQueue>(object_handles_, {handle}, HandleType::kHwQueue);
}

HandleType Process::TypeOf(uint32_t handle) {
  MutexLock lock(mutex_);
  const auto* entry = object_handles_.Find({handle});
  return entry == nullptr ? HandleType::kFree : entry->type;
}

Handle Process::OpenAdapter(const std::shared_ptr<Adapter>& adapter) {
  MutexLock lock(mutex_);
  auto held = std::find_if(adapters_.begin(), adapters_.end(),
                           [&](const auto& each) { return each->adapter == adapter; });
  if (held == adapters_.end()) {
    adapters_.push_back(std::make_shared<ProcessAdapter>(ProcessAdapter{adapter, 0, {}}));
    held = std::prev(adapters_.end());
  }
  const Handle handle = adapter_handles_.Allocate(HandleType::kAdapter, *held);
  if (handle) {
    ++(*held)->open_count;
  } else if ((*held)->open_count == 0) {
    adapters_.erase(held);
  }
  return handle;
}

Status Process::CloseAdapter(Handle handle, std::shared_ptr<ProcessAdapter>* last) {
  MutexLock lock(mutex_);
  DXG_ASSIGN(auto held, Find<ProcessAdapter>(adapter_handles_, handle, HandleType::kAdapter));
  adapter_handles_.Free(handle);
  if (--held->open_count == 0) {
    adapters_.remove(held);
    *last = held;
  }
  return Status::Ok();
}

std::list<std::shared_ptr<ProcessAdapter>> Process::CloseAllAdapters() {
  MutexLock lock(mutex_);
  for (const auto& [handle, entry] : adapter_handles_.Live()) adapter_handles_.Free(handle);
  for (const auto& held : adapters_) held->open_count = 0;
  return std::exchange(adapters_, {});
}

bool Process::HasOpen(const Adapter& adapter) {
  MutexLock lock(mutex_);
  return std::any_of(adapters_.begin(), adapters_.end(),
                     [&](const auto& held) { return held->adapter.get() == &adapter; });
}

Status Process::Assign(Handle handle, HandleType type, std::shared_ptr<void> object) {
  switch (object_handles_.Assign(handle, type, std::move(object))) {
    case HandleTable::Assigned::kYes:
      return Status::Ok();
    case HandleTable::Assigned::kIndexTooBig:
      return Status::Refuse(EINVAL, "the host named {} {:#x}, whose index does not fit a handle table",
                            HandleTypeName(type), handle.value);
    case HandleTable::Assigned::kInUse:
      break;
  }
  return Status::Refuse(EINVAL, "the host named {} {:#x}, which is in use", HandleTypeName(type),
                        handle.value);
}

Status Process::AddDevice(const std::shared_ptr<Device>& device) {
  MutexLock lock(mutex_);
  if (device->owner->open_count == 0) {
    return Status::Refuse(ENOMEM, "the last handle of the adapter was closed while the device was created");
  }
  DXG_TRY(Assign(device->handle, HandleType::kDevice, device));
  device->owner->devices.push_back(device);
  return Status::Ok();
}

Status Process::AddContext(const std::shared_ptr<Device>& device, const std::shared_ptr<Context>& context) {
  MutexLock lock(mutex_);
  if (!device->active)
    return Status::Refuse(ENODEV, "the device was destroyed while the context was created");
  DXG_TRY(Assign(context->handle, HandleType::kContext, context));
  device->contexts.push_back(context);
  return Status::Ok();
}

// Its handle, and those of its queues.
void Process::FreeContextLocked(const Context& context) {
  object_handles_.Free(context.handle);
  for (const auto& queue : context.hw_queues) {
    object_handles_.Free(queue->handle);
    object_handles_.Free(queue->fence);
  }
}

void Process::RemoveDeviceLocked(const std::shared_ptr<Device>& device) {
  if (!device->active.exchange(false)) return;
  object_handles_.Free(device->handle);
  for (const auto& object : device->sync_objects) object_handles_.Free(object->handle);
  for (const auto& context : device->contexts) FreeContextLocked(*context);
  for (const auto& allocation : device->allocations) object_handles_.Free(allocation->handle);
  for (const auto& resource : device->resources) {
    object_handles_.Free(resource->handle);
    for (const auto& allocation : resource->allocations) object_handles_.Free(allocation->handle);
  }
  for (const auto& queue : device->paging_queues) {
    object_handles_.Free(queue->handle);
    object_handles_.Free(queue->fence);
  }
  device->owner->devices.remove(device);
}

Result<std::shared_ptr<Device>> Process::RemoveDevice(uint32_t handle) {
  MutexLock lock(mutex_);
  DXG_ASSIGN(auto device, Find<Device>(object_handles_, {handle}, HandleType::kDevice));
  RemoveDeviceLocked(device);
  return device;
}

void Process::RemoveDevice(const std::shared_ptr<Device>& device) {
  MutexLock lock(mutex_);
  RemoveDeviceLocked(device);
}

std::shared_ptr<Device> Process::FirstDevice(const ProcessAdapter& held) {
  MutexLock lock(mutex_);
  return held.devices.empty() ? nullptr : held.devices.front();
}

Result<std::shared_ptr<Context>> Process::RemoveContext(uint32_t handle) {
  MutexLock lock(mutex_);
  DXG_ASSIGN(auto context, Find<Context>(object_handles_, {handle}, HandleType::kContext));
  FreeContextLocked(*context);
  if (auto device = Find<Device>(object_handles_, context->device, HandleType::kDevice); device.ok()) {
    (*device)->contexts.remove(context);
  }
  return context;
}

// -- Memory ---------------------------------------------------------------------------------------

Status Process::AddAllocations(const std::shared_ptr<Device>& device, const std::shared_ptr<Resource>& made,
                               const std::shared_ptr<Resource>& into,
                               const std::vector<std::shared_ptr<Allocation>>& allocations,
                               bool* made_entered) {
  MutexLock lock(mutex_);
  if (!device->active)
    return Status::Refuse(ENODEV, "the device was destroyed while the allocations were created");
  if (into != nullptr && !Find<Resource>(object_handles_, into->handle, HandleType::kResource).ok()) {
    return Status::Refuse(EINVAL, "the resource was destroyed while the allocations were created");
  }
  if (made != nullptr) DXG_TRY(Assign(made->handle, HandleType::kResource, made));
  if (made_entered != nullptr) *made_entered = true;
  for (size_t i = 0; i < allocations.size(); ++i) {
    Status status = Assign(allocations[i]->handle, HandleType::kAllocation, allocations[i]);
    if (status.ok()) continue;
    while (i-- > 0) object_handles_.Free(allocations[i]->handle);
    if (made != nullptr) object_handles_.Free(made->handle);
    return status;
  }
  const auto& owner = made != nullptr ? made : into;
  auto& list = owner != nullptr ? owner->allocations : device->allocations;
  list.insert(list.end(), allocations.begin(), allocations.end());
  if (made != nullptr) device->resources.push_back(made);
  return Status::Ok();
}

Status Process::CheckRemovable(const Device& device, const std::vector<uint32_t>& handles,
                               std::vector<std::shared_ptr<Allocation>>* found) {
  for (const uint32_t handle : handles) {
    DXG_ASSIGN(auto allocation, Find<Allocation>(object_handles_, {handle}, HandleType::kAllocation));
    if (allocation->device != device.handle) {
      return Status::Refuse(EINVAL, "allocation {:#x} is of device {:#x}, not of {:#x}", handle,
                            allocation->device.value, device.handle.value);
    }
    if (!found->empty() && allocation->resource != found->front()->resource) {
      return Status::Refuse(
          EINVAL, "allocation {:#x} is of another resource than {:#x}; all of a list have one owner", handle,
          handles.front());
    }
    // The driver frees such an allocation twice; the one sane thing to do is to refuse.
    if (std::find(found->begin(), found->end(), allocation) != found->end()) {
      return Status::Refuse(EINVAL, "allocation {:#x} is in the list twice", handle);
    }
    found->push_back(std::move(allocation));
  }
  if (found->empty() || !found->front()->resource) return Status::Ok();
  DXG_ASSIGN(auto resource, Find<Resource>(object_handles_, found->front()->resource, HandleType::kResource));
  if (resource->shared == nullptr) return Status::Ok();
  return Status::Refuse(EINVAL, "resource {:#x} is shared: its allocations end with it, not one by one",
                        resource->handle.value);
}

Result<std::vector<std::shared_ptr<Allocation>>> Process::RemoveAllocations(
    const Device& device, const std::vector<uint32_t>& handles) {
  MutexLock lock(mutex_);
  std::vector<std::shared_ptr<Allocation>> found;
  DXG_TRY(CheckRemovable(device, handles, &found));
  for (const auto& allocation : found) FreeAllocationLocked(allocation);
  return found;
}

// Its handle, and its place with its owner.
void Process::FreeAllocationLocked(const std::shared_ptr<Allocation>& allocation) {
  object_handles_.Free(allocation->handle);
  if (allocation->resource) {
    auto resource = Find<Resource>(object_handles_, allocation->resource, HandleType::kResource);
    if (resource.ok()) (*resource)->allocations.remove(allocation);
    return;
  }
  auto device = Find<Device>(object_handles_, allocation->device, HandleType::kDevice);
  if (device.ok()) (*device)->allocations.remove(allocation);
}

Result<std::shared_ptr<Resource>> Process::RemoveResource(const Device& device, uint32_t handle) {
  MutexLock lock(mutex_);
  DXG_ASSIGN(auto resource, Find<Resource>(object_handles_, {handle}, HandleType::kResource));
  if (resource->device != device.handle) {
    return Status::Refuse(EINVAL, "resource {:#x} is of device {:#x}, not of {:#x}", handle,
                          resource->device.value, device.handle.value);
  }
  object_handles_.Free(resource->handle);
  for (const auto& allocation : resource->allocations) object_handles_.Free(allocation->handle);
  if (auto owner = Find<Device>(object_handles_, resource->device, HandleType::kDevice); owner.ok())
    (*owner)->resources.remove(resource);
  return resource;
}

Status Process::AddPagingQueue(const std::shared_ptr<Device>& device,
                               const std::shared_ptr<PagingQueue>& queue) {
  MutexLock lock(mutex_);
  if (!device->active)
    return Status::Refuse(ENODEV, "the device was destroyed while the paging queue was created");
  DXG_TRY(Assign(queue->handle, HandleType::kPagingQueue, queue));
  // Waits and signals name the fence; there is nothing else that the guest knows of it.
  if (Status status = Assign(queue->fence, HandleType::kMonitoredFence, nullptr); !status.ok()) {
    object_handles_.Free(queue->handle);
    return status;
  }
  device->paging_queues.push_back(queue);
  StoreFenceLocked(queue->window_address);
  return Status::Ok();
}

Result<std::shared_ptr<PagingQueue>> Process::RemovePagingQueue(uint32_t handle) {
  MutexLock lock(mutex_);
  DXG_ASSIGN(auto queue, Find<PagingQueue>(object_handles_, {handle}, HandleType::kPagingQueue));
  object_handles_.Free(queue->handle);
  object_handles_.Free(queue->fence);
  if (auto device = Find<Device>(object_handles_, queue->device, HandleType::kDevice); device.ok())
    (*device)->paging_queues.remove(queue);
  return queue;
}

// -- Fences and queues ----------------------------------------------------------------------------

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
  DXG_TRY(Assign(object->handle, HandleType::kSyncObject, object));
  if (object->monitored) device->sync_objects.push_back(object);
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
  // Waits and signals name the fence; there is nothing else that the guest knows of it.
  DXG_TRY(Assign(queue->fence, HandleType::kMonitoredFence, nullptr));
  if (Status status = Assign(queue->handle, HandleType::kHwQueue, queue); !status.ok()) {
    object_handles_.Free(queue->fence);
    return status;
  }
  context->hw_queues.push_back(queue);
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

uint64_t Process::Lock(Allocation& allocation) {
  MutexLock lock(mutex_);
  if (allocation.cpu_address != 0 && !allocation.existing_memory) ++allocation.locks;
  return allocation.cpu_address;
}

uint64_t Process::Locked(Allocation& allocation, uint64_t cpu_address, uint64_t window_address) {
  MutexLock lock(mutex_);
  if (allocation.cpu_address == 0) allocation.cpu_address = cpu_address;
  if (allocation.window_address == 0) {
    allocation.window_address = window_address;
  } else {
    (void)arena_.Release(window_address);  // it has one since an earlier lock, so this is not the last
  }
  ++allocation.locks;
  return allocation.cpu_address;
}

Status Process::Unlock(Allocation& allocation, bool* last) {
  MutexLock lock(mutex_);
  if (allocation.cpu_address == 0)
    return Status::Refuse(EINVAL, "allocation {:#x} is not locked", allocation.handle.value);
  *last = allocation.existing_memory || --allocation.locks == 0;
  if (*last && !allocation.existing_memory) allocation.cpu_address = 0;
  return Status::Ok();
}

void Process::Release(Allocation& allocation, std::vector<Arena::Mapping>* unmap) {
  std::unique_ptr<ClientPageList> pages;
  MutexLock lock(mutex_);
  pages = std::move(allocation.client_pages);
  if (allocation.window_address == 0) return;
  if (auto mapping = arena_.Release(allocation.window_address)) unmap->push_back(*mapping);
}

void Process::ReleaseFence(uint64_t window_address, std::vector<Arena::Mapping>* unmap) {
  if (window_address == 0) return;
  if (auto mapping = arena_.Release(window_address)) unmap->push_back(*mapping);
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
void Process::StoreFenceLocked(uint64_t window_address) {
  if (all_fences_ && window_address != 0) arena_.Store(window_address, *all_fences_);
}

void Process::VisitBegins() {
  MutexLock lock(mutex_);
  ++visits_;
}

bool Process::VisitEnds() {
  MutexLock lock(mutex_);
  return --visits_ == 0 && closed_;
}

bool Process::End() {
  MutexLock lock(mutex_);
  closed_ = true;
  return visits_ == 0;
}

size_t Process::live_handles() {
  MutexLock lock(mutex_);
  return adapter_handles_.live_count() + object_handles_.live_count();
}

}  // namespace dxg::guest
