// Contexts and their priorities: CreateContextVirtual, DestroyContext,
// Get/SetContext(InProcess)SchedulingPriority.
#include "cuse-dxg/guest/bring_in.h"
#include "cuse-dxg/guest/handlers.h"
#include "cuse-dxg/guest/nt_status.h"
#include "cuse-dxg/guest/teardown.h"
#include "proto/dxg/host.pb.h"

namespace dxg::guest::handlers {
namespace {

Task TellHostContextEnded(Call& call, std::shared_ptr<Adapter> adapter, uint32_t context, Status* status) {
  host::DestroyContext::Request request;
  host::DestroyContext::Reply reply;
  request.set_context(context);
  Status transport = co_await call.driver.host().Ask(*adapter, call.process->host_handle, request, &reply);
  if (status != nullptr)
    *status = transport.ok() ? FromNtStatus(reply.status(), "DestroyContext") : std::move(transport);
  co_return Status::Ok();
}

// The four priority calls differ in direction and in this one bit.
template <class Traits>
Task GetPriority(CallOf<Traits>& call, bool in_process) {
  DXG_CO_ASSIGN(auto found, FindContextAndDevice(*call.process, call.request.context()));
  DXG_CO_TRY(CheckActive(*found.device->adapter()));
  host::GetContextSchedulingPriority::Request request;
  host::GetContextSchedulingPriority::Reply reply;
  request.set_context(call.request.context());
  request.set_in_process(in_process);
  DXG_CO_TRY(
      co_await call.driver.host().Ask(*found.device->adapter(), call.process->host_handle, request, &reply));
  DXG_CO_TRY(FromNtStatus(reply.status(), "GetContextSchedulingPriority"));
  call.reply.set_priority(reply.priority());
  co_return call.OutLate(Traits::Out::priority);
}

template <class Traits>
Task SetPriority(CallOf<Traits>& call, bool in_process) {
  DXG_CO_ASSIGN(auto found, FindContextAndDevice(*call.process, call.request.context()));
  DXG_CO_TRY(CheckActive(*found.device->adapter()));
  host::SetContextSchedulingPriority::Request request;
  host::SetContextSchedulingPriority::Reply reply;
  request.set_context(call.request.context());
  request.set_priority(call.request.priority());
  request.set_in_process(in_process);
  DXG_CO_TRY(
      co_await call.driver.host().Ask(*found.device->adapter(), call.process->host_handle, request, &reply));
  co_return FromNtStatus(reply.status(), "SetContextSchedulingPriority");
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
  request.set_device(call.request.device());
  request.set_node_ordinal(call.request.node_ordinal());
  request.set_engine_affinity(call.request.engine_affinity());
  request.set_flags(call.request.flags());
  request.set_client_hint(call.request.client_hint());
  request.set_priv_drv_data_size(size);
  request.set_priv_drv_data(call.request.priv_drv_data());
  Status transport =
      co_await call.driver.host().Ask(*device->adapter(), call.process->host_handle, request, &reply);
  if (!transport.ok()) co_return Status::Refuse(EINVAL, "{}", transport.why());

  auto context = std::make_shared<Context>(Context{{reply.context()}, device->handle});
  call.reply.mutable_priv_drv_data()->swap(*reply.mutable_priv_drv_data());
  call.reply.mutable_priv_drv_data()->resize(size);
  Status status = call.CopyOut(Traits::Out::priv_drv_data());
  if (!status.ok()) status = Status::Refuse(EINVAL, "{}", status.why());
  if (!context->handle) co_return Status::Refuse(EINVAL, "the host refused to create the context");

  call.reply.set_context(context->handle.value);
  if (status.ok()) status = call.OutNow(Traits::Out::context);
  if (status.ok()) status = call.process->AddContext(device, context);
  if (!status.ok())
    (void)co_await TellHostContextEnded(call, device->adapter(), context->handle.value, nullptr);
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
    (void)co_await TellHostContextEnded(call, (*device)->adapter(), call.request.context(), &status);
  (void)co_await TakeOut(call, std::move(unmap));
  co_return device.ok() ? status : device.status();
}

Task GetContextSchedulingPriority(CallOf<calls::GetContextSchedulingPriority>& call) {
  return GetPriority(call, /*in_process=*/false);
}

Task GetContextInProcessSchedulingPriority(CallOf<calls::GetContextInProcessSchedulingPriority>& call) {
  return GetPriority(call, /*in_process=*/true);
}

Task SetContextSchedulingPriority(CallOf<calls::SetContextSchedulingPriority>& call) {
  return SetPriority(call, /*in_process=*/false);
}

Task SetContextInProcessSchedulingPriority(CallOf<calls::SetContextInProcessSchedulingPriority>& call) {
  return SetPriority(call, /*in_process=*/true);
}

}  // namespace dxg::guest::handlers
