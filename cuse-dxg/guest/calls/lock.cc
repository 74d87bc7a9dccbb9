// CPU access to allocations: Lock2, Unlock2.
#include "base/page.h"
#include "cuse-dxg/guest/bring_in.h"
#include "cuse-dxg/guest/handlers.h"
#include "cuse-dxg/guest/nt_status.h"
#include "proto/contract/forward.gen.h"
#include "proto/dxg/host.pb.h"

namespace dxg::guest::handlers {
namespace {

// Written at once: where it fails, the lock is taken back.
Status PutAddress(CallOf<calls::Lock2>& call, const Allocation& allocation, uint64_t address) {
  call.NameMemory({address, allocation.pages * kPageBytes, call.request.allocation()});
  call.SetAddress(calls::Lock2::Address::data, address);
  return call.OutNow(calls::Lock2::Address::data);
}

}  // namespace

Task Lock2(CallOf<calls::Lock2>& call) {
  DXG_CO_ASSIGN(auto allocation, call.process->FindAllocation(call.request.allocation()));
  if (const uint64_t address = call.process->Lock(*allocation)) {
    // Not even the device handle is looked at.
    Status status = PutAddress(call, *allocation, address);
    bool last = false;
    if (!status.ok() && !allocation->existing_memory) (void)call.process->Unlock(*allocation, &last);
    co_return status;
  }
  DXG_CO_ASSIGN(auto device, call.process->FindDevice(call.request.device()));
  DXG_CO_TRY(CheckActive(*device->adapter()));
  host::Lock2::Request request;
  host::Lock2::Reply reply;
  calls::ToHost(call.request, &request);
  DXG_CO_TRY(co_await call.driver.host().Ask(*device->adapter(), call.process->host_handle, request, &reply));
  DXG_CO_TRY(FromNtStatus(reply.status(), "Lock2"));

  const WindowAddress window(reply.cpu_visible_buffer_offset());
  DXG_CO_ASSIGN(const ClientAddress mapped, co_await BringIn(call, window, allocation->pages * kPageBytes));
  // It may have ended meanwhile.
  if (auto again = call.process->FindAllocation(call.request.allocation());
      !again.ok() || *again != allocation) {
    std::vector<Arena::Mapping> unmap;
    if (auto mapping = call.process->arena().Release(window)) unmap.push_back(*mapping);
    (void)co_await TakeOut(call, std::move(unmap));
    co_return Status::Refuse(EINVAL, "allocation {:#x} was destroyed while it was locked",
                             call.request.allocation());
  }
  Status status = PutAddress(call, *allocation, call.process->Locked(*allocation, mapped, window));
  bool last = false;
  if (!status.ok()) (void)call.process->Unlock(*allocation, &last);
  co_return status;
}

Task Unlock2(CallOf<calls::Unlock2>& call) {
  DXG_CO_ASSIGN(auto allocation, call.process->FindAllocation(call.request.allocation()));
  bool last = false;
  DXG_CO_TRY(call.process->Unlock(*allocation, &last));
  if (!last) co_return Status::Ok();
  DXG_CO_ASSIGN(auto device, call.process->FindDevice(call.request.device()));
  DXG_CO_TRY(CheckActive(*device->adapter()));
  host::Unlock2::Request request;
  host::Unlock2::Reply reply;
  calls::ToHost(call.request, &request);
  DXG_CO_TRY(co_await call.driver.host().Ask(*device->adapter(), call.process->host_handle, request, &reply));
  co_return FromNtStatus(reply.status(), "Unlock2");
}

}  // namespace dxg::guest::handlers
