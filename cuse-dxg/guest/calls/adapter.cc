// EnumAdapters2, EnumAdapters3, OpenAdapterFromLuid, CloseAdapter: how a process gets and gives back adapter
// handles. Each enumeration opens every adapter it reports: a new handle each time, which the caller has to
// close. EnumProcesses: who has an adapter open.
#include <span>

#include "cuse-dxg/guest/bring_in.h"
#include "cuse-dxg/guest/handlers.h"
#include "cuse-dxg/guest/teardown.h"
#include "proto/contract/numbers.gen.h"

namespace dxg::guest::handlers {
namespace {

constexpr uint64_t kIncludeComputeOnly = 1;

void CloseAll(Process& process, const std::vector<Handle>& handles) {
  // Handles that this very call opened: the process had the adapter open before, or its first device is still
  // to come.
  std::shared_ptr<ProcessAdapter> last;
  for (Handle handle : handles) (void)process.CloseAdapter(handle, &last);
}

template <class Reply>
std::vector<Handle> OpenInto(Reply* reply, Process& process,
                             const std::vector<std::shared_ptr<Adapter>>& adapters, bool compute_only) {
  std::vector<Handle> opened;
  for (const auto& adapter : adapters) {
    if (!adapter->active || (adapter->info.compute_only && !compute_only)) continue;
    const Handle handle = process.OpenAdapter(adapter);
    if (!handle) break;  // out of handles: the list is cut short, as the driver does
    opened.push_back(handle);
    auto* row = reply->add_adapters();
    row->set_adapter_handle(handle.value);
    row->set_adapter_luid(adapter->info.luid);
  }
  return opened;
}

// As the driver writes them, which is seen where the list crosses the end of a mapping. Returns how many it
// could.
size_t WriteOneByOne(CallOf<calls::EnumProcesses>& call, std::span<const uint32_t> pids) {
  const uint64_t address = call.AddressOf(calls::EnumProcesses::Out::buffer());
  size_t written = 0;
  while (written < pids.size() && call.access().Write(call.tid(), address + written * sizeof(uint32_t),
                                                      std::as_bytes(pids.subspan(written, 1))))
    ++written;
  return written;
}

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
  std::vector<uint32_t> pids;
  for (const auto& process : call.driver.Processes()) {
    if (process->HasOpen(*adapter) && process->identity.SharesNumbersWith(call.process->identity))
      pids.push_back(process->identity.own_pid);
  }
  call.reply.set_buffer_count(pids.size());
  const auto& buffer = calls::EnumProcesses::Out::buffer();
  if (pids.size() > call.request.buffer_count() || call.AddressOf(buffer) == 0) {
    return Status::Refuse(EOVERFLOW, "the buffer holds {} processes; there are {}",
                          call.request.buffer_count(), pids.size());
  }
  call.reply.mutable_buffer()->Assign(pids.begin(), pids.end());
  Status status = call.CopyOut(buffer);
  if (!status.ok()) call.reply.set_buffer_count(WriteOneByOne(call, pids));
  return status;
}

}  // namespace

Task EnumAdapters2(CallOf<calls::EnumAdapters2>& call) {
  const auto adapters = call.driver.Adapters();
  const auto& list = calls::EnumAdapters2::Out::adapters();
  if (call.AddressOf(list) == 0) {
    call.reply.set_num_adapters(adapters.size());
    co_return call.OutLateAll();
  }
  const uint32_t capacity = call.request.num_adapters();
  if (capacity < adapters.size()) {
    co_return Status::Refuse(EOVERFLOW, "num_adapters is {}; there are {} adapters", capacity,
                             adapters.size());
  }
  if (capacity > limits::kEnumAdapters2AdaptersMax) {
    co_return Status::Refuse(EINVAL, "num_adapters is {}; at most {} are allowed", capacity,
                             limits::kEnumAdapters2AdaptersMax);
  }
  const auto opened = OpenInto(&call.reply, *call.process, adapters, /*compute_only=*/false);
  call.reply.set_num_adapters(opened.size());
  Status status = call.OutNowAll();
  if (status.ok()) status = call.CopyOut(list);
  if (!status.ok()) CloseAll(*call.process, opened);
  co_return status;
}

Task EnumAdapters3(CallOf<calls::EnumAdapters3>& call) {
  const auto adapters = call.driver.Adapters();
  const auto& list = calls::EnumAdapters3::Out::adapters();
  const uint32_t capacity = call.request.adapter_count();
  const bool compute_only = (call.request.filter() & kIncludeComputeOnly) != 0;
  if (call.AddressOf(list) == 0 || capacity == 0) {
    call.reply.set_adapter_count(adapters.size());
    co_return call.OutLate(calls::EnumAdapters3::Out::adapter_count);
  }
  if (capacity > limits::kEnumAdapters3AdaptersMax) {
    co_return Status::Refuse(EINVAL, "adapter_count is {}; at most {} are allowed", capacity,
                             limits::kEnumAdapters3AdaptersMax);
  }
  size_t matching = 0;
  for (const auto& adapter : adapters)
    matching += adapter->active && (compute_only || !adapter->info.compute_only);
  if (matching > capacity) {
    // The driver runs over its array here. What it means to do: tell the number, give no list.
    call.reply.set_adapter_count(matching);
    co_return call.OutLate(calls::EnumAdapters3::Out::adapter_count);
  }
  const auto opened = OpenInto(&call.reply, *call.process, adapters, compute_only);
  call.reply.set_adapter_count(opened.size());
  Status status = call.OutNow(calls::EnumAdapters3::Out::adapter_count);
  if (status.ok()) status = call.CopyOut(list);
  if (!status.ok()) CloseAll(*call.process, opened);
  co_return status;
}

Task OpenAdapterFromLuid(CallOf<calls::OpenAdapterFromLuid>& call) {
  const uint64_t luid = call.request.adapter_luid();
  for (const auto& adapter : call.driver.Adapters()) {
    if (!adapter->active || adapter->info.luid != luid) continue;
    const Handle handle = call.process->OpenAdapter(adapter);
    if (!handle) co_return Status::Refuse(EINVAL, "this process has no adapter handle left");
    call.reply.set_adapter_handle(handle.value);
    Status status = call.OutNow(calls::OpenAdapterFromLuid::Out::adapter_handle);
    if (!status.ok()) CloseAll(*call.process, {handle});
    co_return status;
  }
  // With a handle on input the driver takes its own look-up for successful: it returns 0 and writes nothing.
  if (call.request.adapter_handle() != 0) co_return Status::Ok();
  co_return Status::Refuse(EINVAL, "no adapter has LUID {:08x}-{:08x}", luid >> 32, luid & 0xffffffff);
}

Task CloseAdapter(CallOf<calls::CloseAdapter>& call) {
  if (call.request.adapter_handle() == 0) co_return Status::Ok();
  std::shared_ptr<ProcessAdapter> last;
  DXG_CO_TRY(call.process->CloseAdapter({call.request.adapter_handle()}, &last));
  if (last == nullptr) co_return Status::Ok();
  std::vector<Arena::Mapping> unmap;
  TeardownInCall teardown(call.driver, call.process);
  (void)co_await EndAdapter(call.driver, teardown.turn, call.process, last, &unmap);
  co_return co_await TakeOut(call, std::move(unmap));
}

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

}  // namespace dxg::guest::handlers
