// Hardware queues and their progress fences: CreateHwQueue, DestroyHwQueue.
#include "base/page.h"
#include "cuse-dxg/guest/bring_in.h"
#include "cuse-dxg/guest/handlers.h"
#include "cuse-dxg/guest/nt_status.h"
#include "proto/contract/forward.gen.h"
#include "proto/dxg/host.pb.h"

namespace dxg::guest::handlers {
namespace {

using CreateQueue = calls::CreateHwQueue;

Task TellHostHwQueueEnded(Call& call, std::shared_ptr<Adapter> adapter, uint32_t queue) {
  host::DestroyHwQueue::Request request;
  host::DestroyHwQueue::Reply reply;
  request.set_hwqueue(queue);
  DXG_CO_TRY(co_await call.driver.host().Ask(*adapter, call.process->host_handle, request, &reply));
  co_return FromNtStatus(reply.status(), "DestroyHwQueue");
}

// Member by member, as the driver does; what is written stays where a later step fails.
Status WriteOut(CallOf<CreateQueue>& call) {
  DXG_TRY(call.OutNow(CreateQueue::Out::queue));
  DXG_TRY(call.OutNow(CreateQueue::Out::queue_progress_fence));
  DXG_TRY(call.OutNow(CreateQueue::Address::queue_progress_fence_cpu_va));
  DXG_TRY(call.OutNow(CreateQueue::Out::queue_progress_fence_gpu_va));
  (void)call.CopyOut(CreateQueue::Out::priv_drv_data());  // whether that works is not looked at
  return Status::Ok();
}

Task AskForIt(CallOf<CreateQueue>& call, std::shared_ptr<Device> device, std::shared_ptr<Context> context,
              std::shared_ptr<HwQueue> queue) {
  host::CreateHwQueue::Request request;
  host::CreateHwQueue::Reply reply;
  calls::ToHost(call.request, &request);
  DXG_CO_TRY(co_await call.driver.host().Ask(*device->adapter(), call.process->host_handle, request, &reply));
  queue->handle = {reply.hwqueue()};
  queue->fence = {reply.progress_fence()};
  DXG_CO_TRY(FromNtStatus(reply.status(), "CreateHwQueue"));
  const WindowAddress page(reply.progress_fence_cpu_va());
  DXG_CO_ASSIGN(const ClientAddress address, co_await BringIn(call, page, kPageBytes));
  queue->window_address = page;
  call.reply.set_queue(reply.hwqueue());
  call.reply.set_queue_progress_fence(reply.progress_fence());
  call.SetAddress(CreateQueue::Address::queue_progress_fence_cpu_va, address.value);
  call.reply.set_queue_progress_fence_gpu_va(reply.progress_fence_gpu_va());
  call.reply.mutable_priv_drv_data()->swap(*reply.mutable_priv_drv_data());
  call.reply.mutable_priv_drv_data()->resize(call.request.priv_drv_data_size());
  DXG_CO_TRY(WriteOut(call));
  co_return call.process->AddHwQueue(device, context, queue);
}

}  // namespace

Task CreateHwQueue(CallOf<CreateQueue>& call) {
  DXG_CO_ASSIGN(auto found, FindContextAndDevice(*call.process, call.request.context()));
  DXG_CO_TRY(CheckActive(*found.device));
  DXG_CO_TRY(CheckActive(*found.device->adapter()));
  const uint32_t size = call.request.priv_drv_data_size();
  if (size > kMessageBytesMax) {
    co_return Status::Refuse(EINVAL, "priv_drv_data_size is {}; at most {} bytes are allowed", size,
                             kMessageBytesMax);
  }
  DXG_CO_TRY(call.CopyIn(CreateQueue::In::priv_drv_data()));
  auto queue = std::make_shared<HwQueue>();
  queue->context = found.context->handle;
  queue->device = found.device->handle;
  Status status = co_await AskForIt(call, found.device, found.context, queue);
  if (status.ok()) co_return Status::Ok();
  std::vector<Arena::Mapping> unmap;
  call.process->ReleaseFence(queue->window_address, &unmap);
  if (queue->handle) (void)co_await TellHostHwQueueEnded(call, found.device->adapter(), queue->handle.value);
  (void)co_await TakeOut(call, std::move(unmap));
  co_return status;
}

Task DestroyHwQueue(CallOf<calls::DestroyHwQueue>& call) {
  // Both handles are gone from here on, whatever follows.
  DXG_CO_ASSIGN(auto queue, call.process->RemoveHwQueue(call.request.queue()));
  std::vector<Arena::Mapping> unmap;
  call.process->ReleaseFence(queue->window_address, &unmap);
  auto device = call.process->FindDevice(queue->device.value);
  Status status = device.ok() ? CheckActive(*(*device)->adapter()) : device.status();
  if (status.ok()) status = co_await TellHostHwQueueEnded(call, (*device)->adapter(), call.request.queue());
  (void)co_await TakeOut(call, std::move(unmap));
  co_return status;
}

}  // namespace dxg::guest::handlers
