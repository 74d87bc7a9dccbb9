// GPU virtual addresses: ReserveGpuVirtualAddress, UpdateGpuVirtualAddress. The host decides what a range may
// be.
#include "cuse-dxg/guest/handlers.h"
#include "cuse-dxg/guest/nt_status.h"
#include "proto/contract/forward.gen.h"
#include "proto/contract/numbers.gen.h"
#include "proto/dxg/host.pb.h"

namespace dxg::guest::handlers {
namespace {

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
  calls::ToHost(call.request, &request);
  request.set_adapter(place.host_name);
  DXG_CO_TRY(co_await call.driver.host().Ask(*place.adapter, call.process->host_handle, request, &reply));
  call.reply.set_virtual_address(reply.virtual_address());
  co_return call.OutLate(calls::ReserveGpuVirtualAddress::Out::virtual_address);
}

Task UpdateGpuVirtualAddress(CallOf<calls::UpdateGpuVirtualAddress>& call) {
  DXG_CO_ASSIGN(auto device, call.process->FindDevice(call.request.device()));
  DXG_CO_TRY(CheckActive(*device->adapter()));
  const uint32_t count = call.request.num_operations();
  if (count == 0 || count > limits::kUpdateGpuVirtualAddressOperationsMax) {
    co_return Status::Refuse(EINVAL, "num_operations is {}; expected 1 to {}", count,
                             limits::kUpdateGpuVirtualAddressOperationsMax);
  }
  std::vector<std::byte> raw;
  DXG_CO_TRY(call.CopyIn(calls::UpdateGpuVirtualAddress::In::operations(), &raw));
  host::UpdateGpuVirtualAddress::Request request;
  host::UpdateGpuVirtualAddress::Reply reply;
  calls::ToHost(call.request, &request);
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
