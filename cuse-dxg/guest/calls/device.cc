// Devices: CreateDevice, DestroyDevice, GetDeviceState, MarkDeviceAsError.
#include "cuse-dxg/guest/bring_in.h"
#include "cuse-dxg/guest/handlers.h"
#include "cuse-dxg/guest/nt_status.h"
#include "cuse-dxg/guest/teardown.h"
#include "proto/contract/forward.gen.h"
#include "proto/dxg/host.pb.h"

namespace dxg::guest::handlers {
namespace {

constexpr uint32_t kStateReset = 2;  // D3DKMT_DEVICEEXECUTION_RESET

}  // namespace

Task CreateDevice(CallOf<calls::CreateDevice>& call) {
  DXG_CO_ASSIGN(auto held, call.process->FindAdapter(call.request.adapter()));
  DXG_CO_TRY(CheckActive(*held->adapter));

  host::CreateDevice::Request request;
  host::CreateDevice::Reply reply;
  calls::ToHost(call.request, &request);
  request.set_state_cookie(kStateCookie);
  Status transport =
      co_await call.driver.host().Ask(*held->adapter, call.process->host_handle, request, &reply);
  // A refusal by the host is not reported: the call succeeds and the field keeps what the caller put there.
  if (!transport.ok() || reply.device() == 0) co_return Status::Ok();

  auto device = std::make_shared<Device>();
  device->handle = {reply.device()};
  device->owner = held;
  call.reply.set_device(reply.device());
  Status status = call.OutNow(calls::CreateDevice::Out::device);
  if (status.ok()) status = call.process->AddDevice(device);
  if (!status.ok()) {
    std::vector<Arena::Mapping> nothing;
    TeardownInCall teardown(call.driver, call.process);
    (void)co_await EndDevice(call.driver, teardown.turn, call.process, device, device->handle.value,
                             &nothing);
    co_return status;
  }
  (void)co_await BringHome(call);
  co_return Status::Ok();
}

Task DestroyDevice(CallOf<calls::DestroyDevice>& call) {
  DXG_CO_ASSIGN(auto device, call.process->RemoveDevice(call.request.device()));
  std::vector<Arena::Mapping> unmap;
  TeardownInCall teardown(call.driver, call.process);
  (void)co_await EndDevice(call.driver, teardown.turn, call.process, device, call.request.device(), &unmap);
  co_return co_await TakeOut(call, std::move(unmap));
}

Task GetDeviceState(CallOf<calls::GetDeviceState>& call) {
  DXG_CO_ASSIGN(auto device, call.process->FindDevice(call.request.device()));
  DXG_CO_TRY(CheckActive(*device->adapter()));

  const bool execution = call.request.state_type() == _D3DKMT_DEVICESTATE_EXECUTION;
  const uint64_t changes = call.driver.state_changes();
  call.reply.set_device(call.request.device());
  call.reply.set_state_type(call.request.state_type());
  if (execution && device->state_seen == changes) {
    // No state changed since the host last told this one.
    call.reply.set_state(call.request.state());
    contract::Store<0, 4>(reinterpret_cast<std::byte*>(call.reply.mutable_state()->data()),
                          device->execution_state);
    co_return call.OutLateAll();
  }

  host::GetDeviceState::Request request;
  host::GetDeviceState::Reply reply;
  calls::ToHost(call.request, &request);
  DXG_CO_TRY(co_await call.driver.host().Ask(*device->adapter(), call.process->host_handle, request, &reply));
  DXG_CO_TRY(FromNtStatus(reply.status(), "GetDeviceState"));
  calls::FromHost(reply, &call.reply);
  DXG_CO_TRY(call.OutLateAll());
  if (execution) {
    device->execution_state = contract::Load<0, 4>(reinterpret_cast<const std::byte*>(reply.state().data()));
    device->state_seen = changes;
  }
  co_return Status::Ok();
}

Task MarkDeviceAsError(CallOf<calls::MarkDeviceAsError>& call) {
  DXG_CO_ASSIGN(auto device, call.process->FindDevice(call.request.device()));
  DXG_CO_TRY(CheckActive(*device->adapter()));

  device->execution_state = kStateReset;  // before the host is asked, and whatever it says
  host::MarkDeviceAsError::Request request;
  host::MarkDeviceAsError::Reply reply;
  calls::ToHost(call.request, &request);
  DXG_CO_TRY(co_await call.driver.host().Ask(*device->adapter(), call.process->host_handle, request, &reply));
  co_return FromNtStatus(reply.status(), "MarkDeviceAsError");
}

}  // namespace dxg::guest::handlers
