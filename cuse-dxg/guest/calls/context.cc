// Contexts: CreateContextVirtual, DestroyContext.
#include "cuse-dxg/guest/bring_in.h"
#include "cuse-dxg/guest/handlers.h"
#include "cuse-dxg/guest/nt_status.h"
#include "cuse-dxg/guest/teardown.h"
#include "proto/contract/forward.gen.h"
#include "proto/dxg/host.pb.h"

namespace dxg::guest::handlers {
namespace {

Task TellHostContextEnded(Call& call, std::shared_ptr<Adapter> adapter, uint32_t context) {
  host::DestroyContext::Request request;
  host::DestroyContext::Reply reply;
  request.set_context(context);
  DXG_CO_TRY(co_await call.driver.host().Ask(*adapter, call.process->host_handle, request, &reply));
  co_return FromNtStatus(reply.status(), "DestroyContext");
}

}  // namespace

Task CreateContextVirtual(CallOf<calls::CreateContextVirtual>& call) {
  using Traits = calls::CreateContextVirtual;
  DXG_CO_ASSIGN(auto device, call.process->FindDevice(call.request.device()));
  DXG_CO_TRY(CheckActive(*device));
  DXG_CO_TRY(CheckActive(*device->adapter()));

  // From here to the context's handle every failure is EINVAL: the driver only sees that it got no context.
  const uint32_t size = call.request.priv_drv_data_size();
  if (size > kMessageBytesMax) {
    co_return Status::Refuse(EINVAL, "priv_drv_data_size is {}; at most {} bytes are allowed", size,
                             kMessageBytesMax);
  }
  if (Status status = call.CopyIn(Traits::In::priv_drv_data()); !status.ok())
    co_return Status::Refuse(EINVAL, "{}", status.why());

  host::CreateContextVirtual::Request request;
  host::CreateContextVirtual::Reply reply;
  calls::ToHost(call.request, &request);
  Status transport =
      co_await call.driver.host().Ask(*device->adapter(), call.process->host_handle, request, &reply);
  if (!transport.ok()) co_return Status::Refuse(EINVAL, "{}", transport.why());

  auto context = std::make_shared<Context>();
  context->handle = {reply.context()};
  context->device = device->handle;
  call.reply.mutable_priv_drv_data()->swap(*reply.mutable_priv_drv_data());
  call.reply.mutable_priv_drv_data()->resize(size);
  Status status = call.CopyOut(Traits::Out::priv_drv_data());
  if (!status.ok()) status = Status::Refuse(EINVAL, "{}", status.why());
  if (!context->handle) co_return Status::Refuse(EINVAL, "the host refused to create the context");

  call.reply.set_context(context->handle.value);
  if (status.ok()) status = call.OutNow(Traits::Out::context);
  if (status.ok()) status = call.process->AddContext(device, context);
  if (!status.ok()) (void)co_await TellHostContextEnded(call, device->adapter(), context->handle.value);
  co_return status;
}

Task DestroyContext(CallOf<calls::DestroyContext>& call) {
  // The handle is gone from here on, whatever follows.
  DXG_CO_ASSIGN(auto context, call.process->RemoveContext(call.request.context()));
  std::vector<Arena::Mapping> unmap;
  ReleaseQueueFences(*call.process, *context, &unmap);
  Status status;
  auto device = call.process->FindDevice(context->device.value);
  if (device.ok()) status = CheckActive(*(*device)->adapter());
  if (device.ok() && status.ok())
    status = co_await TellHostContextEnded(call, (*device)->adapter(), call.request.context());
  (void)co_await TakeOut(call, std::move(unmap));
  co_return device.ok() ? status : device.status();
}

}  // namespace dxg::guest::handlers
