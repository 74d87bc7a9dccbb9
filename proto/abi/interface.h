#pragma once

#include <cstdint>

// Numbers of the interface between a guest and its host that no published header names. The golden records
// show them.

namespace dxg {

// The largest message to the host and the largest answer in bytes, the transport's own header included.
inline constexpr uint32_t kMessageBytesMax = 131072;

// Versions of the VMBus interface: the newest that both sides here speak, and that of a host that names none.
inline constexpr uint32_t kInterfaceVersionNewest = 40;
inline constexpr uint32_t kInterfaceVersionOldest = 27;

// From this version on a message begins with a header of the transport.
inline constexpr uint32_t kTransportHeaderSince = 40;
inline constexpr uint32_t kTransportHeaderBytes = 16;

}  // namespace dxg
