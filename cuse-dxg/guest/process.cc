#include "cuse-dxg/guest/process.h"

#include <algorithm>

namespace dxg::guest {

template <typename T>
Result<std::shared_ptr<T>> Process::Find(HandleTable& table, Handle handle, HandleType type) {
  const auto* entry = table.Find(handle);
  if (entry == nullptr) {
    return Status::Refuse(EINVAL, "{:#x} is no live handle of this process; expected {}", handle.value, HandleTypeName(type));
  }
  if (entry->type != type) {
    return Status::Refuse(EINVAL, "{:#x} is {}; expected {}", handle.value, HandleTypeName(entry->type), HandleTypeName(type));
  }
  return std::static_pointer_cast<T>(entry->object);
}

Result<std::shared_ptr<ProcessAdapter>> Process::FindAdapter(uint32_t handle) {
  std::lock_guard lock(mutex_);
  return Find<ProcessAdapter>(adapter_handles_, {handle}, HandleType::kAdapter);
}

Result<std::shared_ptr<Device>> Process::FindDevice(uint32_t handle) {
  std::lock_guard lock(mutex_);
  return Find<Device>(object_handles_, {handle}, HandleType::kDevice);
}

Result<std::shared_ptr<Context>> Process::FindContext(uint32_t handle) {
  std::lock_guard lock(mutex_);
  return Find<Context>(object_handles_, {handle}, HandleType::kContext);
}

Handle Process::OpenAdapter(const std::shared_ptr<Adapter>& adapter) {
  std::lock_guard lock(mutex_);
  auto held = std::find_if(adapters_.begin(), adapters_.end(), [&](const auto& each) { return each->adapter == adapter; });
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
  std::lock_guard lock(mutex_);
  DXG_ASSIGN(auto held, Find<ProcessAdapter>(adapter_handles_, handle, HandleType::kAdapter));
  adapter_handles_.Free(handle);
  if (--held->open_count == 0) {
    adapters_.remove(held);
    *last = held;
  }
  return Status::Ok();
}

std::list<std::shared_ptr<ProcessAdapter>> Process::CloseAllAdapters() {
  std::lock_guard lock(mutex_);
  for (const auto& [handle, entry] : adapter_handles_.Live()) adapter_handles_.Free(handle);
  for (const auto& held : adapters_) held->open_count = 0;
  return std::exchange(adapters_, {});
}

bool Process::HasOpen(const Adapter& adapter) {
  std::lock_guard lock(mutex_);
  return std::any_of(adapters_.begin(), adapters_.end(), [&](const auto& held) { return held->adapter.get() == &adapter; });
}

Status Process::Assign(Handle handle, HandleType type, std::shared_ptr<void> object) {
  switch (object_handles_.Assign(handle, type, std::move(object))) {
    case HandleTable::Assigned::kYes:
      return Status::Ok();
    case HandleTable::Assigned::kIndexTooBig:
      return Status::Refuse(EINVAL, "the host named {} {:#x}, whose index does not fit a handle table", HandleTypeName(type), handle.value);
    case HandleTable::Assigned::kInUse:
      break;
  }
  return Status::Refuse(EINVAL, "the host named {} {:#x}, which is in use", HandleTypeName(type), handle.value);
}

Status Process::AddDevice(const std::shared_ptr<Device>& device) {
  std::lock_guard lock(mutex_);
  if (device->owner->open_count == 0) {
    return Status::Refuse(ENOMEM, "the last handle of the adapter was closed while the device was created");
  }
  DXG_TRY(Assign(device->handle, HandleType::kDevice, device));
  device->owner->devices.push_back(device);
  return Status::Ok();
}

Status Process::AddContext(const std::shared_ptr<Device>& device, const std::shared_ptr<Context>& context) {
  std::lock_guard lock(mutex_);
  if (!device->active) return Status::Refuse(ENODEV, "the device was destroyed while the context was created");
  DXG_TRY(Assign(context->handle, HandleType::kContext, context));
  device->contexts.push_back(context);
  return Status::Ok();
}

void Process::RemoveDeviceLocked(const std::shared_ptr<Device>& device) {
  if (!device->active.exchange(false)) return;
  object_handles_.Free(device->handle);
  for (const auto& context : device->contexts) object_handles_.Free(context->handle);
  device->contexts.clear();
  device->owner->devices.remove(device);
}

Result<std::shared_ptr<Device>> Process::RemoveDevice(uint32_t handle) {
  std::lock_guard lock(mutex_);
  DXG_ASSIGN(auto device, Find<Device>(object_handles_, {handle}, HandleType::kDevice));
  RemoveDeviceLocked(device);
  return device;
}

void Process::RemoveDevice(const std::shared_ptr<Device>& device) {
  std::lock_guard lock(mutex_);
  RemoveDeviceLocked(device);
}

std::shared_ptr<Device> Process::FirstDevice(const ProcessAdapter& held) {
  std::lock_guard lock(mutex_);
  return held.devices.empty() ? nullptr : held.devices.front();
}

Result<std::shared_ptr<Context>> Process::RemoveContext(uint32_t handle) {
  std::lock_guard lock(mutex_);
  DXG_ASSIGN(auto context, Find<Context>(object_handles_, {handle}, HandleType::kContext));
  object_handles_.Free(context->handle);
  if (auto device = Find<Device>(object_handles_, context->device, HandleType::kDevice); device.ok()) {
    (*device)->contexts.remove(context);
  }
  return context;
}

size_t Process::live_handles() {
  std::lock_guard lock(mutex_);
  return adapter_handles_.live_count() + object_handles_.live_count();
}

}  // namespace dxg::guest
