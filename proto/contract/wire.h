#pragma once

#include <google/protobuf/repeated_field.h>

#include <algorithm>
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

// The first `size` bytes of a run, or all of a shorter one. Without bytes `out` may be null: a reply can be
// empty.
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

// The first `count` numbers of a list; zeros are there already where it has fewer.
template <typename T>
inline void PutNumbers(const google::protobuf::RepeatedField<T>& in, uint64_t count, std::byte* out) {
  const uint64_t there = std::min<uint64_t>(count, in.size());
  if (there != 0) std::memcpy(out, in.data(), there * sizeof(T));
}

// As many of `count` numbers as there are.
template <typename T>
inline void GetNumbers(std::span<const std::byte> in, uint64_t offset, uint64_t count,
                       google::protobuf::RepeatedField<T>* out) {
  const uint64_t there = std::min<uint64_t>(count, offset < in.size() ? (in.size() - offset) / sizeof(T) : 0);
  out->Resize(static_cast<int>(there), 0);
  if (there != 0) std::memcpy(out->mutable_data(), in.data() + offset, there * sizeof(T));
}

template <class List, class Value>
inline uint64_t Sum(const List& list, Value value) {
  uint64_t sum = 0;
  for (const auto& each : list) sum += value(each);
  return sum;
}

inline uint64_t OrOne(uint64_t count, uint64_t other) { return count == 0 && other != 0 ? 1 : count; }

template <uint64_t kMultiple>
inline uint64_t RoundUp(uint64_t bytes) {
  return (bytes + kMultiple - 1) / kMultiple * kMultiple;
}

// A size far beyond any message stays far beyond it.
inline uint32_t Limit(uint64_t bytes) { return static_cast<uint32_t>(std::min<uint64_t>(bytes, ~0u)); }

}  // namespace dxg::contract::wire
