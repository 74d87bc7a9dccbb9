// Who uses an adapter, and how much: EnumProcesses, QueryStatistics.
#include "cuse-dxg/guest/handlers.h"
#include "cuse-dxg/guest/nt_status.h"
#include "proto/dxg/host.pb.h"

namespace dxg::guest::handlers {
namespace {

// Fills the reply; what it returns is the call's result unless the count cannot be written.
Status ListProcesses(CallOf<calls::EnumProcesses>& call) {
  std::shared_ptr<Adapter> adapter;
  for (const auto& each : call.driver.Adapters()) {
    if (each->info.luid == call.request.adapter_luid()) adapter = each;
  }
  if (adapter == nullptr) {
    return Status::Refuse(EINVAL, "no adapter has LUID {:08x}-{:08x}", call.request.adapter_luid() >> 32,
                          call.request.adapter_luid() & 0xffffffff);
  }
  const uint64_t pid_namespace = call.access().PidNamespace(call.tid());
  std::vector<uint32_t> pids;
  for (const auto& process : call.driver.Processes()) {
    if (process->HasOpen(*adapter) && process->identity.pid_namespace == pid_namespace)
      pids.push_back(process->identity.own_pid);
  }
  call.reply.set_buffer_count(pids.size());
  const auto& buffer = calls::EnumProcesses::Out::buffer();
  if (pids.size() > call.request.buffer_count() || call.AddressOf(buffer) == 0) {
    return Status::Refuse(EOVERFLOW, "the buffer holds {} processes; there are {}",
                          call.request.buffer_count(), pids.size());
  }
  call.reply.mutable_buffer()->Assign(pids.begin(), pids.end());
  return call.CopyOut(buffer);
}

}  // namespace

Task EnumProcesses(CallOf<calls::EnumProcesses>& call) {
  Status status = ListProcesses(call);
  // The count is written in every case, its low half only.
  contract::Member low_half = calls::EnumProcesses::Out::buffer_count;
  low_half.size = 4;
  call.reply.set_buffer_count((call.request.buffer_count() & ~0xffffffffull) |
                              (call.reply.buffer_count() & 0xffffffff));
  DXG_CO_TRY(call.OutLate(low_half));
  co_return status;
}

Task QueryStatistics(CallOf<calls::QueryStatistics>& call) {
  uint32_t target = call.process->host_handle;
  if (call.request.process() != 0) {
    target = 0;
    for (const auto& process : call.driver.Processes()) {
      if (static_cast<uint64_t>(process->identity.own_pid) == call.request.process())
        target = process->host_handle;
    }
    if (target == 0) {
      co_return Status::Refuse(EINVAL, "process {} has not opened this node", call.request.process());
    }
  }
  std::shared_ptr<Adapter> adapter;
  for (const auto& each : call.driver.Adapters()) {
    if (each->active && each->info.luid == call.request.adapter_luid()) adapter = each;
  }
  if (adapter == nullptr) co_return Status::Ok();  // an unknown LUID is success without an answer

  host::QueryStatistics::Request request;
  host::QueryStatistics::Reply reply;
  request.set_type(call.request.type());
  request.set_adapter_luid(adapter->info.host_luid);
  request.set_result(call.request.result());
  request.set_selector(call.request.selector());
  DXG_CO_TRY(co_await call.driver.host().Ask(*adapter, target, request, &reply));
  DXG_CO_TRY(FromNtStatus(reply.status(), "QueryStatistics"));
  call.reply.set_process(0);
  call.reply.mutable_result()->swap(*reply.mutable_result());
  DXG_CO_TRY(call.OutLateAll());
  co_return Status::Ok();
}

}  // namespace dxg::guest::handlers
