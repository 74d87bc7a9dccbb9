#pragma once

#include <cstdint>

namespace dxg {

// The most bytes that one end of a connection or channel keeps for a peer that does not take them, or in
// calls that the peer asked for and that are not answered yet. What happens beyond it is said where it is
// used.
inline constexpr uint64_t kBacklogBytesMax = 64u << 20;

}  // namespace dxg
