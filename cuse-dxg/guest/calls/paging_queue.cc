// Paging queues: CreatePagingQueue, DestroyPagingQueue.
#include "base/page.h"
#include "cuse-dxg/guest/bring_in.h"
#include "cuse-dxg/guest/handlers.h"
#include "proto/contract/forward.gen.h"
#include "proto/dxg/host.pb.h"

namespace dxg::guest::handlers {
namespace {

Task TellHostPagingQueueEnded(Call& call, std::shared_ptr<Adapter> adapter, uint32_t queue) {
  host::DestroyPagingQueue::Request request;
  host::DestroyPagingQueue::Reply reply;
  request.set_paging_queue(queue);
  co_return co_await call.driver.host().Ask(*adapter, call.process->host_handle, request, &reply);
}

}  // namespace

Task CreatePagingQueue(CallOf<calls::CreatePagingQueue>& call) {
  DXG_CO_ASSIGN(auto device, call.process->FindDevice(call.request.device()));
  DXG_CO_TRY(CheckActive(*device));
  DXG_CO_TRY(CheckActive(*device->adapter()));
  host::CreatePagingQueue::Request request;
  host::CreatePagingQueue::Reply reply;
  calls::ToHost(call.request, &request);
  DXG_CO_TRY(co_await call.driver.host().Ask(*device->adapter(), call.process->host_handle, request, &reply));

  // A refusal shows as zeros, and fails here: there is no page of the host at 0.
  const WindowAddress page(reply.fence_storage_physical_address());
  DXG_CO_ASSIGN(const ClientAddress fence_address, co_await BringIn(call, page, kPageBytes));

  auto queue = std::make_shared<PagingQueue>(
      PagingQueue{{reply.paging_queue()}, {reply.sync_object()}, device->handle, page});
  call.reply.set_paging_queue(reply.paging_queue());
  call.reply.set_sync_object(reply.sync_object());
  call.SetAddress(calls::CreatePagingQueue::Address::fence_cpu_virtual_address, fence_address.value);
  Status status = call.OutNowAll();
  if (status.ok()) status = call.process->AddPagingQueue(device, queue);
  if (status.ok()) co_return status;
  std::vector<Arena::Mapping> unmap;
  if (auto mapping = call.process->arena().Release(page)) unmap.push_back(*mapping);
  (void)co_await TellHostPagingQueueEnded(call, device->adapter(), queue->handle.value);
  (void)co_await TakeOut(call, std::move(unmap));
  co_return status;
}

Task DestroyPagingQueue(CallOf<calls::DestroyPagingQueue>& call) {
  // Both handles are gone from here on, whatever follows.
  DXG_CO_ASSIGN(auto queue, call.process->RemovePagingQueue(call.request.paging_queue()));
  DXG_CO_ASSIGN(auto device, call.process->FindDevice(queue->device.value));
  DXG_CO_TRY(CheckActive(*device));
  DXG_CO_TRY(CheckActive(*device->adapter()));
  Status status = co_await TellHostPagingQueueEnded(call, device->adapter(), call.request.paging_queue());
  std::vector<Arena::Mapping> unmap;
  if (auto mapping = call.process->arena().Release(queue->window_address)) unmap.push_back(*mapping);
  (void)co_await TakeOut(call, std::move(unmap));
  co_return status;
}

}  // namespace dxg::guest::handlers
