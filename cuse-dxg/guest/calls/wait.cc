// Waits, of the CPU and in the order of contexts: WaitForSynchronizationObject,
// WaitForSynchronizationObjectFromCpu, ...FromGpu.
#include <algorithm>

#include "cuse-dxg/guest/client_event.h"
#include "cuse-dxg/guest/handlers.h"
#include "cuse-dxg/guest/nt_status.h"
#include "proto/contract/forward.gen.h"
#include "proto/contract/numbers.gen.h"
#include "proto/dxg/host.pb.h"

namespace dxg::guest::handlers {
namespace {

constexpr int kInlineValues = 8;  // of legacy fences, in the struct

using FromCpu = calls::WaitForSynchronizationObjectFromCpu;
using FromGpu = calls::WaitForSynchronizationObjectFromGpu;
using GpuWait = host::WaitForSyncObjectFromGpu;

Status CheckCount(uint32_t count, uint32_t max) {
  if (count != 0 && count <= max) return Status::Ok();
  return Status::Refuse(EINVAL, "object_count is {}; expected 1 to {}", count, max);
}

Task Refused(Status status) { co_return status; }

Task TellHost(Call& call, const Adapter& adapter, const GpuWait::Request& request) {
  GpuWait::Reply reply;
  DXG_CO_TRY(co_await call.driver.host().Ask(adapter, call.process->host_handle, request, &reply));
  co_return FromNtStatus(reply.status(), "WaitForSyncObjectFromGpu");
}

// The word that is an address of values for monitored fences is the first of eight values for legacy ones.
// Where there are more objects than values, the driver sends what lies behind its struct; here it is zeros.
void TakeInlineValues(const CallOf<FromGpu>& call, const std::byte* args,
                      google::protobuf::RepeatedField<uint64_t>* values) {
  values->Resize(static_cast<int>(call.request.object_count()), 0);
  const size_t given = std::min<size_t>(kInlineValues, call.request.object_count());
  std::copy_n(args + FromGpu::In::fence_values().pointer, given * sizeof(uint64_t),
              reinterpret_cast<std::byte*>(values->mutable_data()));  // Safety: bytes
}

// -- The CPU's wait --

// A call that is parked keeps its request, for the trace. A long list is not worth that.
constexpr int kParkedObjectsMax = 32;

void DropLongLists(FromCpu::Request& request) {
  if (request.objects_size() <= kParkedObjectsMax) return;
  google::protobuf::RepeatedField<uint32_t>().Swap(request.mutable_objects());
  google::protobuf::RepeatedField<uint64_t>().Swap(request.mutable_fence_values());
}

// Where a signal ended the same wait before, it is taken over as it is: the host has it already. `event`
// becomes that one's; 0: it is over.
bool TakeOverWait(CallOf<FromCpu>& call, uint64_t* event) {
  const auto& args = call.request;
  auto monitored = call.process->IsMonitored(args.objects(0));
  WaitDigest& digest = call.parked()->digest;
  digest = DigestOf(args.device(), args.flags(), monitored.ok() && !*monitored,
                    {args.objects().data(), static_cast<size_t>(args.objects_size())},
                    {args.fence_values().data(), static_cast<size_t>(args.fence_values_size())});
  const auto before = call.process->interrupted_waits().Take(digest);
  if (!before) return false;
  call.driver.events().Remove(*event);
  *event = before->event;
  // Where it is not in the table it has happened a moment ago.
  if (before->happened || !call.driver.events().Redirect(before->event, call.parked())) *event = 0;
  return true;
}

// What the host keeps of the wait until it is over. Empty: the process or its user has too much of
// that.
Charge ChargeWait(const CallOf<FromCpu>& call) {
  return {call.process->account, Charged::kWaitPoints, call.request.object_count()};
}

Status TooManyWaits(const CallOf<FromCpu>& call) {
  return Status::Refuse(
      ENOMEM, "pending waits of this process have {} objects, and it or its user may not have {} more",
      call.process->account->used(Charged::kWaitPoints), call.request.object_count());
}

// A function, because a coroutine's frame would have room for a charge as long as it waits.
bool ChargeTheCall(CallOf<FromCpu>& call) {
  call.charge = ChargeWait(call);
  return static_cast<bool>(call.charge);
}

// Has the host note the wait. Its messages end with it: the call may be parked for long.
Task NoteWait(CallOf<FromCpu>& call, uint64_t* event) {
  auto& args = call.request;
  DXG_CO_ASSIGN(auto device, call.process->FindDevice(args.device()));
  DXG_CO_TRY(CheckActive(*device->adapter()));
  DXG_CO_TRY(call.CopyIn({&FromCpu::In::objects(), &FromCpu::In::fence_values()}));
  if (args.async_event() == 0) {
    if (TakeOverWait(call, event)) co_return Status::Ok();
    if (!ChargeTheCall(call)) co_return TooManyWaits(call);
  } else if (args.objects_size() != 0) {
    call.driver.events().SetName(*event, args.objects(0),
                                 args.fence_values_size() != 0 ? args.fence_values(0) : 0);
  }
  host::WaitForSyncObjectFromCpu::Request request;
  host::WaitForSyncObjectFromCpu::Reply reply;
  calls::ToHost(args, &request);
  request.set_guest_event(*event);
  DXG_CO_TRY(co_await call.driver.host().Ask(*device->adapter(), call.process->host_handle, request, &reply));
  co_return FromNtStatus(reply.status(), "WaitForSyncObjectFromCpu");
}

Task WaitWithEventfd(CallOf<FromCpu>& call) {
  Charge charge = ChargeWait(call);
  if (!charge) co_return TooManyWaits(call);
  DXG_CO_ASSIGN(uint64_t event, co_await AddClientEvent(call, call.request.async_event(),
                                                        EventTable::Lifetime::kOnce, std::move(charge)));
  Status status = co_await NoteWait(call, &event);
  if (!status.ok()) call.driver.events().Remove(event);
  co_return status;
}

// The host keeps it: for the call when it is restarted, or for nobody.
Status LeaveWait(CallOf<FromCpu>& call, uint64_t event) {
  auto& waits = call.process->interrupted_waits();
  const WaitDigest digest = call.parked()->digest;
  auto left = waits.Add(digest, event);
  if (call.driver.events().Redirect(event, std::move(left))) {
    call.driver.events().SetCharge(event, std::move(call.charge));
    waits.Left(digest, event);
    return Status::Refuse(-attach::IoctlRequest::kRestart, "a signal ended the wait");
  }
  waits.Remove(digest, event);
  return Status::Ok();  // it happened with the signal
}

Status HowItEnded(ParkedCall::End end) {
  switch (end) {
    case ParkedCall::End::kEvent:
      return Status::Ok();
    case ParkedCall::End::kInterrupt:
    case ParkedCall::End::kGone:
      break;
  }
  return Status::Refuse(ENODEV, "the device is being taken down");
}

// Holds no thread while it waits, and little memory: this frame is all there is of it beside the call, so
// nothing is in it that is not needed afterwards.
Task WaitInTheCall(CallOf<FromCpu>& call) {
  uint64_t event = call.driver.events().Add(*call.process, call.Park(), EventTable::Lifetime::kOnce);
  if (Status status = co_await NoteWait(call, &event); !status.ok()) {
    call.driver.events().Remove(event);
    co_return status;
  }
  if (event == 0) co_return Status::Ok();
  DropLongLists(call.request);
  call.ForgetNear();
  call.EndBySignal();
  const ParkedCall::End end = co_await call.Ended();
  if (end == ParkedCall::End::kInterrupt) co_return LeaveWait(call, event);
  if (end != ParkedCall::End::kEvent) call.driver.events().Remove(event);
  co_return HowItEnded(end);
}

}  // namespace

Task WaitForSynchronizationObject(CallOf<calls::WaitForSynchronizationObject>& call) {
  const auto& args = call.request;
  DXG_CO_TRY(CheckCount(args.object_count(), D3DDDI_MAX_OBJECT_WAITED_ON));
  DXG_CO_ASSIGN(auto found, FindContextAndDevice(*call.process, args.context()));
  DXG_CO_TRY(CheckActive(*found.device->adapter()));
  GpuWait::Request request;
  calls::ToHost(args, &request);
  request.mutable_objects()->Assign(args.object_array().begin(),
                                    args.object_array().begin() + args.object_count());
  request.mutable_fence_values()->CopyFrom(args.fence_values());
  // Beyond the values in the struct the driver sends what lies behind it; here it is zeros.
  request.mutable_fence_values()->Resize(static_cast<int>(args.object_count()), 0);
  co_return co_await TellHost(call, *found.device->adapter(), request);
}

Task WaitForSynchronizationObjectFromCpu(CallOf<FromCpu>& call) {
  if (Status status =
          CheckCount(call.request.object_count(), limits::kWaitForSynchronizationObjectFromCpuObjectsMax);
      !status.ok())
    return Refused(std::move(status));
  return call.request.async_event() != 0 ? WaitWithEventfd(call) : WaitInTheCall(call);
}

Task WaitForSynchronizationObjectFromGpu(CallOf<FromGpu>& call) {
  auto& args = call.request;
  DXG_CO_TRY(CheckCount(args.object_count(), limits::kWaitForSynchronizationObjectFromGpuObjectsMax));
  DXG_CO_TRY(call.CopyIn(FromGpu::In::objects()));
  DXG_CO_ASSIGN(auto context, call.process->FindContext(args.context()));
  // What the first object is, the others are taken for.
  DXG_CO_ASSIGN(const bool monitored, call.process->IsMonitored(args.objects(0)));
  if (monitored) {
    DXG_CO_TRY(call.CopyIn(FromGpu::In::fence_values()));
  } else {
    TakeInlineValues(call, call.args(), args.mutable_fence_values());
  }
  DXG_CO_ASSIGN(auto device, call.process->FindDevice(context->device.value));
  DXG_CO_TRY(CheckActive(*device->adapter()));
  DXG_CO_TRY(CheckCount(args.object_count(), D3DDDI_MAX_OBJECT_WAITED_ON));
  GpuWait::Request request;
  calls::ToHost(args, &request);
  request.set_legacy_fence_object(monitored ? 0 : 1);
  co_return co_await TellHost(call, *device->adapter(), request);
}

}  // namespace dxg::guest::handlers
