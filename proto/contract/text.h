#pragma once

#include <google/protobuf/message.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "proto/contract/answers.h"

namespace dxg::contract {

// "{adapter=0x40000000, flags=0x3(shared|nt_security_sharing), private_data="\x00\x00"...}": a message as
// people read it, by the formats that its fields declare in the contract and by the names that the published
// headers have for bits and values. Long bytes and lists are cut after `limit` elements.
std::string ToText(const google::protobuf::Message& message, size_t limit = 32);
// The same at the end of `out`, with the message that a field's bytes are in its place.
void AppendText(const google::protobuf::Message& message, size_t limit, const DecodedField& decoded,
                std::string* out);

// The names of the members of a call's struct that have an address in the client, in the order of
// row.addresses: "data", "info.monitored_fence.fence_cpu_virtual_address", "allocation_info".
const std::vector<std::string>& AddressNames(const CallRow& row);

// The name of a value of a field of that call's Request; null: it has none.
const char* ValueName(std::string_view call, const std::string& field, uint64_t value);

// "ENOTTY", "EINVAL", ...; a number for what has no name. `error` is a positive errno.
std::string ErrnoName(int error);

// "0", "-1 EINVAL (Invalid argument)", "0x103 STATUS_PENDING", "0xc000000d STATUS_INVALID_PARAMETER": the
// result of an ioctl, as Status::value() has it.
std::string ResultText(int32_t result);

}  // namespace dxg::contract
