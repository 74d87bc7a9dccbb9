// Objects in other processes: ShareObjects, QueryResourceInfoFromNtHandle, OpenResourceFromNtHandle.
#include "cuse-dxg/guest/calls/share.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <numeric>

#include "cuse-dxg/client/warnings.h"
#include "cuse-dxg/guest/handlers.h"
#include "cuse-dxg/guest/nt_status.h"
#include "cuse-dxg/guest/teardown.h"
#include "proto/dxg/host.pb.h"

namespace dxg::guest {

Task AddDescriptor(Call& call, std::shared_ptr<SharedObject> object, uint32_t handle) {
  {
    MutexLock lock(object->mutex);
    if (object->nt_handle != 0) {
      ++object->descriptors;
      co_return Status::Ok();
    }
  }
  host::CreateNtSharedObject::Request request;
  host::CreateNtSharedObject::Reply reply;
  request.set_object(handle);
  const Status status = co_await call.driver.host().AskGlobal(call.process->host_handle, request, &reply);
  if (!status.ok()) co_return status;
  if (reply.shared_handle() == 0)
    co_return Status::Refuse(ENOTRECOVERABLE, "the host gave no handle for the shared object");
  uint32_t second = 0;  // two threads share an object for the first time at once: one name is enough
  {
    MutexLock lock(object->mutex);
    if (object->nt_handle != 0) {
      second = reply.shared_handle();
    } else {
      object->nt_handle = reply.shared_handle();
    }
    ++object->descriptors;
  }
  if (second != 0) (void)co_await EndSharedName(call.driver.host(), second);
  co_return Status::Ok();
}

Coroutine<std::shared_ptr<SharedObject>> FindSharedObject(Driver& driver, client::Waiting caller,
                                                          const client::Identity& process,
                                                          uint64_t descriptor) {
  client::Delivery* delivery = driver.delivery();
  const int number =
      static_cast<int>(static_cast<uint32_t>(descriptor));  // the upper half is cut off, as by the driver
  if (delivery == nullptr || number < 0) co_return nullptr;
  const uint64_t file = co_await Callback<uint64_t>(
      [&](auto done) { delivery->Identify(caller, process, number, std::move(done)); });
  co_return file != 0 ? driver.ObjectOf(file) : nullptr;
}

Coroutine<std::shared_ptr<SharedObject>> FindSharedObject(Call& call, uint64_t descriptor) {
  auto object = co_await FindSharedObject(call.driver, call.waiting(), call.process->identity, descriptor);
  call.NameShared(object.get());
  co_return object;
}

TaskOf<uint64_t> GiveDescriptor(Driver& driver, Caller& caller, std::shared_ptr<SharedObject> object) {
  uint64_t token = 0;
  std::vector<client::Step> steps;
  try {
    steps.resize(1);
    token = driver.ExpectObjectFile(object);
    steps.front().kind = client::Step::Kind::kGiveNode;
    steps.front().writable = object->writable();
    steps.front().token = token;
  } catch (const std::bad_alloc&) {
    // Told below, where the descriptor is taken back.
  }
  std::vector<uint64_t> results;
  Status status;
  if (token == 0) {
    status = OutOfMemory();
  } else {
    status = co_await caller.InClient(std::move(steps), &results);
  }
  if (status.ok()) co_return results.front();
  // Where the node was opened and the client had no room for the descriptor, that file's close takes it back.
  if (token == 0 || driver.ForgetObjectFile(token)) (void)co_await DropDescriptor(driver.host(), object);
  // The driver has no such case, so who meets it needs to be told what stands in the way.
  if (status.value() == -EPERM)
    client::Warn(caller.identity(),
                 fmt::format("thread {}: no descriptor can be given to it: {}", caller.tid(), status.why()));
  co_return status;
}

client::Step CloseStep(uint64_t descriptor) {
  client::Step step;
  step.kind = client::Step::Kind::kCloseFile;
  step.address = descriptor;
  return step;
}

}  // namespace dxg::guest

namespace dxg::guest::handlers {
namespace {

using Open = calls::OpenResourceFromNtHandle;

// The shared object behind an object that the caller names.
Result<std::shared_ptr<SharedObject>> FindShareable(Process& process, uint32_t handle) {
  const HandleType type = process.TypeOf(handle);
  if (type == HandleType::kSyncObject) {
    DXG_ASSIGN(auto object, process.FindSyncObject(handle));
    if (object->shared != nullptr) return std::shared_ptr<SharedObject>(object->shared);
    return Status::Refuse(
        EINVAL, "sync object {:#x} was not created to be shared (shared and nt_security_sharing)", handle);
  }
  if (type != HandleType::kResource) {
    return Status::Refuse(EINVAL, "{:#x} is {}; expected a resource or a sync object", handle,
                          HandleTypeName(type));
  }
  DXG_ASSIGN(auto resource, process.FindResource(handle));
  if (resource->shared == nullptr) {
    return Status::Refuse(
        EINVAL, "resource {:#x} was not created to be shared (create_shared and nt_security_sharing)",
        handle);
  }
  return std::shared_ptr<SharedObject>(resource->shared);
}

// From the first descriptor on nothing is added to a shared resource. Nothing to share is refused once only:
// the driver has marked it by then.
Status Seal(SharedResource& object) {
  MutexLock lock(object.mutex);
  if (object.sealed) return Status::Ok();
  object.sealed = true;
  const uint64_t total =
      std::accumulate(object.elements.begin(), object.elements.end(), uint64_t{0},
                      [](uint64_t sum, const auto& element) { return sum + element.private_data.size(); });
  if (total == 0)
    return Status::Refuse(EINVAL, "the allocations of the resource have no private data at all");
  object.total_private_data = total;
  return Status::Ok();
}

TaskOf<std::shared_ptr<SharedResource>> FindResourceFile(Call& call, uint64_t descriptor) {
  auto resource = AsKind<SharedResource>(co_await FindSharedObject(call, descriptor));
  if (resource != nullptr) co_return resource;
  co_return Status::Refuse(EINVAL, "descriptor {} of the caller is of no shared resource",
                           static_cast<uint32_t>(descriptor));
}

// -- OpenResourceFromNtHandle --

struct Opening {
  explicit Opening(CallOf<Open>& call) : call(call) {}

  CallOf<Open>& call;
  std::shared_ptr<SharedResource> object;
  std::shared_ptr<Device> device;
  host::OpenResource::Request request;
  host::OpenResource::Reply reply;
  std::shared_ptr<Resource> resource;
  std::vector<std::shared_ptr<Allocation>> allocations;
  bool entered = false;  // the resource had its handle
};

Status CheckRoom(Opening& o) {
  const auto& request = o.call.request;
  auto& object = *o.object;
  MutexLock lock(object.mutex);
  if (request.allocation_count() == object.elements.size() &&
      request.private_runtime_data_size() >= object.runtime_data.size() &&
      request.resource_priv_drv_data_size() >= object.private_data.size() &&
      request.total_priv_drv_data_size() >= object.total_private_data) {
    return Status::Ok();
  }
  return Status::Refuse(
      EINVAL, "{} allocations, {}, {} and {} bytes of room; the resource has {}, and {}, {} and {} bytes",
      request.allocation_count(), request.private_runtime_data_size(), request.resource_priv_drv_data_size(),
      request.total_priv_drv_data_size(), object.elements.size(), object.runtime_data.size(),
      object.private_data.size(), object.total_private_data);
}

void MakeObjects(Opening& o) {
  MutexLock lock(o.object->mutex);
  o.resource = std::make_shared<Resource>();
  o.resource->handle = {o.reply.resource()};
  o.resource->device = o.device->handle;
  o.resource->shared = o.object;
  for (size_t i = 0; i < o.object->elements.size(); ++i) {
    auto allocation = std::make_shared<Allocation>();
    allocation->handle = {o.reply.allocations(static_cast<int>(i))};
    allocation->device = o.device->handle;
    allocation->resource = o.resource->handle;
    allocation->pages = o.object->elements[i].pages;
    allocation->cached = o.object->elements[i].cached;
    o.allocations.push_back(std::move(allocation));
  }
}

// The driver has the host destroy it for the failed call, and again with its own half of the resource where
// that had its handle. What the host says first is the result of the call.
Task UndoOpen(Opening& o, Status* status) {
  if (o.reply.resource() == 0) co_return Status::Ok();
  host::DestroyAllocation::Request request;
  host::DestroyAllocation::Reply reply;
  request.set_device(o.device->handle.value);
  request.set_resource(o.reply.resource());
  request.set_flags(kAssumeNotInUse);
  *status =
      co_await o.call.driver.host().Ask(*o.device->adapter(), o.call.process->host_handle, request, &reply);
  if (status->ok()) *status = FromNtStatus(reply.status(), "DestroyAllocation");
  if (!o.entered) co_return Status::Ok();
  request.set_flags(0);
  (void)co_await o.call.driver.host().Ask(*o.device->adapter(), o.call.process->host_handle, request, &reply);
  co_return Status::Ok();
}

Status CopyData(Opening& o) {
  auto& reply = o.call.reply;
  {
    MutexLock lock(o.object->mutex);
    reply.set_private_runtime_data(o.object->runtime_data);
    reply.set_resource_priv_drv_data(o.object->private_data);
    if (o.object->total_private_data != 0) {
      for (const auto& element : o.object->elements)
        reply.mutable_total_priv_drv_data()->append(element.private_data);
    }
  }
  DXG_TRY(o.call.CopyOut(Open::Out::private_runtime_data()));
  DXG_TRY(o.call.CopyOut(Open::Out::resource_priv_drv_data()));
  return o.call.CopyOut(Open::Out::total_priv_drv_data());
}

// Copied out, because the client's memory is touched without a lock. A sealed resource gets no more elements.
std::vector<uint64_t> PrivateDataSizes(SharedResource& object) {
  MutexLock lock(object.mutex);
  std::vector<uint64_t> sizes(object.elements.size());
  for (size_t i = 0; i < sizes.size() && object.total_private_data != 0; ++i)
    sizes[i] = object.elements[i].private_data.size();
  return sizes;
}

// The elements hold addresses inside the caller's own buffer of private data, so no message has them whole.
Status CopyElements(Opening& o) {
  const uint64_t base = o.call.AddressOf(Open::Out::open_alloc_info());
  uint64_t data = o.call.AddressOf(Open::Out::total_priv_drv_data());
  const std::vector<uint64_t> sizes = PrivateDataSizes(*o.object);
  for (size_t i = 0; i < o.allocations.size(); ++i) {
    d3dddi_openallocationinfo2 info{};
    const uint64_t size = sizes[i];
    info.allocation.v = o.allocations[i]->handle.value;
    info.priv_drv_data = data;
    info.priv_drv_data_size = static_cast<uint32_t>(size);
    data += size;
    auto* element = o.call.reply.add_open_alloc_info();
    element->set_allocation(info.allocation.v);
    element->set_priv_drv_data_size(info.priv_drv_data_size);
    if (!o.call.access().Write(o.call.tid(), base + i * sizeof(info), std::as_bytes(std::span(&info, 1)))) {
      return Status::Refuse(EFAULT, "open_alloc_info at {:#x} cannot be written ({} elements)", base,
                            o.allocations.size());
    }
  }
  return Status::Ok();
}

Status Publish(Opening& o) {
  DXG_TRY(CopyData(o));
  DXG_TRY(o.call.process->AddAllocations(o.device, o.resource, nullptr, o.allocations, &o.entered));
  Status status = CopyElements(o);
  o.call.reply.set_resource(o.resource->handle.value);
  o.call.reply.set_total_priv_drv_data_size(static_cast<uint32_t>(o.call.reply.total_priv_drv_data().size()));
  if (status.ok()) status = o.call.OutNow(Open::Out::resource);
  if (status.ok()) status = o.call.OutNow(Open::Out::total_priv_drv_data_size);
  if (!status.ok()) (void)o.call.process->RemoveResource(*o.device, o.resource->handle.value);
  return status;
}

}  // namespace

Task ShareObjects(CallOf<calls::ShareObjects>& call) {
  if (call.request.object_count() != 1)
    co_return Status::Refuse(EINVAL, "object_count is {}; expected 1", call.request.object_count());
  DXG_CO_TRY(call.CopyIn(calls::ShareObjects::In::objects()));
  const uint32_t handle = call.request.objects(0);
  DXG_CO_ASSIGN(auto object, FindShareable(*call.process, handle));
  DXG_CO_TRY(co_await AddDescriptor(call, object, handle));
  if (const auto resource = AsKind<SharedResource>(object)) {
    if (Status sealed = Seal(*resource); !sealed.ok()) {
      (void)co_await DropDescriptor(call.driver.host(), object);
      co_return sealed;
    }
  }
  call.NameShared(object.get());
  auto given = co_await GiveDescriptor(call.driver, call, object);
  // Traced or confined clients, which the driver does not mind, hear the reason.
  if (!given.ok() && given.status().value() == -EPERM) co_return given.status();
  if (!given.ok()) {
    co_return Status::Refuse(ENOTRECOVERABLE, "no descriptor can be given to the client: {}",
                             given.status().why());
  }
  const uint64_t descriptor = *given;
  call.reply.add_shared_handle(descriptor);
  const Status status = call.CopyOut(calls::ShareObjects::Out::shared_handle());
  if (!status.ok()) (void)co_await call.InClient(CloseStep(descriptor), nullptr);
  co_return status;
}

Task QueryResourceInfoFromNtHandle(CallOf<calls::QueryResourceInfoFromNtHandle>& call) {
  DXG_CO_ASSIGN(auto object, co_await FindResourceFile(call, call.request.nt_handle()));
  DXG_CO_ASSIGN(auto device, call.process->FindDevice(call.request.device()));
  DXG_CO_TRY(CheckActive(*device));
  DXG_CO_TRY(Seal(*object));
  {
    MutexLock lock(object->mutex);
    call.reply.set_private_runtime_data_size(static_cast<uint32_t>(object->runtime_data.size()));
    call.reply.set_resource_priv_drv_data_size(static_cast<uint32_t>(object->private_data.size()));
    call.reply.set_total_priv_drv_data_size(static_cast<uint32_t>(object->total_private_data));
    call.reply.set_allocation_count(static_cast<uint32_t>(object->elements.size()));
  }
  co_return call.OutLateAll();
}

Task OpenResourceFromNtHandle(CallOf<Open>& call) {
  Opening o(call);
  DXG_CO_ASSIGN(o.object, co_await FindResourceFile(call, call.request.nt_handle()));
  DXG_CO_ASSIGN(o.device, call.process->FindDevice(call.request.device()));
  DXG_CO_TRY(CheckActive(*o.device));
  DXG_CO_TRY(CheckActive(*o.device->adapter()));
  DXG_CO_TRY(Seal(*o.object));
  DXG_CO_TRY(CheckRoom(o));
  o.request.set_device(o.device->handle.value);
  o.request.set_total_priv_drv_data_size(call.request.total_priv_drv_data_size());
  o.request.set_nt_security_sharing(1);
  o.request.set_allocation_count(call.request.allocation_count());
  {
    MutexLock lock(o.object->mutex);
    o.request.set_global_share(o.object->nt_handle);
  }
  DXG_CO_TRY(
      co_await call.driver.host().Ask(*o.device->adapter(), call.process->host_handle, o.request, &o.reply));
  DXG_CO_TRY(FromNtStatus(o.reply.status(), "OpenResource"));
  MakeObjects(o);
  Status status = Publish(o);
  // What went wrong after the host opened it is replaced by the result of undoing that: 0, where all goes
  // well.
  if (!status.ok()) {
    call.reply.Clear();  // nothing of it is the client's
    (void)co_await UndoOpen(o, &status);
  }
  co_return status;
}

}  // namespace dxg::guest::handlers
