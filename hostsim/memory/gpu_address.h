#pragma once

#include <cstdint>

#include "base/address.h"

namespace dxg::hostsim {

// Of the GPU virtual address space of one process on one adapter. Functions take one next to sizes, offsets
// and handles, and a swapped pair of those would compile if all were numbers.
using GpuAddress = Address<struct GpuSpace>;

// The unit is not 0.
constexpr bool IsMultipleOf(GpuAddress address, uint64_t unit) { return address.value % unit == 0; }

// Whether two ranges have a byte in common. Sizes are in bytes.
constexpr bool Overlap(GpuAddress a, uint64_t a_bytes, GpuAddress b, uint64_t b_bytes) {
  return a < b ? b - a < a_bytes : a - b < b_bytes;
}

}  // namespace dxg::hostsim
