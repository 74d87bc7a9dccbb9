#pragma once

#include <stdint.h>

// Numbers of the interface between a guest and its host that no published header names. The golden records
// show them.

enum dxg_interface {
  // The largest message to the host and the largest answer in bytes, the transport's own header included.
  DXG_MESSAGE_BYTES_MAX = 131072,

  // Versions of the VMBus interface: the newest that both sides here speak, and that of a host that names
  // none.
  DXG_INTERFACE_VERSION_NEWEST = 40,
  DXG_INTERFACE_VERSION_OLDEST = 27,

  // From this version on a message begins with a header of the transport.
  DXG_TRANSPORT_HEADER_SINCE = 40,
  DXG_TRANSPORT_HEADER_BYTES = 16,
};

#ifdef __cplusplus
namespace dxg {

constexpr uint32_t kMessageBytesMax = DXG_MESSAGE_BYTES_MAX;
constexpr uint32_t kInterfaceVersionNewest = DXG_INTERFACE_VERSION_NEWEST;
constexpr uint32_t kInterfaceVersionOldest = DXG_INTERFACE_VERSION_OLDEST;
constexpr uint32_t kTransportHeaderSince = DXG_TRANSPORT_HEADER_SINCE;
constexpr uint32_t kTransportHeaderBytes = DXG_TRANSPORT_HEADER_BYTES;

}  // namespace dxg
#endif
