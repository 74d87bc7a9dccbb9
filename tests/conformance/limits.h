#pragma once

#include <cstdint>

// Limits of the interface that more than one test goes up to.

namespace dxg::conformance {

inline constexpr uint32_t kMessageMax =
    131072;  // bytes of private data, by the first check; the message must fit too
inline constexpr uint32_t kEnumAdapters3Max = 0xffff;
inline constexpr uint32_t kObjectsMax = 32;
inline constexpr uint32_t kContextsMax = 64;
inline constexpr uint32_t kOperationsMax = 2048;  // of one UpdateGpuVirtualAddress
inline constexpr uint64_t kReserveUnit = 65536;   // bytes

}  // namespace dxg::conformance
