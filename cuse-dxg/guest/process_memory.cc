// What a process has of memory: allocations, resources, paging queues, and where it sees them.
#include <unordered_set>

#include "cuse-dxg/guest/process.h"

namespace dxg::guest {

void Process::LeaveAtHost(Device& device, Charge data) {
  MutexLock lock(mutex_);
  device.left_at_host.push_back(std::move(data));
}

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
  ObjectList<Allocation>::Objects places;
  for (const auto& allocation : allocations)
    places.splice(places.end(), ObjectList<Allocation>::Prepare(allocation));
  auto place_of_made =
      made != nullptr ? ObjectList<Resource>::Prepare(made) : ObjectList<Resource>::Objects();
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
  list.Append(std::move(places));
  device->resources.Append(std::move(place_of_made));
  return Status::Ok();
}

Status Process::CheckRemovable(const Device& device, const std::vector<uint32_t>& handles,
                               std::vector<std::shared_ptr<Allocation>>* found) {
  std::unordered_set<const Allocation*> seen;
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
    if (!seen.insert(allocation.get()).second)
      return Status::Refuse(EINVAL, "allocation {:#x} is in the list twice", handle);
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
  auto place = ObjectList<PagingQueue>::Prepare(queue);
  DXG_TRY(Assign(queue->handle, HandleType::kPagingQueue, queue));
  // Waits and signals name the fence; there is nothing else that the guest knows of it.
  if (Status status = Assign(queue->fence, HandleType::kMonitoredFence, nullptr); !status.ok()) {
    object_handles_.Free(queue->handle);
    return status;
  }
  device->paging_queues.Append(std::move(place));
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

// -- CPU access -----------------------------------------------------------------------------------

uint64_t Process::Lock(Allocation& allocation) {
  MutexLock lock(mutex_);
  if (allocation.cpu_address != 0 && !allocation.existing_memory) ++allocation.locks;
  return allocation.cpu_address;
}

uint64_t Process::Locked(Allocation& allocation, ClientAddress cpu_address, WindowAddress window_address) {
  MutexLock lock(mutex_);
  if (allocation.cpu_address == 0) allocation.cpu_address = cpu_address.value;
  if (!allocation.window_address) {
    allocation.window_address = window_address;
  } else {
    arena_.ReleaseSecond(window_address);  // it has one since an earlier lock
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
  if (!allocation.window_address) return;
  if (auto mapping = arena_.Release(allocation.window_address)) unmap->push_back(*mapping);
}

void Process::ReleaseFence(WindowAddress window_address, std::vector<Arena::Mapping>* unmap) {
  if (!window_address) return;
  if (auto mapping = arena_.Release(window_address)) unmap->push_back(*mapping);
}

}  // namespace dxg::guest
