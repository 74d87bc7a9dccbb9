#pragma once

#include <cstdint>

// What a guest and its host agree on through the configuration space of a virtual GPU, as it lies there. Only
// whole dwords:
//
//   0xC0  16 bytes  read: the instance of the virtual GPU's channel
//   0xD0   4        read: the host's interface version; written: the guest's choice
//   0xD4   8        read: the virtual GPU's LUID, low dword first
//          4        written: what the guest is able to
//   0xDC   4        read: what the host is able to

namespace dxg::vmbus {

inline constexpr uint32_t kPciVendor = 0x1414;
inline constexpr uint32_t kPciRender = 0x008E;
inline constexpr uint32_t kPciCompute = 0x008A;  // without a display: compute only

inline constexpr uint32_t kConfigChannel = 0xC0;
inline constexpr uint32_t kConfigVersion = 0xD0;
inline constexpr uint32_t kConfigLuid = 0xD4;
inline constexpr uint32_t kConfigGuestCaps = 0xD4;
inline constexpr uint32_t kConfigHostCaps = 0xDC;

inline constexpr uint32_t kGuestCapWsl2 = 1 << 0;
inline constexpr uint32_t kHostCapMapGuestMemory = 1 << 0;

}  // namespace dxg::vmbus
