// Which memory the GPU has at hand: MakeResident, Evict, OfferAllocations, ReclaimAllocations2, priorities
// and properties. The guest checks counts and owners; which allocations a list names is the host's to check.
#include "cuse-dxg/guest/handlers.h"
#include "cuse-dxg/guest/nt_status.h"
#include "proto/abi/ntstatus.h"
#include "proto/dxg/host.pb.h"

namespace dxg::guest::handlers {
namespace {

constexpr uint32_t kResidencyListMax = D3DKMT_MAKERESIDENT_ALLOC_MAX;
constexpr uint32_t kBytesMax = 131072;  // of what the driver still takes for a count that could fit a message

Status CheckCount(uint32_t count) {
  if (count != 0 && count <= kResidencyListMax) return Status::Ok();
  return Status::Refuse(EINVAL, "the list has {} allocations; expected 1 to {}", count, kResidencyListMax);
}

// Offer and reclaim take a list of resources or one of allocations.
template <class Traits>
Result<bool> ListIsOfResources(const CallOf<Traits>& call) {
  const bool resources = call.AddressOf(Traits::In::resources()) != 0;
  const bool allocations = call.AddressOf(Traits::In::allocations()) != 0;
  if (resources != allocations) return resources;
  return Status::Refuse(EINVAL, "resources and allocations: expected exactly one of the two lists");
}

// The priorities and the residency of a resource, or of a list.
Status CheckResourceOrList(uint32_t resource, uint32_t count) {
  if ((resource != 0) != (count != 0)) return Status::Ok();
  return Status::Refuse(EINVAL,
                        "resource is {:#x} and the list has {} allocations; expected exactly one of the two",
                        resource, count);
}

Status CheckLong(uint32_t count) {
  if (count <= kBytesMax) return Status::Ok();
  return Status::Refuse(EINVAL, "the list has {} allocations; at most {}", count, kBytesMax);
}

}  // namespace

Task MakeResident(CallOf<calls::MakeResident>& call) {
  DXG_CO_TRY(CheckCount(call.request.alloc_count()));
  if (call.request.paging_queue() == 0) co_return Status::Refuse(EINVAL, "paging_queue is 0");
  DXG_CO_ASSIGN(auto found, FindPagingQueueAndDevice(*call.process, call.request.paging_queue()));
  const auto adapter = found.device->adapter();
  DXG_CO_TRY(CheckActive(*adapter));
  DXG_CO_TRY(call.CopyIn(calls::MakeResident::In::allocations()));
  host::MakeResident::Request request;
  host::MakeResident::Reply reply;
  request.set_paging_queue(call.request.paging_queue());
  request.set_flags(call.request.flags());
  request.set_alloc_count(call.request.alloc_count());
  *request.mutable_allocations() = call.request.allocations();
  DXG_CO_TRY(co_await call.driver.host().Ask(*adapter, call.process->host_handle, request, &reply));
  Status status = FromNtStatus(reply.status(), "MakeResident");
  if (!status.ok() || (status.value() != kStatusSuccess && status.value() != kStatusPending))
    co_return status;
  call.reply.set_paging_fence_value(reply.paging_fence_value());
  call.reply.set_num_bytes_to_trim(reply.num_bytes_to_trim());
  DXG_CO_TRY(call.OutLate(calls::MakeResident::Out::paging_fence_value));
  DXG_CO_TRY(call.OutLate(calls::MakeResident::Out::num_bytes_to_trim));
  co_return status;
}

Task Evict(CallOf<calls::Evict>& call) {
  DXG_CO_TRY(CheckCount(call.request.alloc_count()));
  DXG_CO_ASSIGN(auto device, call.process->FindDevice(call.request.device()));
  DXG_CO_TRY(CheckActive(*device->adapter()));
  DXG_CO_TRY(call.CopyIn(calls::Evict::In::allocations()));
  host::Evict::Request request;
  host::Evict::Reply reply;
  request.set_device(call.request.device());
  request.set_flags(call.request.flags());
  request.set_alloc_count(call.request.alloc_count());
  *request.mutable_allocations() = call.request.allocations();
  DXG_CO_TRY(co_await call.driver.host().Ask(*device->adapter(), call.process->host_handle, request, &reply));
  call.reply.set_num_bytes_to_trim(reply.num_bytes_to_trim());
  co_return call.OutLate(calls::Evict::Out::num_bytes_to_trim);
}

Task OfferAllocations(CallOf<calls::OfferAllocations>& call) {
  using Traits = calls::OfferAllocations;
  DXG_CO_TRY(CheckCount(call.request.allocation_count()));
  DXG_CO_ASSIGN(const bool resources, ListIsOfResources(call));
  DXG_CO_ASSIGN(auto device, call.process->FindDevice(call.request.device()));
  DXG_CO_TRY(CheckActive(*device->adapter()));
  DXG_CO_TRY(call.CopyIn(resources ? Traits::In::resources() : Traits::In::allocations()));
  host::OfferAllocations::Request request;
  host::OfferAllocations::Reply reply;
  request.set_device(call.request.device());
  request.set_allocation_count(call.request.allocation_count());
  request.set_priority(call.request.priority());
  request.set_flags(call.request.flags());
  request.set_resources(resources);
  *request.mutable_allocations() = resources ? call.request.resources() : call.request.allocations();
  DXG_CO_TRY(co_await call.driver.host().Ask(*device->adapter(), call.process->host_handle, request, &reply));
  co_return FromNtStatus(reply.status(), "OfferAllocations");
}

Task ReclaimAllocations2(CallOf<calls::ReclaimAllocations2>& call) {
  using Traits = calls::ReclaimAllocations2;
  DXG_CO_TRY(CheckCount(call.request.allocation_count()));
  DXG_CO_ASSIGN(const bool resources, ListIsOfResources(call));
  DXG_CO_ASSIGN(auto found, FindPagingQueueAndDevice(*call.process, call.request.paging_queue()));
  const auto adapter = found.device->adapter();
  DXG_CO_TRY(CheckActive(*adapter));
  DXG_CO_TRY(call.CopyIn(resources ? Traits::In::resources() : Traits::In::allocations()));
  const bool wants_results = call.AddressOf(Traits::Out::results()) != 0;
  host::ReclaimAllocations::Request request;
  host::ReclaimAllocations::Reply reply;
  request.set_device(found.device->handle.value);
  request.set_paging_queue(call.request.paging_queue());
  request.set_allocation_count(call.request.allocation_count());
  request.set_resources(resources);
  request.set_write_results(wants_results);
  *request.mutable_allocations() = resources ? call.request.resources() : call.request.allocations();
  DXG_CO_TRY(co_await call.driver.host().Ask(*adapter, call.process->host_handle, request, &reply));
  // The fence value goes back whatever the host said.
  call.reply.set_paging_fence_value(reply.paging_fence_value());
  DXG_CO_TRY(call.OutLate(Traits::Out::paging_fence_value));
  Status status = FromNtStatus(reply.status(), "ReclaimAllocations");
  if (!status.ok() || !wants_results) co_return status;
  *call.reply.mutable_results() = reply.results();
  DXG_CO_TRY(call.CopyOut(Traits::Out::results()));
  co_return Status::Ok();
}

Task SetAllocationPriority(CallOf<calls::SetAllocationPriority>& call) {
  using Traits = calls::SetAllocationPriority;
  DXG_CO_ASSIGN(auto device, call.process->FindDevice(call.request.device()));
  DXG_CO_TRY(CheckActive(*device->adapter()));
  DXG_CO_TRY(CheckLong(call.request.allocation_count()));
  DXG_CO_TRY(CheckResourceOrList(call.request.resource(), call.request.allocation_count()));
  host::SetAllocationPriority::Request request;
  host::SetAllocationPriority::Reply reply;
  if (call.request.resource() == 0) {
    DXG_CO_TRY(call.CopyIn({&Traits::In::allocation_list(), &Traits::In::priorities()}));
    *request.mutable_priorities() = call.request.priorities();
  } else {
    // One priority for all of the resource, whatever the count says.
    uint32_t priority = 0;
    const uint64_t address = call.AddressOf(Traits::In::priorities());
    if (!call.access().Read(call.tid(), address, std::as_writable_bytes(std::span(&priority, 1)))) {
      co_return Status::Refuse(EFAULT, "priorities at {:#x} cannot be read", address);
    }
    call.request.add_priorities(priority);
    request.add_priorities(priority);
  }
  request.set_device(call.request.device());
  request.set_resource(call.request.resource());
  request.set_allocation_count(call.request.allocation_count());
  *request.mutable_allocations() = call.request.allocation_list();
  DXG_CO_TRY(co_await call.driver.host().Ask(*device->adapter(), call.process->host_handle, request, &reply));
  co_return FromNtStatus(reply.status(), "SetAllocationPriority");
}

Task GetAllocationPriority(CallOf<calls::GetAllocationPriority>& call) {
  using Traits = calls::GetAllocationPriority;
  DXG_CO_ASSIGN(auto device, call.process->FindDevice(call.request.device()));
  DXG_CO_TRY(CheckActive(*device->adapter()));
  DXG_CO_TRY(CheckLong(call.request.allocation_count()));
  DXG_CO_TRY(CheckResourceOrList(call.request.resource(), call.request.allocation_count()));
  if (call.request.resource() == 0) DXG_CO_TRY(call.CopyIn(Traits::In::allocation_list()));
  host::GetAllocationPriority::Request request;
  host::GetAllocationPriority::Reply reply;
  request.set_device(call.request.device());
  request.set_resource(call.request.resource());
  request.set_allocation_count(call.request.allocation_count());
  *request.mutable_allocations() = call.request.allocation_list();
  DXG_CO_TRY(co_await call.driver.host().Ask(*device->adapter(), call.process->host_handle, request, &reply));
  DXG_CO_TRY(FromNtStatus(reply.status(), "GetAllocationPriority"));
  *call.reply.mutable_priorities() = reply.priorities();
  co_return call.CopyOut(Traits::Out::priorities());
}

Task QueryAllocationResidency(CallOf<calls::QueryAllocationResidency>& call) {
  using Traits = calls::QueryAllocationResidency;
  DXG_CO_TRY(CheckResourceOrList(call.request.resource(), call.request.allocation_count()));
  DXG_CO_ASSIGN(auto device, call.process->FindDevice(call.request.device()));
  DXG_CO_TRY(CheckActive(*device->adapter()));
  DXG_CO_TRY(CheckLong(call.request.allocation_count()));
  DXG_CO_TRY(call.CopyIn(Traits::In::allocations()));
  host::QueryAllocationResidency::Request request;
  host::QueryAllocationResidency::Reply reply;
  request.set_device(call.request.device());
  request.set_resource(call.request.resource());
  request.set_allocation_count(call.request.allocation_count());
  request.set_reserved(call.request.reserved());
  *request.mutable_allocations() = call.request.allocations();
  DXG_CO_TRY(co_await call.driver.host().Ask(*device->adapter(), call.process->host_handle, request, &reply));
  DXG_CO_TRY(FromNtStatus(reply.status(), "QueryAllocationResidency"));
  *call.reply.mutable_residency_status() = reply.residency_status();
  co_return call.CopyOut(Traits::Out::residency_status());
}

Task UpdateAllocProperty(CallOf<calls::UpdateAllocProperty>& call) {
  DXG_CO_ASSIGN(auto found, FindPagingQueueAndDevice(*call.process, call.request.paging_queue()));
  const auto adapter = found.device->adapter();
  DXG_CO_TRY(CheckActive(*adapter));
  host::UpdateAllocationProperty::Request request;
  host::UpdateAllocationProperty::Reply reply;
  request.set_paging_queue(call.request.paging_queue());
  request.set_allocation(call.request.allocation());
  request.set_supported_segment_set(call.request.supported_segment_set());
  request.set_preferred_segment(call.request.preferred_segment());
  request.set_flags(call.request.flags());
  request.set_paging_fence_value(call.request.paging_fence_value());
  request.set_property_mask(call.request.property_mask_value());
  DXG_CO_TRY(co_await call.driver.host().Ask(*adapter, call.process->host_handle, request, &reply));
  Status status = FromNtStatus(reply.status(), "UpdateAllocationProperty");
  if (status.value() != kStatusPending) co_return status;
  call.reply.set_paging_fence_value(reply.paging_fence_value());
  DXG_CO_TRY(call.OutLate(calls::UpdateAllocProperty::Out::paging_fence_value));
  co_return status;
}

}  // namespace dxg::guest::handlers
