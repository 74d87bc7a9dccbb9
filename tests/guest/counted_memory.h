#pragma once

#include <cstdint>

namespace dxg::guest {

// What all allocations of this program come to, with what the allocator adds to each.
int64_t BytesInUse();

}  // namespace dxg::guest
