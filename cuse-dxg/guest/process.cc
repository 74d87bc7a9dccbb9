#include "cuse-dxg/guest/process.h"

#include <algorithm>
#include <new>
#include <utility>

#include "cuse-dxg/guest/task.h"

namespace dxg::guest {

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
    adapters_.push_back(std::make_shared<ProcessAdapter>());
    adapters_.back()->adapter = adapter;
    held = std::prev(adapters_.end());
  }
  Handle handle{};
  try {
    handle = adapter_handles_.Allocate(HandleType::kAdapter, *held);
  } catch (const std::bad_alloc&) {
    if ((*held)->open_count == 0) adapters_.erase(held);
    throw;
  }
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
  auto assigned = HandleTable::Assigned::kTooMany;
  try {
    assigned = object_handles_.Assign(handle, type, std::move(object));
  } catch (const std::bad_alloc&) {
    return OutOfMemory();
  }
  switch (assigned) {
    case HandleTable::Assigned::kYes:
      return Status::Ok();
    case HandleTable::Assigned::kIndexTooBig:
      return Status::Refuse(EINVAL, "the host named {} {:#x}, whose index does not fit a handle table",
                            HandleTypeName(type), handle.value);
    case HandleTable::Assigned::kTooMany:
      return Status::Refuse(ENOMEM, "this process has {} objects, and its user's limit or its own is reached",
                            account->used(Charged::kObjects));
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
  auto place = ObjectList<Device>::Prepare(device);
  DXG_TRY(Assign(device->handle, HandleType::kDevice, device));
  device->owner->devices.Append(std::move(place));
  return Status::Ok();
}

Status Process::AddContext(const std::shared_ptr<Device>& device, const std::shared_ptr<Context>& context) {
  MutexLock lock(mutex_);
  if (!device->active)
    return Status::Refuse(ENODEV, "the device was destroyed while the context was created");
  auto place = ObjectList<Context>::Prepare(context);
  DXG_TRY(Assign(context->handle, HandleType::kContext, context));
  device->contexts.Append(std::move(place));
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

// -- Life ------------------------------------------------------------------------------------------

void Process::CallOutlivesItsFile() {
  MutexLock lock(mutex_);
  ++calls_;
}

bool Process::CallEnds() {
  MutexLock lock(mutex_);
  --calls_;
  return BeginsToEnd();
}

bool Process::End() {
  MutexLock lock(mutex_);
  closed_ = true;
  return BeginsToEnd();
}

// Once.
bool Process::BeginsToEnd() { return closed_ && calls_ == 0 && !std::exchange(ending_, true); }

size_t Process::live_handles() {
  MutexLock lock(mutex_);
  return adapter_handles_.live_count() + object_handles_.live_count();
}

// -- Checks that many handlers share --------------------------------------------------------------

Status CheckActive(const Adapter& adapter) {
  return adapter.active ? Status::Ok() : Status::Refuse(ENODEV, "the adapter was removed");
}

Status CheckActive(const Device& device) {
  return device.active ? Status::Ok()
                       : Status::Refuse(ENODEV, "device {:#x} is being destroyed", device.handle.value);
}

Result<PagingQueueAndDevice> FindPagingQueueAndDevice(Process& process, uint32_t handle) {
  DXG_ASSIGN(auto queue, process.FindPagingQueue(handle));
  DXG_ASSIGN(auto device, process.FindDevice(queue->device.value));
  return PagingQueueAndDevice{std::move(queue), std::move(device)};
}

Result<HwQueueAndDevice> FindHwQueueAndDevice(Process& process, uint32_t handle) {
  DXG_ASSIGN(auto queue, process.FindHwQueue(handle));
  DXG_ASSIGN(auto device, process.FindDevice(queue->device.value));
  return HwQueueAndDevice{std::move(queue), std::move(device)};
}

Result<ContextAndDevice> FindContextAndDevice(Process& process, uint32_t handle) {
  DXG_ASSIGN(auto context, process.FindContext(handle));
  DXG_ASSIGN(auto device, process.FindDevice(context->device.value));
  return ContextAndDevice{std::move(context), std::move(device)};
}

}  // namespace dxg::guest
