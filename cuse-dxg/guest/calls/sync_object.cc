// Sync objects: CreateSynchronizationObject, DestroySynchronizationObject, OpenSyncObjectFromNtHandle2.
#include "cuse-dxg/guest/calls/sync_object.h"

#include "base/page.h"
#include "cuse-dxg/guest/bring_in.h"
#include "cuse-dxg/guest/calls/share.h"
#include "cuse-dxg/guest/client_event.h"
#include "cuse-dxg/guest/handlers.h"
#include "cuse-dxg/guest/nt_status.h"
#include "proto/abi/flags.h"
#include "proto/dxg/host.pb.h"

namespace dxg::guest {
Task EndSyncObject(Call& call, std::shared_ptr<SyncObject> object, uint32_t handle) {
  std::vector<Arena::Mapping> unmap;
  call.process->ReleaseFence(object->window_address, &unmap);
  call.driver.events().Remove(object->event);
  host::DestroySyncObject::Request request;
  host::DestroySyncObject::Reply reply;
  request.set_sync_object(handle);
  Status status = co_await call.driver.host().AskGlobal(call.process->host_handle, request, &reply);
  if (status.ok()) status = FromNtStatus(reply.status(), "DestroySyncObject");
  (void)co_await TakeOut(call, std::move(unmap));
  co_return status;
}

TaskOf<OpenedSyncObject> OpenSharedSyncObject(Call& call, std::shared_ptr<Device> device,
                                              std::shared_ptr<SharedSyncObject> shared, OpenOptions options) {
  host::OpenSyncObject::Request request;
  host::OpenSyncObject::Reply reply;
  request.set_device(options.device_name);
  request.set_global_sync_object(shared->global_handle);
  request.set_engine_affinity(shared->monitored ? options.engine_affinity : 0);
  request.set_flags(options.flags);
  DXG_CO_TRY(co_await call.driver.host().AskGlobal(call.process->host_handle, request, &reply));
  const Status said = FromNtStatus(reply.status(), "OpenSyncObject");
  if (!said.ok() || (options.only_zero && said.value() != 0)) co_return said;

  auto object = std::make_shared<SyncObject>();
  object->handle = {reply.sync_object()};
  object->device = device->handle;
  object->monitored = shared->monitored;
  object->shared = std::move(shared);
  OpenedSyncObject opened{.object = object, .fence_gpu_virtual_address = reply.gpu_virtual_address()};
  if (!object->monitored) co_return opened;
  const WindowAddress page(reply.guest_cpu_physical_address());
  auto address = co_await BringIn(call, page, kPageBytes);
  if (!address.ok()) {
    // A host that answers with zeros has opened nothing that it could be told to destroy.
    if (object->handle) (void)co_await EndSyncObject(call, object, object->handle.value);
    co_return std::move(address).status();
  }
  object->window_address = page;
  opened.fence_cpu_virtual_address = address->value;
  co_return opened;
}

Task EnterOpened(Call& call, std::shared_ptr<Device> device, const OpenedSyncObject& opened,
                 const std::function<Status()>& answer) {
  Status status = call.process->AddSyncObject(device, opened.object);
  if (status.ok()) {
    status = answer();
    if (status.ok()) co_return status;
    (void)call.process->RemoveSyncObject(opened.object->handle.value);
  }
  (void)co_await EndSyncObject(call, opened.object, opened.object->handle.value);
  co_return status;
}

namespace handlers {
namespace {

using CreateObject = calls::CreateSynchronizationObject;
using Info = d3dkmt_createsynchronizationobject2;

constexpr uint32_t kShared = DXG_SYNC_SHARED, kNtSecuritySharing = DXG_SYNC_NT_SECURITY_SHARING;
constexpr uint32_t kClientHint = 1;  // says nothing that a host here needs
constexpr size_t kUnion = offsetof(Info, info.reserved), kUnionBytes = sizeof(Info::info.reserved);
constexpr contract::Member kFence = CreateObject::Address::info_monitored_fence_fence_cpu_virtual_address;
constexpr contract::Member kPeriodicFence =
    CreateObject::Address::info_periodic_monitored_fence_fence_cpu_virtual_address;

struct Creating {
  explicit Creating(CallOf<CreateObject>& call) : call(call), type(call.request.type()) {}

  bool monitored() const {
    return type == _D3DDDI_MONITORED_FENCE || type == _D3DDDI_PERIODIC_MONITORED_FENCE;
  }
  bool shared() const { return (call.request.flags() & kShared) != 0; }

  CallOf<CreateObject>& call;
  const uint32_t type;
  std::shared_ptr<Device> device;
  std::shared_ptr<SyncObject> object = std::make_shared<SyncObject>();
  host::CreateSyncObject::Request request;
  host::CreateSyncObject::Reply reply;
};

// The host gets the caller's struct as it is, but for what means something only on this side: the address of
// the fence, and the number of an eventfd, in whose place is that of the event.
void MakeRequest(Creating& c) {
  std::string info(reinterpret_cast<const char*>(c.call.args()) + kUnion, kUnionBytes);  // Safety: bytes
  if (c.type == _D3DDDI_MONITORED_FENCE) info.replace(kFence.offset - kUnion, 8, 8, '\0');
  if (c.type == _D3DDDI_PERIODIC_MONITORED_FENCE) info.replace(kPeriodicFence.offset - kUnion, 8, 8, '\0');
  if (c.type == _D3DDDI_CPU_NOTIFICATION)
    contract::Store<0, 8>(reinterpret_cast<std::byte*>(info.data()), c.object->event);
  c.request.set_device(c.call.request.device());
  c.request.set_type(c.type);
  c.request.set_flags(c.call.request.flags());
  c.request.set_info(std::move(info));
  c.request.set_shared_handle(contract::Load<CreateObject::Out::shared_handle.offset, 4>(c.call.args()));
  c.request.set_sync_object(contract::Load<CreateObject::Out::sync_object.offset, 4>(c.call.args()));
  c.request.set_client_hint(kClientHint);
}

Task BringFenceIn(Creating& c) {
  const WindowAddress page(c.reply.fence_storage_address());
  DXG_CO_ASSIGN(const ClientAddress address, co_await BringIn(c.call, page, kPageBytes));
  c.object->window_address = page;
  c.call.SetAddress(c.type == _D3DDDI_MONITORED_FENCE ? kFence : kPeriodicFence, address.value);
  co_return Status::Ok();
}

void FillReply(Creating& c) {
  auto& reply = c.call.reply;
  const auto& request = c.call.request;
  if (c.type == _D3DDDI_CPU_NOTIFICATION) reply.mutable_cpu_notification()->set_event(c.object->event);
  if (c.type == _D3DDDI_MONITORED_FENCE) {
    *reply.mutable_monitored_fence() = request.monitored_fence();
    reply.mutable_monitored_fence()->set_fence_gpu_virtual_address(c.reply.fence_gpu_va());
  }
  if (c.type == _D3DDDI_PERIODIC_MONITORED_FENCE) {
    *reply.mutable_periodic_monitored_fence() = request.periodic_monitored_fence();
    reply.mutable_periodic_monitored_fence()->set_fence_gpu_virtual_address(c.reply.fence_gpu_va());
  }
  reply.set_shared_handle(c.shared() ? c.reply.global_sync_object() : c.request.shared_handle());
  reply.set_sync_object(c.reply.sync_object());
}

Task AskForIt(Creating& c) {
  MakeRequest(c);
  DXG_CO_TRY(co_await c.call.driver.host().Ask(*c.device->adapter(), c.call.process->host_handle, c.request,
                                               &c.reply));
  c.object->handle = {c.reply.sync_object()};
  if (c.shared() && c.reply.global_sync_object() == 0)
    co_return Status::Refuse(EINVAL, "the host gave no global handle for the shared object");
  if (c.monitored()) DXG_CO_TRY(co_await BringFenceIn(c));
  if (c.shared())
    c.object->shared = std::make_shared<SharedSyncObject>(c.monitored(), c.reply.global_sync_object());
  FillReply(c);
  DXG_CO_TRY(c.call.OutNowAll());
  co_return c.call.process->AddSyncObject(c.device, c.object);
}

}  // namespace

Task CreateSynchronizationObject(CallOf<CreateObject>& call) {
  Creating c(call);
  DXG_CO_ASSIGN(c.device, call.process->FindDevice(call.request.device()));
  DXG_CO_TRY(CheckActive(*c.device));
  DXG_CO_TRY(CheckActive(*c.device->adapter()));
  if (c.shared() && (call.request.flags() & kNtSecuritySharing) == 0) {
    co_return Status::Refuse(EINVAL, "flags are {:#x}: shared (1) needs nt_security_sharing (2)",
                             call.request.flags());
  }
  c.object->device = c.device->handle;
  c.object->monitored = c.monitored();
  if (c.type == _D3DDDI_CPU_NOTIFICATION) {
    DXG_CO_ASSIGN(c.object->event, co_await AddClientEvent(call, call.request.cpu_notification().event(),
                                                           EventTable::Lifetime::kUntilRemoved));
  }
  Status status = co_await AskForIt(c);
  if (status.ok()) {
    call.driver.events().SetName(c.object->event, c.object->handle.value, 0);
    co_return status;
  }
  if (c.object->handle) {
    (void)co_await EndSyncObject(call, c.object, c.object->handle.value);
  } else {
    call.driver.events().Remove(c.object->event);
  }
  co_return status;
}

Task DestroySynchronizationObject(CallOf<calls::DestroySynchronizationObject>& call) {
  // The handle is gone from here on, whatever follows. No device or adapter is asked for: it works on a
  // stopped one.
  DXG_CO_ASSIGN(auto object, call.process->RemoveSyncObject(call.request.sync_object()));
  co_return co_await EndSyncObject(call, object, call.request.sync_object());
}

Task OpenSyncObjectFromNtHandle2(CallOf<calls::OpenSyncObjectFromNtHandle2>& call) {
  if (call.request.device() == 0) co_return Status::Refuse(EINVAL, "device is 0; expected a device");
  DXG_CO_ASSIGN(auto device, call.process->FindDevice(call.request.device()));
  DXG_CO_TRY(CheckActive(*device));
  DXG_CO_TRY(CheckActive(*device->adapter()));
  auto shared = AsKind<SharedSyncObject>(co_await FindSharedObject(call, call.request.nt_handle()));
  if (shared == nullptr) {
    co_return Status::Refuse(EINVAL, "descriptor {} of the caller is of no shared sync object",
                             static_cast<uint32_t>(call.request.nt_handle()));
  }
  const OpenOptions options{call.request.device(), call.request.engine_affinity(), call.request.flags()};
  DXG_CO_ASSIGN(const auto opened, co_await OpenSharedSyncObject(call, device, shared, options));
  const std::function<Status()> answer = [&] {
    call.reply.set_sync_object(opened.object->handle.value);
    if (shared->monitored) {
      call.reply.set_fence_value_gpu_va(opened.fence_gpu_virtual_address);
      call.SetAddress(calls::OpenSyncObjectFromNtHandle2::Address::monitored_fence_fence_value_cpu_va,
                      opened.fence_cpu_virtual_address);
    }
    return call.OutNowAll();
  };
  co_return co_await EnterOpened(call, device, opened, answer);
}

}  // namespace handlers
}  // namespace dxg::guest
