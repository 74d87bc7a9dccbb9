#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

// Numbers in the published structs, which are little-endian and unaligned for us. The caller has checked that
// `at` and the number's size lie inside the bytes.

namespace dxg::hostsim {

using Bytes = std::span<uint8_t>;
using ConstBytes = std::span<const uint8_t>;

// Safety: char and uint8_t are both plain bytes.
inline Bytes BytesOf(std::string& bytes) { return {reinterpret_cast<uint8_t*>(bytes.data()), bytes.size()}; }
inline ConstBytes BytesOf(std::string_view bytes) {
  return {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()};
}

template <typename T>
void Put(Bytes bytes, size_t at, std::type_identity_t<T> value) {
  std::memcpy(bytes.data() + at, &value, sizeof(T));
}

template <typename T>
T Get(ConstBytes bytes, size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof(T));
  return value;
}

}  // namespace dxg::hostsim
