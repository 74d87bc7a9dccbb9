#pragma once

#include <cstdint>

#include "proto/abi/d3dkmthk.h"
#include "proto/abi/interface.h"
#include "proto/contract/numbers.gen.h"

// Limits of the interface that more than one test goes up to. A test that pins a limit to its number is
// tests/guest/refusals_test.cc.

namespace dxg::conformance {

inline constexpr uint32_t kMessageMax =
    kMessageBytesMax;  // bytes of private data, by the first check; the message must fit too
inline constexpr uint32_t kEnumAdapters3Max = limits::kEnumAdapters3AdaptersMax;
inline constexpr uint32_t kObjectsMax = D3DDDI_MAX_OBJECT_SIGNALED;
inline constexpr uint32_t kContextsMax = D3DDDI_MAX_BROADCAST_CONTEXT;
inline constexpr uint32_t kOperationsMax =
    limits::kUpdateGpuVirtualAddressOperationsMax;  // of one UpdateGpuVirtualAddress
inline constexpr uint64_t kReserveUnit = 65536;     // bytes

}  // namespace dxg::conformance
