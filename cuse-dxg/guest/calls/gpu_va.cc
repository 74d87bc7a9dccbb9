// GPU virtual addresses: ReserveGpuVirtualAddress, MapGpuVirtualAddress, FreeGpuVirtualAddress,
// UpdateGpuVirtualAddress. The guest forwards; what a range may be is the host's to say.
#include "cuse-dxg/guest/handlers.h"
#include "cuse-dxg/guest/nt_status.h"
#include "proto/abi/ntstatus.h"
#include "proto/dxg/host.pb.h"

namespace dxg::guest::handlers {
namespace {

constexpr uint32_t kOperationsMax = 2048;

// Where a reservation goes: named by an adapter or by a paging queue, tried in this order because the two
// kinds of handle may have the same value. `host_name` is how the host knows it.
struct ReserveTarget {
  std::shared_ptr<Adapter> adapter;
  uint32_t host_name;
};

Result<ReserveTarget> FindReserveTarget(Process& process, uint32_t handle) {
  if (auto held = process.FindAdapter(handle); held.ok()) {
    return ReserveTarget{(*held)->adapter, (*held)->adapter->info.host_handle};
  }
  auto found = FindPagingQueueAndDevice(process, handle);
  if (found.ok()) return ReserveTarget{found->device->adapter(), handle};
  return Status::Refuse(EINVAL, "{:#x} is neither an adapter nor a paging queue of this process", handle);
}

}  // namespace

Task ReserveGpuVirtualAddress(CallOf<calls::ReserveGpuVirtualAddress>& call) {
  DXG_CO_ASSIGN(auto place, FindReserveTarget(*call.process, call.request.adapter()));
  DXG_CO_TRY(CheckActive(*place.adapter));
  host::ReserveGpuVirtualAddress::Request request;
  host::ReserveGpuVirtualAddress::Reply reply;
  request.set_adapter(place.host_name);
  request.set_base_address(call.request.base_address());
  request.set_minimum_address(call.request.minimum_address());
  request.set_maximum_address(call.request.maximum_address());
  request.set_size(call.request.size());
  request.set_reservation_type(call.request.reservation_type());
  request.set_driver_protection(call.request.driver_protection());
  request.set_virtual_address(call.request.virtual_address());
  request.set_paging_fence_value(call.request.paging_fence_value());
  DXG_CO_TRY(co_await call.driver.host().Ask(*place.adapter, call.process->host_handle, request, &reply));
  call.reply.set_virtual_address(reply.virtual_address());
  co_return call.OutLate(calls::ReserveGpuVirtualAddress::Out::virtual_address);
}

Task MapGpuVirtualAddress(CallOf<calls::MapGpuVirtualAddress>& call) {
  DXG_CO_ASSIGN(auto found, FindPagingQueueAndDevice(*call.process, call.request.paging_queue()));
  const auto adapter = found.device->adapter();
  DXG_CO_TRY(CheckActive(*adapter));
  host::MapGpuVirtualAddress::Request request;
  host::MapGpuVirtualAddress::Reply reply;
  request.set_paging_queue(call.request.paging_queue());
  request.set_base_address(call.request.base_address());
  request.set_minimum_address(call.request.minimum_address());
  request.set_maximum_address(call.request.maximum_address());
  request.set_allocation(call.request.allocation());
  request.set_offset_in_pages(call.request.offset_in_pages());
  request.set_size_in_pages(call.request.size_in_pages());
  request.set_protection(call.request.protection());
  request.set_driver_protection(call.request.driver_protection());
  request.set_reserved0(call.request.reserved0());
  request.set_reserved1(call.request.reserved1());
  request.set_virtual_address(call.request.virtual_address());
  request.set_paging_fence_value(call.request.paging_fence_value());
  DXG_CO_TRY(co_await call.driver.host().Ask(*adapter, call.process->host_handle, request, &reply));
  Status status = FromNtStatus(reply.status(), "MapGpuVirtualAddress");
  if (!status.ok() || (status.value() != kStatusSuccess && status.value() != kStatusPending))
    co_return status;
  call.reply.set_virtual_address(reply.virtual_address());
  call.reply.set_paging_fence_value(reply.paging_fence_value());
  DXG_CO_TRY(call.OutLate(calls::MapGpuVirtualAddress::Out::paging_fence_value));
  DXG_CO_TRY(call.OutLate(calls::MapGpuVirtualAddress::Out::virtual_address));
  co_return status;
}

Task FreeGpuVirtualAddress(CallOf<calls::FreeGpuVirtualAddress>& call) {
  DXG_CO_ASSIGN(auto held, call.process->FindAdapter(call.request.adapter()));
  DXG_CO_TRY(CheckActive(*held->adapter));
  host::FreeGpuVirtualAddress::Request request;
  host::FreeGpuVirtualAddress::Reply reply;
  request.set_adapter(held->adapter->info.host_handle);
  request.set_reserved(call.request.reserved());
  request.set_base_address(call.request.base_address());
  request.set_size(call.request.size());
  DXG_CO_TRY(co_await call.driver.host().Ask(*held->adapter, call.process->host_handle, request, &reply));
  co_return FromNtStatus(reply.status(), "FreeGpuVirtualAddress");
}

Task UpdateGpuVirtualAddress(CallOf<calls::UpdateGpuVirtualAddress>& call) {
  DXG_CO_ASSIGN(auto device, call.process->FindDevice(call.request.device()));
  DXG_CO_TRY(CheckActive(*device->adapter()));
  const uint32_t count = call.request.num_operations();
  if (count == 0 || count > kOperationsMax) {
    co_return Status::Refuse(EINVAL, "num_operations is {}; expected 1 to {}", count, kOperationsMax);
  }
  std::vector<std::byte> raw;
  DXG_CO_TRY(call.CopyIn(calls::UpdateGpuVirtualAddress::In::operations(), &raw));
  host::UpdateGpuVirtualAddress::Request request;
  host::UpdateGpuVirtualAddress::Reply reply;
  request.set_fence_value(call.request.fence_value());
  request.set_device(call.request.device());
  request.set_context(call.request.context());
  request.set_fence_object(call.request.fence_object());
  request.set_num_operations(count);
  request.set_flags(call.request.flags());
  // Whole, as the driver does: it does not look at them.
  for (size_t at = 0; at < raw.size(); at += sizeof(d3dddi_updategpuvirtualaddress_operation)) {
    request.add_operations()->set_operation(raw.data() + at,
                                            sizeof(d3dddi_updategpuvirtualaddress_operation));
  }
  DXG_CO_TRY(co_await call.driver.host().Ask(*device->adapter(), call.process->host_handle, request, &reply));
  DXG_CO_TRY(FromNtStatus(reply.status(), "UpdateGpuVirtualAddress"));
  call.reply.set_fence_value(call.request.fence_value());
  co_return call.OutLate(calls::UpdateGpuVirtualAddress::Out::fence_value);
}

}  // namespace dxg::guest::handlers
