#pragma once

#include <google/protobuf/message.h>

#include <string>

namespace dxg::trace {

// What stands for bytes that are left out: "<536 bytes 0123456789abcdef>", with XXH64. Equal bytes have equal
// hashes; of few possible bytes, such as a short name, the hash gives them away to whoever tries them all.
std::string Redacted(const std::string& bytes);

// Replaces all bytes and texts in a message and in those in it; empty ones stay.
void Redact(google::protobuf::Message* message);

}  // namespace dxg::trace
