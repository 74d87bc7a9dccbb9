// Questions to an adapter that the host answers: QueryAdapterInfo, QueryClockCalibration, QueryStatistics,
// IsFeatureEnabled.
// Escape: bytes to the adapter's driver and back. Two kinds the guest knows and answers itself, one it
// rewrites because it holds addresses of the client.
#include <algorithm>
#include <cstring>

#include "cuse-dxg/guest/handlers.h"
#include "cuse-dxg/guest/nt_status.h"
#include "proto/abi/flags.h"
#include "proto/contract/forward.gen.h"
#include "proto/dxg/host.pb.h"

namespace dxg::guest::handlers {
namespace {

// Members that lie side by side, to be written as one.
constexpr contract::Member Range(contract::Member first, contract::Member last) {
  return {first.offset, static_cast<uint16_t>(last.offset + last.size - first.offset)};
}

// The guest has its own view of what kind of adapter a virtual GPU is, and puts it over the host's answer.
void EditAdapterType(const Adapter& adapter, std::string* data) {
  constexpr uint32_t kDisplay = 1u << 1, kPost = 1u << 3, kIndirectDisplay = 1u << 6,
                     kParavirtualized = 1u << 7;
  constexpr uint32_t kAcg = 1u << 8, kTimingsFromVidpn = 1u << 9, kComputeOnly = 1u << 11;
  uint32_t type = 0;
  const size_t bytes = std::min(data->size(), sizeof(type));
  std::memcpy(&type, data->data(), bytes);
  type &= ~(kDisplay | kPost | kIndirectDisplay | kAcg | kTimingsFromVidpn | kComputeOnly);
  type |= kParavirtualized;
  if (adapter.info.compute_only) type |= kComputeOnly;
  std::memcpy(data->data(), &type, bytes);
}

}  // namespace

Task QueryAdapterInfo(CallOf<calls::QueryAdapterInfo>& call) {
  const uint32_t size = call.request.private_data_size();
  if (size == 0 || size > kMessageBytesMax) {
    co_return Status::Refuse(EINVAL, "private_data_size is {}; expected 1 to {}", size, kMessageBytesMax);
  }
  DXG_CO_ASSIGN(auto held, call.process->FindAdapter(call.request.adapter()));
  DXG_CO_TRY(CheckActive(*held->adapter));
  DXG_CO_TRY(call.CopyIn(calls::QueryAdapterInfo::In::private_data()));

  host::QueryAdapterInfo::Request request;
  host::QueryAdapterInfo::Reply reply;
  request.set_query_type(call.request.type());
  request.set_private_data_size(size);
  request.mutable_private_data()->swap(*call.request.mutable_private_data());
  Status transport =
      co_await call.driver.host().Ask(*held->adapter, call.process->host_handle, request, &reply);
  request.mutable_private_data()->swap(*call.request.mutable_private_data());
  DXG_CO_TRY(std::move(transport));
  DXG_CO_TRY(FromNtStatus(reply.status(), "QueryAdapterInfo"));

  auto* data = call.reply.mutable_private_data();
  data->swap(*reply.mutable_private_data());
  data->resize(
      size);  // a host that answers with more or less than was asked for does not change what is copied
  if (call.request.type() == _KMTQAITYPE_ADAPTERTYPE ||
      call.request.type() == _KMTQAITYPE_ADAPTERTYPE_RENDER) {
    EditAdapterType(*held->adapter, data);
  }
  DXG_CO_TRY(call.CopyOut(calls::QueryAdapterInfo::Out::private_data()));
  co_return Status::Ok();
}

Task QueryClockCalibration(CallOf<calls::QueryClockCalibration>& call) {
  DXG_CO_ASSIGN(auto held, call.process->FindAdapter(call.request.adapter()));
  DXG_CO_TRY(CheckActive(*held->adapter));

  calls::QueryClockCalibration::Reply before;  // what the caller had in the output fields travels along
  call.row.read_reply(call.args(), &before);
  host::QueryClockCalibration::Request request;
  host::QueryClockCalibration::Reply reply;
  calls::ToHost(call.request, &request);
  request.set_adapter(held->adapter->info.host_handle);
  request.set_gpu_frequency(before.gpu_frequency());
  request.set_gpu_clock_counter(before.gpu_clock_counter());
  request.set_cpu_clock_counter(before.cpu_clock_counter());
  request.set_flags(before.flags());
  DXG_CO_TRY(co_await call.driver.host().Ask(*held->adapter, call.process->host_handle, request, &reply));

  calls::FromHost(reply, &call.reply);
  // Written before the status is looked at: a caller gets clock data also with an error.
  using Out = calls::QueryClockCalibration::Out;
  constexpr contract::Member kClockData = Range(Out::gpu_frequency, Out::flags);
  DXG_CO_TRY(call.OutLate(kClockData));
  co_return FromNtStatus(reply.status(), "QueryClockCalibration");
}

Task IsFeatureEnabled(CallOf<calls::IsFeatureEnabled>& call) {
  DXG_CO_ASSIGN(auto held, call.process->FindAdapter(call.request.adapter()));
  DXG_CO_TRY(CheckActive(*held->adapter));

  host::IsFeatureEnabled::Request request;
  host::IsFeatureEnabled::Reply reply;
  calls::ToHost(call.request, &request);
  DXG_CO_TRY(co_await call.driver.host().Ask(*held->adapter, call.process->host_handle, request, &reply));
  if (reply.status() != 0) co_return FromNtStatus(reply.status(), "IsFeatureEnabled");
  calls::FromHost(reply, &call.reply);
  using Out = calls::IsFeatureEnabled::Out;
  constexpr contract::Member kResult = Range(Out::version, Out::value);
  // The driver returns the number of bytes it could not write instead of EFAULT.
  if (!call.OutNow(kResult).ok()) co_return Status(kResult.size);
  co_return Status::Ok();
}

Task QueryStatistics(CallOf<calls::QueryStatistics>& call) {
  uint32_t target = call.process->host_handle;
  if (call.request.process() != 0) {
    target = 0;
    for (const auto& process : call.driver.Processes()) {
      if (static_cast<uint64_t>(process->identity.own_pid) == call.request.process() &&
          process->identity.SharesNumbersWith(call.process->identity))
        target = process->host_handle;
    }
    if (target == 0) {
      co_return Status::Refuse(EINVAL, "no process {} of the caller's pid namespace has opened this node",
                               call.request.process());
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

// -- Escape --

namespace {

host::Escape::Request HostRequest(const CallOf<calls::Escape>& call, const Adapter& adapter) {
  host::Escape::Request request;
  calls::ToHost(call.request, &request);
  request.set_adapter(adapter.info.host_handle);
  return request;
}

template <typename T>
bool ReadAt(CallOf<calls::Escape>& call, uint64_t address, T* to) {
  return call.access().Read(call.tid(), address, std::as_writable_bytes(std::span(to, 1)));
}

// What was looked at of the private data, for those who record the call: all of it is copied in where it is
// for the host only.
template <typename T>
void KeepForRecord(CallOf<calls::Escape>& call, const T& seen) {
  call.request.set_priv_drv_data(&seen, sizeof(seen));
}

// A command buffer built by the driver for a test: a header in the private data points to two buffers of the
// client. The host gets one blob, header with the pointers zeroed, then the buffers.
Task BuildTestCommandBuffer(CallOf<calls::Escape>& call, std::shared_ptr<Adapter> adapter, uint64_t data) {
  d3dddi_buildtestcommandbuffer header{};
  if (call.request.priv_drv_data_size() < sizeof(header)) {
    co_return Status::Refuse(EINVAL, "priv_drv_data_size is {}; this escape has {} bytes",
                             call.request.priv_drv_data_size(), sizeof(header));
  }
  if (!ReadAt(call, data, &header))
    co_return Status::Refuse(EFAULT, "priv_drv_data at {:#x} cannot be read", data);
  KeepForRecord(call, header);
  if (header.dma_buffer_size < sizeof(uint32_t) || header.dma_buffer_size > D3DDDI_MAXTESTBUFFERSIZE ||
      header.dma_buffer_priv_data_size > D3DDDI_MAXTESTBUFFERPRIVATEDRIVERDATASIZE) {
    co_return Status::Refuse(EINVAL,
                             "dma_buffer_size is {} (4 to {}), dma_buffer_priv_data_size is {} (at most {})",
                             header.dma_buffer_size, D3DDDI_MAXTESTBUFFERSIZE,
                             header.dma_buffer_priv_data_size, D3DDDI_MAXTESTBUFFERPRIVATEDRIVERDATASIZE);
  }
  const uint64_t dma_buffer = header.dma_buffer, dma_priv_data = header.dma_buffer_priv_data;
  const uint64_t size_at = data + offsetof(d3dddi_buildtestcommandbuffer, dma_buffer_size);
  const uint64_t priv_size_at = data + offsetof(d3dddi_buildtestcommandbuffer, dma_buffer_priv_data_size);
  const size_t dma_size = header.dma_buffer_size, priv_size = header.dma_buffer_priv_data_size;
  header.dma_buffer = 0;
  header.dma_buffer_priv_data = 0;

  host::Escape::Request request = HostRequest(call, *adapter);
  host::Escape::Reply reply;
  std::string& blob = *request.mutable_priv_drv_data();
  blob.resize(sizeof(header) + dma_size + priv_size);
  std::memcpy(blob.data(), &header, sizeof(header));
  request.set_priv_drv_data_size(blob.size());
  DXG_CO_TRY(co_await call.driver.host().Ask(*adapter, call.process->host_handle, request, &reply));

  d3dddi_buildtestcommandbuffer answer{};
  std::memcpy(&answer, reply.priv_drv_data().data(), sizeof(answer));
  // The driver trusts the host's sizes and would run over; the buffers sent along are all there is.
  if (answer.dma_buffer_size > dma_size || answer.dma_buffer_priv_data_size > priv_size) {
    co_return Status::Refuse(EINVAL,
                             "the host answered with larger buffers ({}, {}) than it was given ({}, {})",
                             answer.dma_buffer_size, answer.dma_buffer_priv_data_size, dma_size, priv_size);
  }
  const auto bytes = std::as_bytes(std::span(reply.priv_drv_data()));
  const auto write = [&](uint64_t address, std::span<const std::byte> from) {
    return call.access().Write(call.tid(), address, from);
  };
  const auto dma = bytes.subspan(sizeof(answer), answer.dma_buffer_size);
  const auto priv = bytes.subspan(sizeof(answer) + dma_size, answer.dma_buffer_priv_data_size);
  if (!write(size_at, std::as_bytes(std::span(&answer.dma_buffer_size, 1))) ||
      !write(priv_size_at, std::as_bytes(std::span(&answer.dma_buffer_priv_data_size, 1))) ||
      !write(dma_buffer, dma) || (!priv.empty() && !write(dma_priv_data, priv))) {
    co_return Status::Refuse(EFAULT, "the answer of the test escape cannot be written");
  }
  co_return Status::Ok();
}

}  // namespace

Task Escape(CallOf<calls::Escape>& call) {
  DXG_CO_ASSIGN(auto held, call.process->FindAdapter(call.request.adapter()));
  const auto adapter = held->adapter;
  DXG_CO_TRY(CheckActive(*adapter));
  const auto& data = calls::Escape::In::priv_drv_data();

  if (call.request.type() == _D3DKMT_ESCAPE_DRIVERPRIVATE &&
      (call.request.flags() & DXG_ESCAPE_DRIVER_KNOWN) != 0) {
    uint32_t known = 0;
    if (call.request.priv_drv_data_size() < sizeof(known)) {
      co_return Status::Refuse(EINVAL, "priv_drv_data_size is {}; a known escape begins with its 4-byte type",
                               call.request.priv_drv_data_size());
    }
    if (!ReadAt(call, call.AddressOf(data), &known)) {
      co_return Status::Refuse(EFAULT, "priv_drv_data at {:#x} cannot be read", call.AddressOf(data));
    }
    KeepForRecord(call, known);
    // Handles are the host's own in the guest: there is nothing to translate.
    if (known == _D3DDDI_DRIVERESCAPETYPE_TRANSLATEALLOCATIONHANDLE ||
        known == _D3DDDI_DRIVERESCAPETYPE_TRANSLATERESOURCEHANDLE) {
      co_return Status::Ok();
    }
    if (known == _D3DDDI_DRIVERESCAPETYPE_BUILDTESTCOMMANDBUFFER) {
      co_return co_await BuildTestCommandBuffer(call, adapter, call.AddressOf(data));
    }
  }

  const uint32_t size = call.request.priv_drv_data_size();
  if (size > kMessageBytesMax) {
    co_return Status::Refuse(EINVAL, "priv_drv_data_size is {}; at most {} bytes are allowed", size,
                             kMessageBytesMax);
  }
  DXG_CO_TRY(call.CopyIn(data));
  host::Escape::Request request = HostRequest(call, *adapter);
  host::Escape::Reply reply;
  DXG_CO_TRY(co_await call.driver.host().Ask(*adapter, call.process->host_handle, request, &reply));
  // A refusal has no status on the way back; it shows as an answer that is too short.
  if (reply.priv_drv_data().size() < size) {
    co_return Status::Refuse(EOVERFLOW, "the host refused the escape: it answered with {} of {} bytes",
                             reply.priv_drv_data().size(), size);
  }
  call.reply.mutable_priv_drv_data()->swap(*reply.mutable_priv_drv_data());
  call.reply.mutable_priv_drv_data()->resize(size);
  if (Status status = call.CopyOut(calls::Escape::Out::priv_drv_data()); !status.ok())
    co_return Status::Refuse(EINVAL, "{}", status.why());
  co_return Status::Ok();
}

}  // namespace dxg::guest::handlers
