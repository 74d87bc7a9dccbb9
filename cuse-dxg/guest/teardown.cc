#include "cuse-dxg/guest/teardown.h"

#include "proto/dxg/host.pb.h"

namespace dxg::guest {
namespace {

constexpr uint32_t kFlushDeviceTerminate = 4;

}  // namespace

Task EndDevice(Host& host, std::shared_ptr<Process> process, std::shared_ptr<Device> device, uint32_t handle) {
  if (!device->adapter()->active) co_return Status::Ok();  // the host's half went with the adapter
  host::DestroyDevice::Request request;
  host::DestroyDevice::Reply reply;
  request.set_device(handle);
  (void)co_await host.Ask(*device->adapter(), process->host_handle, request, &reply);
  co_return Status::Ok();
}

Task EndAdapter(Host& host, std::shared_ptr<Process> process, std::shared_ptr<ProcessAdapter> held) {
  while (const auto device = process->FirstDevice(*held)) {
    if (held->adapter->active) {
      host::FlushDevice::Request request;
      host::FlushDevice::Reply reply;
      request.set_device(device->handle.value);
      request.set_reason(kFlushDeviceTerminate);
      (void)co_await host.Ask(*held->adapter, process->host_handle, request, &reply);
    }
    process->RemoveDevice(device);
    (void)co_await EndDevice(host, process, device, device->handle.value);
  }
  co_return Status::Ok();
}

Task EndProcess(Host& host, std::shared_ptr<Process> process) {
  const auto adapters = process->CloseAllAdapters();
  for (const auto& held : adapters) (void)co_await EndAdapter(host, process, held);
  host::DestroyProcess::Request request;
  host::DestroyProcess::Reply reply;
  (void)co_await host.AskGlobal(process->host_handle, request, &reply);
  co_return Status::Ok();
}

}  // namespace dxg::guest
