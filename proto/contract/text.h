#pragma once

#include <google/protobuf/message.h>

#include <algorithm>
#include <cstdint>
#include <span>
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

// What the members of a call's struct that have an address in the client are called, in the order of
// row.addresses: "data", "fence_cpu_virtual_address", "allocation_info".
struct AddressName {
  std::string name;
  const google::protobuf::FieldDescriptor* arm;  // of a union: the Request's field that says which one it is
};
const std::vector<AddressName>& AddressNames(const CallRow& row);

// Those that there are: not 0, of the union's arm that the Request has, each once. `shown` is called with
// name and address.
template <typename Shown>
void ForEachAddress(const CallRow& row, const google::protobuf::Message* request,
                    std::span<const uint64_t> addresses, const Shown& shown) {
  if (std::ranges::all_of(addresses, [](uint64_t address) { return address == 0; })) return;
  const std::vector<AddressName>& names = AddressNames(row);
  for (size_t i = 0; i < addresses.size() && i < names.size(); ++i) {
    const AddressName& name = names[i];
    if (addresses[i] == 0) continue;
    if (name.arm != nullptr &&
        (request == nullptr || !request->GetReflection()->HasField(*request, name.arm)))
      continue;
    // A buffer of the Reply can be one of the Request too.
    bool twice = false;
    for (size_t k = 0; k < i; ++k) twice |= names[k].name == name.name && addresses[k] == addresses[i];
    if (!twice) shown(name.name, addresses[i]);
  }
}

// The name of a value of a field of that call's Request; null: it has none.
const char* ValueName(std::string_view call, const std::string& field, uint64_t value);

// "ENOTTY", "EINVAL", ...; a number for what has no name. `error` is a positive errno.
std::string ErrnoName(int error);

// "0", "-1 EINVAL (Invalid argument)", "0x103 STATUS_PENDING", "0xc000000d STATUS_INVALID_PARAMETER": the
// result of an ioctl, as Status::value() has it.
std::string ResultText(int32_t result);

}  // namespace dxg::contract
