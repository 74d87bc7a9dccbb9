#pragma once

#include <cstdint>

namespace dxg {

// The size of a page, here and in every guest of the x86-64 VMBus. (The node's own clients on other machines
// would need more.)
inline constexpr uint64_t kPageBytes = 4096;

}  // namespace dxg
