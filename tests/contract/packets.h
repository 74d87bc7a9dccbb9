#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "proto/contract/host_commands.gen.h"

// Commands to the host as bytes, and requests of any length made from the table's descriptors.

namespace dxg::contract::packets {

using google::protobuf::FieldDescriptor;

using Bytes = std::vector<std::byte>;

inline constexpr uint32_t kOldVersion = 27,
                          kVersion = 40;  // the interface versions that look different on the bus
inline constexpr size_t kExtHeader = 16, kCommandHeader = 24;

Bytes FromHex(const std::string& hex);
std::string ToHex(std::span<const std::byte> bytes);
uint32_t NumberAt(std::span<const std::byte> bytes, size_t offset);

std::unique_ptr<Message> New(const Message* prototype);
const google::protobuf::Descriptor* DescriptorOf(const CommandRow& command);
const CommandOptions& Options(const CommandRow& command);
const WireRule& Wire(const FieldDescriptor* field);

std::vector<const FieldDescriptor*> TailsOf(const Message* message);
bool IsBytes(const FieldDescriptor* field);
bool IsRecords(const FieldDescriptor* field);
// The room of a field at its fixed place.
uint32_t WidthOf(const FieldDescriptor* field);
// The name of the field that says how long a tail is, in the same message; empty: it is a sum, or the request
// says it.
std::string CountName(const FieldDescriptor* tail);
void SetNumber(Message* message, const std::string& name, uint32_t value);
// Makes a tail `size` elements long.
void FillTail(Message* message, const FieldDescriptor* tail, size_t size);

// The whole command without ext header: a header of zeroes and what encode_request wrote behind it.
Bytes Encoded(const CommandRow& command, const Message& request);
Bytes EncodedReply(const CommandRow& command, const Message& request, const Message& reply, uint32_t version);
// A request whose tails have `size` elements each, and that says so. Where a tail is as long as the records
// of a list add up to, each of them says `size`.
std::unique_ptr<Message> RequestWithTail(const CommandRow& command, size_t size);

}  // namespace dxg::contract::packets
