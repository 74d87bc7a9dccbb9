#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>

// Numbers and byte runs as they lie on the VMBus: little-endian, any alignment.

namespace dxg::contract::wire {

template <size_t kBytes>
inline void Put(std::byte* out, uint64_t value) {
  static_assert(kBytes <= 8);
  std::memcpy(out, &value, kBytes);
}

template <size_t kBytes>
inline uint64_t Get(const std::byte* in) {
  static_assert(kBytes <= 8);
  uint64_t value = 0;
  std::memcpy(&value, in, kBytes);
  return value;
}

// The first `size` bytes of a run, or all of a shorter one. Without bytes `out` may be null: a reply can be empty.
inline void PutBytes(const std::string& in, size_t size, std::byte* out) {
  const size_t bytes = size < in.size() ? size : in.size();
  if (bytes != 0) std::memcpy(out, in.data(), bytes);
}

// As many of `size` bytes as there are.
inline void GetBytes(std::span<const std::byte> in, size_t offset, size_t size, std::string* out) {
  const size_t there = offset < in.size() ? in.size() - offset : 0;
  const size_t bytes = size < there ? size : there;
  out->resize(bytes);
  if (bytes != 0) std::memcpy(out->data(), in.data() + offset, bytes);
}

}  // namespace dxg::contract::wire
