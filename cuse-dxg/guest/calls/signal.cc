// Signals, by the CPU and in the order of contexts and hardware queues: SignalSynchronizationObject,
// SignalSynchronizationObjectFromCpu, ...FromGpu, ...FromGpu2, SubmitSignalSyncObjectsToHwQueue. One command
// serves all five.
#include "cuse-dxg/guest/client_event.h"
#include "cuse-dxg/guest/handlers.h"
#include "cuse-dxg/guest/nt_status.h"
#include "proto/abi/flags.h"
#include "proto/contract/forward.gen.h"
#include "proto/contract/numbers.gen.h"
#include "proto/dxg/host.pb.h"

namespace dxg::guest::handlers {
namespace {

constexpr uint32_t kEnqueueCpuEvent = DXG_SIGNAL_ENQUEUE_CPU_EVENT;

using Signal = host::SignalSyncObject;

Task TellHost(Call& call, const Adapter& adapter, const Signal::Request& request) {
  Signal::Reply reply;
  DXG_CO_TRY(co_await call.driver.host().Ask(adapter, call.process->host_handle, request, &reply));
  co_return FromNtStatus(reply.status(), "SignalSyncObject");
}

Status CheckCount(const char* name, uint32_t count, uint32_t max) {
  if (count != 0 && count <= max) return Status::Ok();
  return Status::Refuse(EINVAL, "{} is {}; expected 1 to {}", name, count, max);
}

// Values are optional: without the pointer the host decides what a signal means.
const contract::Buffer* IfGiven(Call& call, const contract::Buffer& values) {
  return call.AddressOf(values) == 0 ? nullptr : &values;
}

// The first handle of a list is looked at before the list is copied, as by the driver: what the host gets is
// the second look.
Result<uint32_t> ReadFirst(Call& call, const contract::Buffer& list) {
  uint32_t first = 0;
  if (call.access().Read(call.tid(), call.AddressOf(list), std::as_writable_bytes(std::span(&first, 1))))
    return first;
  return Status::Refuse(EFAULT, "{} at {:#x} cannot be read (4 bytes)", list.name, call.AddressOf(list));
}

// Those lists, where some are refused: the handle that was looked at stays, for those who record the call.
template <typename List>
Status CopyInAfter(Call& call, std::initializer_list<const contract::Buffer*> lists, uint32_t first,
                   List* looked_at) {
  Status status = call.CopyIn(lists);
  if (!status.ok() && !looked_at->empty() && looked_at->Get(0) == 0) looked_at->Set(0, first);
  return status;
}

Task SignalFromContexts(CallOf<calls::SignalSynchronizationObject>& call, uint64_t event) {
  const auto& args = call.request;
  DXG_CO_ASSIGN(auto found, FindContextAndDevice(*call.process, args.context()));
  DXG_CO_TRY(CheckActive(*found.device->adapter()));
  Signal::Request request;
  calls::ToHost(args, &request);
  request.set_context_count(args.context_count() + 1);
  request.set_event_or_device(event);
  request.mutable_objects()->Assign(args.object_array().begin(),
                                    args.object_array().begin() + args.object_count());
  request.add_contexts(args.context());
  request.mutable_contexts()->Add(args.contexts().begin(), args.contexts().begin() + args.context_count());
  co_return co_await TellHost(call, *found.device->adapter(), request);
}

Task SignalFromContextList(CallOf<calls::SignalSynchronizationObjectFromGpu2>& call, uint32_t first,
                           uint64_t event) {
  using In = calls::SignalSynchronizationObjectFromGpu2::In;
  auto& args = call.request;
  DXG_CO_ASSIGN(auto found, FindContextAndDevice(*call.process, first));
  DXG_CO_TRY(CheckActive(*found.device->adapter()));
  DXG_CO_TRY(CopyInAfter(
      call, {&In::objects(), &In::contexts(), event == 0 ? IfGiven(call, In::fence_values()) : nullptr},
      first, args.mutable_contexts()));
  Signal::Request request;
  calls::ToHost(args, &request);
  request.set_event_or_device(event);
  co_return co_await TellHost(call, *found.device->adapter(), request);
}

}  // namespace

Task SignalSynchronizationObject(CallOf<calls::SignalSynchronizationObject>& call) {
  const auto& args = call.request;
  if (args.context_count() >= D3DDDI_MAX_BROADCAST_CONTEXT ||
      args.object_count() > D3DDDI_MAX_OBJECT_SIGNALED) {
    co_return Status::Refuse(EINVAL, "{} objects and {} more contexts; at most {} and {} are allowed",
                             args.object_count(), args.context_count(), D3DDDI_MAX_OBJECT_SIGNALED,
                             D3DDDI_MAX_BROADCAST_CONTEXT - 1);
  }
  uint64_t event = 0;
  if ((args.flags() & kEnqueueCpuEvent) != 0) {
    DXG_CO_ASSIGN(event, co_await AddClientEvent(call, args.fence_value(), EventTable::Lifetime::kOnce));
    call.driver.events().SetName(event, args.context(), 0);
  }
  Status status = co_await SignalFromContexts(call, event);
  if (!status.ok()) call.driver.events().Remove(event);
  co_return status;
}

Task SignalSynchronizationObjectFromCpu(CallOf<calls::SignalSynchronizationObjectFromCpu>& call) {
  using In = calls::SignalSynchronizationObjectFromCpu::In;
  auto& args = call.request;
  DXG_CO_TRY(
      CheckCount("object_count", args.object_count(), limits::kSignalSynchronizationObjectFromCpuObjectsMax));
  DXG_CO_ASSIGN(auto device, call.process->FindDevice(args.device()));
  DXG_CO_TRY(CheckActive(*device->adapter()));
  DXG_CO_TRY(call.CopyIn({&In::objects(), IfGiven(call, In::fence_values())}));
  Signal::Request request;
  calls::ToHost(args, &request);
  // With that flag the host takes the field for the number of an event, and this call has none.
  request.set_event_or_device((args.flags() & kEnqueueCpuEvent) != 0 ? 0 : args.device());
  co_return co_await TellHost(call, *device->adapter(), request);
}

Task SignalSynchronizationObjectFromGpu(CallOf<calls::SignalSynchronizationObjectFromGpu>& call) {
  using In = calls::SignalSynchronizationObjectFromGpu::In;
  auto& args = call.request;
  DXG_CO_TRY(
      CheckCount("object_count", args.object_count(), limits::kSignalSynchronizationObjectFromGpuObjectsMax));
  DXG_CO_ASSIGN(auto found, FindContextAndDevice(*call.process, args.context()));
  DXG_CO_TRY(CheckActive(*found.device->adapter()));
  DXG_CO_TRY(call.CopyIn({&In::objects(), IfGiven(call, In::fence_values())}));
  Signal::Request request;
  calls::ToHost(args, &request);
  request.add_contexts(args.context());
  co_return co_await TellHost(call, *found.device->adapter(), request);
}

Task SignalSynchronizationObjectFromGpu2(CallOf<calls::SignalSynchronizationObjectFromGpu2>& call) {
  const auto& args = call.request;
  const bool with_event = (args.flags() & kEnqueueCpuEvent) != 0;
  const uint64_t eventfd = args.cpu_event().cpu_event_handle();
  if (with_event && (args.object_count() != 0 || eventfd == 0)) {
    co_return Status::Refuse(
        EINVAL,
        "with enqueue_cpu_event there are {} objects and event {}; expected no objects and an eventfd",
        args.object_count(), eventfd);
  }
  if (!with_event) {
    DXG_CO_TRY(CheckCount("object_count", args.object_count(),
                          limits::kSignalSynchronizationObjectFromGpu2ObjectsMax));
    DXG_CO_TRY(CheckCount("context_count", args.context_count(),
                          limits::kSignalSynchronizationObjectFromGpu2ContextsMax));
  }
  DXG_CO_ASSIGN(const uint32_t first,
                ReadFirst(call, calls::SignalSynchronizationObjectFromGpu2::In::contexts()));
  uint64_t event = 0;
  if (with_event) {
    DXG_CO_ASSIGN(event, co_await AddClientEvent(call, eventfd, EventTable::Lifetime::kOnce));
    call.driver.events().SetName(event, first, 0);
  }
  Status status = co_await SignalFromContextList(call, first, event);
  if (!status.ok()) call.driver.events().Remove(event);
  co_return status;
}

Task SubmitSignalSyncObjectsToHwQueue(CallOf<calls::SubmitSignalSyncObjectsToHwQueue>& call) {
  using In = calls::SubmitSignalSyncObjectsToHwQueue::In;
  auto& args = call.request;
  DXG_CO_TRY(CheckCount("hwqueue_count", args.hwqueue_count(),
                        limits::kSubmitSignalSyncObjectsToHwQueueHwqueuesMax));
  DXG_CO_TRY(
      CheckCount("object_count", args.object_count(), limits::kSubmitSignalSyncObjectsToHwQueueObjectsMax));
  DXG_CO_ASSIGN(const uint32_t first, ReadFirst(call, In::hwqueues()));
  DXG_CO_ASSIGN(auto found, FindHwQueueAndDevice(*call.process, first));
  DXG_CO_TRY(CheckActive(*found.device->adapter()));
  DXG_CO_TRY(CopyInAfter(call, {&In::objects(), &In::hwqueues(), IfGiven(call, In::fence_values())}, first,
                         args.mutable_hwqueues()));
  Signal::Request request;
  calls::ToHost(args, &request);
  co_return co_await TellHost(call, *found.device->adapter(), request);
}

}  // namespace dxg::guest::handlers
