// Escape: bytes to the adapter's driver and back. Two kinds the guest knows and answers itself, one it
// rewrites because it holds addresses of the client.
#include <cstring>

#include "cuse-dxg/guest/handlers.h"
#include "proto/contract/forward.gen.h"
#include "proto/dxg/host.pb.h"

namespace dxg::guest::handlers {
namespace {

constexpr uint32_t kDriverKnownEscape = 1u << 6;

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
      (call.request.flags() & kDriverKnownEscape) != 0) {
    uint32_t known = 0;
    if (call.request.priv_drv_data_size() < sizeof(known)) {
      co_return Status::Refuse(EINVAL, "priv_drv_data_size is {}; a known escape begins with its 4-byte type",
                               call.request.priv_drv_data_size());
    }
    if (!ReadAt(call, call.AddressOf(data), &known)) {
      co_return Status::Refuse(EFAULT, "priv_drv_data at {:#x} cannot be read", call.AddressOf(data));
    }
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
