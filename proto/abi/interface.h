#pragma once

#include <stdint.h>

// Numbers of the interface between a guest and its host that no published header names. The golden records
// show them.

enum dxg_interface {
  // The largest message to the host and the largest answer in bytes, the transport's own header included.
  DXG_MESSAGE_BYTES_MAX = 131072,

  // Versions of the VMBus interface: the newest that both sides here speak, that of a host that names none,
  // and the oldest with which the newest is compatible.
  DXG_INTERFACE_VERSION_NEWEST = 40,
  DXG_INTERFACE_VERSION_OLDEST = 27,
  DXG_INTERFACE_VERSION_LAST_COMPATIBLE = 16,

  // From this version on a message begins with a header of the transport.
  DXG_TRANSPORT_HEADER_SINCE = 40,
  DXG_TRANSPORT_HEADER_BYTES = 16,

  // A handle: 6 bits of instance, 24 bits of index, 2 bits that tell the lives of an index apart.
  DXG_HANDLE_INDEX_SHIFT = 6,
  DXG_HANDLE_INDEX_MASK = 0xFFFFFF,
  DXG_HANDLE_UNIQUE_SHIFT = 30,

  // The name of a process in CreateProcess: bytes of UTF-16, zeros after the end.
  DXG_PROCESS_NAME_BYTES = 522,

  // GetInternalAdapterInfo, bits: the host takes commands that it does not answer.
  DXG_ADAPTER_ASYNC_MESSAGES = 1 << 6,

  // FlushDevice, reason: the device ends.
  DXG_FLUSH_DEVICE_TERMINATE = 4,
};

// What a fence reads when nobody can signal it any more: its host or its device is gone.
#define DXG_FENCE_LOST UINT64_MAX

#ifdef __cplusplus
namespace dxg {

constexpr uint32_t kMessageBytesMax = DXG_MESSAGE_BYTES_MAX;
constexpr uint32_t kInterfaceVersionNewest = DXG_INTERFACE_VERSION_NEWEST;
constexpr uint32_t kInterfaceVersionOldest = DXG_INTERFACE_VERSION_OLDEST;
constexpr uint32_t kInterfaceVersionLastCompatible = DXG_INTERFACE_VERSION_LAST_COMPATIBLE;
constexpr uint32_t kTransportHeaderSince = DXG_TRANSPORT_HEADER_SINCE;
constexpr uint32_t kTransportHeaderBytes = DXG_TRANSPORT_HEADER_BYTES;
constexpr uint32_t kHandleIndexShift = DXG_HANDLE_INDEX_SHIFT;
constexpr uint32_t kHandleIndexMask = DXG_HANDLE_INDEX_MASK;
constexpr uint32_t kHandleUniqueShift = DXG_HANDLE_UNIQUE_SHIFT;
constexpr uint32_t kProcessNameBytes = DXG_PROCESS_NAME_BYTES;
constexpr uint32_t kAdapterAsyncMessages = DXG_ADAPTER_ASYNC_MESSAGES;
constexpr uint32_t kFlushDeviceTerminate = DXG_FLUSH_DEVICE_TERMINATE;
constexpr uint64_t kFenceLost = DXG_FENCE_LOST;

}  // namespace dxg
#endif
