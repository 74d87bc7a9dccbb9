#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

// Memory that is bad in a chosen way, to test what a call does with its pointers.

namespace dxg::conformance {

// Never mapped by a Linux process.
inline constexpr uint64_t kUnmappedAddress = 0x1000;
inline constexpr uint64_t kKernelAddress = 0xffff800000000000;

// Zeroed memory of `bytes` bytes that ends exactly where an unmapped page begins:
//
//    ... page | ........[bytes] | unmapped page
//                       ^ address()
class GuardedMemory {
 public:
  explicit GuardedMemory(size_t bytes);
  GuardedMemory(const GuardedMemory&) = delete;
  GuardedMemory& operator=(const GuardedMemory&) = delete;
  ~GuardedMemory();

  std::span<std::byte> bytes() { return {start_, bytes_}; }
  template <typename T>
  T* as() {
    return reinterpret_cast<T*>(
        start_);  // Safety: page memory; callers ask for exactly sizeof(T) or an array of it
  }
  uint64_t address() const { return reinterpret_cast<uintptr_t>(start_); }
  // The last byte is not there.
  uint64_t one_byte_short() const { return address() + 1; }

  void MakeReadOnly();

 private:
  size_t bytes_;
  size_t mapped_;
  std::byte* mapping_;
  std::byte* start_;
};

}  // namespace dxg::conformance
