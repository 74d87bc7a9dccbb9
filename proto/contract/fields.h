#pragma once

#include <google/protobuf/repeated_field.h>

#include <cstring>
#include <string>

#include "proto/contract/contract.h"

// What generated codecs are made of, for members that are more than one number.

namespace dxg::contract {

// An array inside the struct: always carried whole, because only the guest knows how much of it counts.
template <size_t kOffset, size_t kSize, typename T>
inline void ReadInline(const std::byte* args, google::protobuf::RepeatedField<T>* field) {
  static_assert(kSize % sizeof(T) == 0);
  field->Resize(kSize / sizeof(T), 0);
  std::memcpy(field->mutable_data(), args + kOffset, kSize);
}

template <size_t kOffset, size_t kSize, typename T>
inline void WriteInline(std::byte* args, const google::protobuf::RepeatedField<T>& field) {
  const size_t bytes = field.size() * sizeof(T);
  if (bytes == 0) return;  // an empty field has no address
  std::memcpy(args + kOffset, field.data(), bytes < kSize ? bytes : kSize);
}

template <size_t kOffset, size_t kSize>
inline void ReadBytes(const std::byte* args, std::string* field) {
  field->resize(kSize);
  std::memcpy(field->data(), args + kOffset, kSize);
}

template <size_t kOffset, size_t kSize>
inline void WriteBytes(std::byte* args, const std::string& field) {
  std::memcpy(args + kOffset, field.data(), field.size() < kSize ? field.size() : kSize);
}

}  // namespace dxg::contract
