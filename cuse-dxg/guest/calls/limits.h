#pragma once

#include <cstdint>

namespace dxg::guest::handlers {

inline constexpr uint32_t kSignaledObjectsMax = 32;    // D3DDDI_MAX_OBJECT_SIGNALED
inline constexpr uint32_t kWaitedObjectsMax = 32;      // D3DDDI_MAX_OBJECT_WAITED_ON
inline constexpr uint32_t kBroadcastContextsMax = 64;  // D3DDDI_MAX_BROADCAST_CONTEXT
inline constexpr uint32_t kObjectListMax =
    131072;  // the driver's, for calls that take a list in the client's memory

}  // namespace dxg::guest::handlers
