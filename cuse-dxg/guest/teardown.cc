#include "cuse-dxg/guest/teardown.h"

#include "cuse-dxg/guest/driver.h"
#include "proto/abi/interface.h"
#include "proto/dxg/host.pb.h"

namespace dxg::guest {
namespace {

// One message for each allocation that stands alone, then one for each resource.
Task EndMemory(Host& host, TeardownThread::Turn& turn, std::shared_ptr<Process> process, const Device& device,
               uint32_t handle) {
  host::DestroyAllocation::Request request;
  host::DestroyAllocation::Reply reply;
  request.set_device(handle);
  request.set_alloc_count(1);
  request.add_allocations(0);
  for (const auto& allocation : device.allocations) {
    co_await turn.Take();
    request.set_allocations(0, allocation->handle.value);
    (void)co_await host.Ask(*device.adapter(), process->host_handle, request, &reply);
  }
  request.set_alloc_count(0);
  request.clear_allocations();
  for (const auto& resource : device.resources) {
    co_await turn.Take();
    request.set_resource(resource->handle.value);
    (void)co_await host.Ask(*device.adapter(), process->host_handle, request, &reply);
  }
  co_return Status::Ok();
}

// Before the host hears of it: the pages are free from here on.
Task ReleaseDeviceMemory(TeardownThread::Turn& turn, Process& process, const Device& device,
                         std::vector<Arena::Mapping>* unmap) {
  for (const auto& allocation : device.allocations) {
    co_await turn.Take();
    process.Release(*allocation, unmap);
  }
  for (const auto& resource : device.resources) {
    for (const auto& allocation : resource->allocations) {
      co_await turn.Take();
      process.Release(*allocation, unmap);
    }
  }
  for (const auto& queue : device.paging_queues) process.ReleaseFence(queue->window_address, unmap);
  for (const auto& object : device.sync_objects) {
    co_await turn.Take();
    process.ReleaseFence(object->window_address, unmap);
  }
  for (const auto& context : device.contexts) {
    co_await turn.Take();
    ReleaseQueueFences(process, *context, unmap);
  }
  co_return Status::Ok();
}

// What is taken out of the process in one go, and ends in one go with the device.
size_t CountChildren(const Device& device) {
  return device.allocations.size() + device.resources.size() + device.sync_objects.size() +
         device.contexts.size();
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

Task EndDevice(Driver& driver, TeardownThread::Turn& turn, std::shared_ptr<Process> process,
               std::shared_ptr<Device> device, uint32_t handle, std::vector<Arena::Mapping>* unmap) {
  Host& host = driver.host();
  co_await turn.Take(CountChildren(*device));
  (void)co_await ReleaseDeviceMemory(turn, *process, *device, unmap);
  if (!device->adapter()->active) co_return Status::Ok();  // the host's half went with the adapter
  (void)co_await EndMemory(host, turn, process, *device, handle);
  host::DestroyDevice::Request request;
  host::DestroyDevice::Reply reply;
  request.set_device(handle);
  (void)co_await host.Ask(*device->adapter(), process->host_handle, request, &reply);
  co_return Status::Ok();
}

Task EndAdapter(Driver& driver, TeardownThread::Turn& turn, std::shared_ptr<Process> process,
                std::shared_ptr<ProcessAdapter> held, std::vector<Arena::Mapping>* unmap) {
  Host& host = driver.host();
  co_await turn.Take(process->live_handles());
  while (const auto device = process->FirstDevice(*held)) {
    if (held->adapter->active) {
      host::FlushDevice::Request request;
      host::FlushDevice::Reply reply;
      request.set_device(device->handle.value);
      request.set_reason(kFlushDeviceTerminate);
      (void)co_await host.Ask(*held->adapter, process->host_handle, request, &reply);
    }
    process->RemoveDevice(device);
    (void)co_await EndDevice(driver, turn, process, device, device->handle.value, unmap);
  }
  co_return Status::Ok();
}

TeardownInCall::TeardownInCall(Driver& driver, std::shared_ptr<Process> process)
    : turn(driver.teardown(), process->identity.user), driver_(driver), process_(std::move(process)) {
  process_->CallOutlivesItsFile();
}

TeardownInCall::~TeardownInCall() {
  if (process_->CallEnds()) driver_.EndProcess(process_);
}

Task EndProcess(Driver& driver, std::shared_ptr<Process> process) {
  Host& host = driver.host();
  TeardownThread::Turn turn(driver.teardown(), process->identity.user);
  co_await turn.Take(process->live_handles());
  std::vector<Arena::Mapping> gone;  // with the client
  const auto adapters = process->CloseAllAdapters();
  for (const auto& held : adapters) (void)co_await EndAdapter(driver, turn, process, held, &gone);
  host::DestroyProcess::Request request;
  host::DestroyProcess::Reply reply;
  // The host may give that number to another one. What a call of the process asks from here on is refused
  // there.
  const uint32_t handle = process->host_handle.exchange(0);
  host.beside().Leave(handle);
  (void)co_await host.AskGlobal(handle, request, &reply);
  while (driver.events().RemoveSome(*process)) co_await turn.Take();
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
