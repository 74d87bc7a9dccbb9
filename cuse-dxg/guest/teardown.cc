#include "cuse-dxg/guest/teardown.h"

#include "proto/dxg/host.pb.h"

namespace dxg::guest {
namespace {

constexpr uint32_t kFlushDeviceTerminate = 4;

// One message for each allocation that stands alone, then one for each resource.
Task EndMemory(Host& host, std::shared_ptr<Process> process, const Device& device, uint32_t handle) {
  host::DestroyAllocation::Request request;
  host::DestroyAllocation::Reply reply;
  request.set_device(handle);
  request.set_alloc_count(1);
  request.add_allocations(0);
  for (const auto& allocation : device.allocations) {
    request.set_allocations(0, allocation->handle.value);
    (void)co_await host.Ask(*device.adapter(), process->host_handle, request, &reply);
  }
  request.set_alloc_count(0);
  request.clear_allocations();
  for (const auto& resource : device.resources) {
    request.set_resource(resource->handle.value);
    (void)co_await host.Ask(*device.adapter(), process->host_handle, request, &reply);
  }
  co_return Status::Ok();
}

// Before the host hears of it: the pages are free from here on.
void ReleaseDeviceMemory(Process& process, const Device& device, std::vector<Arena::Mapping>* unmap) {
  for (const auto& allocation : device.allocations) process.Release(*allocation, unmap);
  for (const auto& resource : device.resources) {
    for (const auto& allocation : resource->allocations) process.Release(*allocation, unmap);
  }
  for (const auto& queue : device.paging_queues) process.ReleaseFence(queue->window_address, unmap);
  for (const auto& object : device.sync_objects) process.ReleaseFence(object->window_address, unmap);
  for (const auto& context : device.contexts) ReleaseQueueFences(process, *context, unmap);
}

}  // namespace

std::vector<Arena::Mapping> ReleaseMemory(Process& process,
                                          const std::vector<std::shared_ptr<Allocation>>& allocations) {
  std::vector<Arena::Mapping> unmap;
  for (const auto& allocation : allocations) process.Release(*allocation, &unmap);
  return unmap;
}

void ReleaseQueueFences(Process& process, const Context& context, std::vector<Arena::Mapping>* unmap) {
  for (const auto& queue : context.hw_queues) process.ReleaseFence(queue->window_address, unmap);
}

Task EndDevice(Host& host, std::shared_ptr<Process> process, std::shared_ptr<Device> device, uint32_t handle,
               std::vector<Arena::Mapping>* unmap) {
  ReleaseDeviceMemory(*process, *device, unmap);
  if (!device->adapter()->active) co_return Status::Ok();  // the host's half went with the adapter
  (void)co_await EndMemory(host, process, *device, handle);
  host::DestroyDevice::Request request;
  host::DestroyDevice::Reply reply;
  request.set_device(handle);
  (void)co_await host.Ask(*device->adapter(), process->host_handle, request, &reply);
  co_return Status::Ok();
}

Task EndAdapter(Host& host, std::shared_ptr<Process> process, std::shared_ptr<ProcessAdapter> held,
                std::vector<Arena::Mapping>* unmap) {
  while (const auto device = process->FirstDevice(*held)) {
    if (held->adapter->active) {
      host::FlushDevice::Request request;
      host::FlushDevice::Reply reply;
      request.set_device(device->handle.value);
      request.set_reason(kFlushDeviceTerminate);
      (void)co_await host.Ask(*held->adapter, process->host_handle, request, &reply);
    }
    process->RemoveDevice(device);
    (void)co_await EndDevice(host, process, device, device->handle.value, unmap);
  }
  co_return Status::Ok();
}

Task EndProcess(Host& host, std::shared_ptr<Process> process) {
  std::vector<Arena::Mapping> gone;  // with the client
  const auto adapters = process->CloseAllAdapters();
  for (const auto& held : adapters) (void)co_await EndAdapter(host, process, held, &gone);
  host::DestroyProcess::Request request;
  host::DestroyProcess::Reply reply;
  (void)co_await host.AskGlobal(process->host_handle, request, &reply);
  co_return Status::Ok();
}

Task DropDescriptor(Host& host, std::shared_ptr<SharedObject> object) {
  uint32_t nt_handle = 0;
  {
    MutexLock lock(object->mutex);
    if (--object->descriptors == 0) nt_handle = std::exchange(object->nt_handle, 0);
  }
  if (nt_handle != 0) (void)co_await EndSharedName(host, nt_handle);
  co_return Status::Ok();
}

Task EndSharedName(Host& host, uint32_t nt_handle) {
  host::DestroyNtSharedObject::Request request;
  host::DestroyNtSharedObject::Reply reply;
  request.set_shared_handle(nt_handle);
  (void)co_await host.AskGlobal(0, request, &reply);
  co_return Status::Ok();
}

}  // namespace dxg::guest
