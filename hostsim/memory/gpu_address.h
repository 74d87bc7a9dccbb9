#pragma once

#include <compare>
#include <cstdint>

namespace dxg::hostsim {

// A GPU virtual address of one process on one adapter. It is a type of its own, because functions take it
// next to sizes, offsets and handles, and a swapped pair of those would compile. Distances are in bytes.
class GpuAddress {
 public:
  constexpr GpuAddress() = default;
  constexpr explicit GpuAddress(uint64_t value) : value_(value) {}

  constexpr uint64_t value() const { return value_; }
  // The unit is not 0.
  constexpr bool IsMultipleOf(uint64_t unit) const { return value_ % unit == 0; }

  friend constexpr auto operator<=>(GpuAddress, GpuAddress) = default;
  friend constexpr GpuAddress operator+(GpuAddress address, uint64_t bytes) {
    return GpuAddress(address.value_ + bytes);
  }
  friend constexpr GpuAddress operator-(GpuAddress address, uint64_t bytes) {
    return GpuAddress(address.value_ - bytes);
  }
  friend constexpr uint64_t operator-(GpuAddress end, GpuAddress start) { return end.value_ - start.value_; }
  constexpr GpuAddress& operator+=(uint64_t bytes) { return *this = *this + bytes; }

 private:
  uint64_t value_ = 0;
};

// Whether two ranges have a byte in common. Sizes are in bytes.
constexpr bool Overlap(GpuAddress a, uint64_t a_bytes, GpuAddress b, uint64_t b_bytes) {
  return a < b ? b - a < a_bytes : a - b < b_bytes;
}

}  // namespace dxg::hostsim
