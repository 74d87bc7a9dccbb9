#pragma once

#include <compare>
#include <cstdint>

// Addresses of different spaces do not mix: each is a type, made from a number on purpose.

namespace dxg {

template <class Space>
struct Address {
  constexpr Address() = default;
  constexpr explicit Address(uint64_t value) : value(value) {}

  friend constexpr auto operator<=>(Address, Address) = default;
  friend constexpr Address operator+(Address address, uint64_t bytes) {
    return Address(address.value + bytes);
  }
  friend constexpr Address operator-(Address address, uint64_t bytes) {
    return Address(address.value - bytes);
  }
  constexpr Address& operator+=(uint64_t bytes) { return *this = *this + bytes; }
  // In bytes.
  friend constexpr uint64_t operator-(Address end, Address begin) { return end.value - begin.value; }
  constexpr explicit operator bool() const { return value != 0; }

  uint64_t value = 0;
};

// Of memory of the host, as the guest sees it: what a host names in its replies.
using WindowAddress = Address<struct WindowSpace>;
// Of a client's address space.
using ClientAddress = Address<struct ClientSpace>;

}  // namespace dxg
