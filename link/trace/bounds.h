#pragma once

#include <google/protobuf/message.h>

#include <cstddef>
#include <string_view>

namespace dxg::trace {

inline constexpr size_t kLargeBytes = 64u << 10;
// Messages and unknown fields that a record or a call's message may have in all: more than the largest call.
inline constexpr size_t kPartsMax = 1u << 18;

// Whether bytes become a message without needing far more memory than they have: two bytes can be a message
// in a list, of a hundred. Bytes that are not large always do. True also of what cannot be parsed at all.
bool IsBounded(const google::protobuf::Message& message, std::string_view bytes);

}  // namespace dxg::trace
