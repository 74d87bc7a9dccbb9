#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

// Members of the published structs, which are little-endian. What lies behind the end reads as 0.

namespace dxg::profile {

template <class T>
T Get(std::string_view bytes, size_t at) {
  T value{};
  if (at <= bytes.size() && sizeof(T) <= bytes.size() - at) std::memcpy(&value, bytes.data() + at, sizeof(T));
  return value;
}

template <class T>
void Put(std::string* bytes, size_t at, T value) {
  if (at <= bytes->size() && sizeof(T) <= bytes->size() - at)
    std::memcpy(bytes->data() + at, &value, sizeof(T));
}

// A field of UTF-16 up to its first NUL, as UTF-8, of at most `units_max` units; the field has `units`.
std::string GetText(std::string_view bytes, size_t at, size_t units, size_t units_max = SIZE_MAX);
void PutText(std::string* bytes, size_t at, std::string_view ascii);

}  // namespace dxg::profile
