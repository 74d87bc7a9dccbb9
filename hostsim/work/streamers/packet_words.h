#pragma once

#include <cstdint>

#include "hostsim/memory/gpu_address.h"

// What packets and commands of all vendors have in common: their fields, and how they compare.

namespace dxg::hostsim {

// Bits `low` to `high` of a word.
constexpr uint32_t Field(uint32_t word, unsigned low, unsigned high) {
  return (word >> low) & static_cast<uint32_t>((uint64_t{1} << (high - low + 1)) - 1);
}
constexpr bool Bit(uint32_t word, unsigned bit) { return Field(word, bit, bit) != 0; }

// The low bits of an address may say something else, or nothing.
constexpr GpuAddress AlignedDown(uint64_t address, uint64_t unit) {
  return GpuAddress(address - address % unit);
}

// The function of a wait or of a conditional write. 7 is reserved, and no engine is said to do anything but
// to go on.
template <class T>
constexpr bool Compares(uint32_t function, T value, T reference) {
  switch (function) {
    case 1:
      return value < reference;
    case 2:
      return value <= reference;
    case 3:
      return value == reference;
    case 4:
      return value != reference;
    case 5:
      return value >= reference;
    case 6:
      return value > reference;
    default:
      return true;
  }
}

}  // namespace dxg::hostsim
