#pragma once

#include <google/protobuf/message.h>

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace dxg::contract {

// A message at the end of `out`, in the JSON form of protobuf, with the names of the .proto: numbers of 64
// bits are strings, bytes are Base64, fields that were not set are there with 0.
void AppendJson(const google::protobuf::Message& message, std::string* out);

// A string with its quotes. What is no UTF-8 becomes U+FFFD, and what is not ASCII is escaped.
void AppendJsonString(std::string_view text, std::string* out);

// Bytes as Base64, with quotes.
void AppendBase64(std::span<const std::byte> bytes, std::string* out);

}  // namespace dxg::contract
