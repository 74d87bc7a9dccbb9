// Allocations that the host may discard, and their priorities: OfferAllocations, ReclaimAllocations2,
// SetAllocationPriority. The guest checks counts and owners; which allocations a list names is the host's to
// check.
#include "cuse-dxg/guest/handlers.h"
#include "cuse-dxg/guest/nt_status.h"
#include "proto/contract/forward.gen.h"
#include "proto/contract/numbers.gen.h"
#include "proto/dxg/host.pb.h"

namespace dxg::guest::handlers {
namespace {

Status CheckListCount(uint32_t count, uint32_t max) {
  if (count != 0 && count <= max) return Status::Ok();
  return Status::Refuse(EINVAL, "the list has {} allocations; expected 1 to {}", count, max);
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
  if (count <= limits::kSetAllocationPriorityPrioritiesMax) return Status::Ok();
  return Status::Refuse(EINVAL, "the list has {} allocations; at most {}", count,
                        limits::kSetAllocationPriorityPrioritiesMax);
}

}  // namespace

Task OfferAllocations(CallOf<calls::OfferAllocations>& call) {
  using Traits = calls::OfferAllocations;
  DXG_CO_TRY(CheckListCount(call.request.allocation_count(), limits::kOfferAllocationsAllocationsMax));
  DXG_CO_ASSIGN(const bool resources, ListIsOfResources(call));
  DXG_CO_ASSIGN(auto device, call.process->FindDevice(call.request.device()));
  DXG_CO_TRY(CheckActive(*device->adapter()));
  DXG_CO_TRY(call.CopyIn(resources ? Traits::In::resources() : Traits::In::allocations()));
  host::OfferAllocations::Request request;
  host::OfferAllocations::Reply reply;
  calls::ToHost(call.request, &request);
  request.set_resources(resources);
  *request.mutable_allocations() = resources ? call.request.resources() : call.request.allocations();
  DXG_CO_TRY(co_await call.driver.host().Ask(*device->adapter(), call.process->host_handle, request, &reply));
  co_return FromNtStatus(reply.status(), "OfferAllocations");
}

Task ReclaimAllocations2(CallOf<calls::ReclaimAllocations2>& call) {
  using Traits = calls::ReclaimAllocations2;
  DXG_CO_TRY(CheckListCount(call.request.allocation_count(), limits::kReclaimAllocations2AllocationsMax));
  DXG_CO_ASSIGN(const bool resources, ListIsOfResources(call));
  DXG_CO_ASSIGN(auto found, FindPagingQueueAndDevice(*call.process, call.request.paging_queue()));
  const auto adapter = found.device->adapter();
  DXG_CO_TRY(CheckActive(*adapter));
  DXG_CO_TRY(call.CopyIn(resources ? Traits::In::resources() : Traits::In::allocations()));
  const bool wants_results = call.AddressOf(Traits::Out::results()) != 0;
  host::ReclaimAllocations::Request request;
  host::ReclaimAllocations::Reply reply;
  calls::ToHost(call.request, &request);
  request.set_device(found.device->handle.value);
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
  } else {
    // One priority for all of the resource, whatever the count says.
    uint32_t priority = 0;
    const uint64_t address = call.AddressOf(Traits::In::priorities());
    if (!call.access().Read(call.tid(), address, std::as_writable_bytes(std::span(&priority, 1)))) {
      co_return Status::Refuse(EFAULT, "priorities at {:#x} cannot be read", address);
    }
    call.request.add_priorities(priority);
  }
  calls::ToHost(call.request, &request);
  DXG_CO_TRY(co_await call.driver.host().Ask(*device->adapter(), call.process->host_handle, request, &reply));
  co_return FromNtStatus(reply.status(), "SetAllocationPriority");
}

}  // namespace dxg::guest::handlers
