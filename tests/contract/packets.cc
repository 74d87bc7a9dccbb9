#include "tests/contract/packets.h"

#include <cstring>

namespace dxg::contract::packets {

Bytes FromHex(const std::string& hex) {
  Bytes bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2) {
    bytes.push_back(static_cast<std::byte>(std::stoul(hex.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

std::string ToHex(std::span<const std::byte> bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  for (std::byte byte : bytes) {
    hex += kDigits[std::to_integer<unsigned>(byte) >> 4];
    hex += kDigits[std::to_integer<unsigned>(byte) & 0xf];
  }
  return hex;
}

uint32_t NumberAt(std::span<const std::byte> bytes, size_t offset) {
  uint32_t value;
  std::memcpy(&value, bytes.data() + offset, sizeof(value));
  return value;
}

std::unique_ptr<Message> New(const Message* prototype) { return std::unique_ptr<Message>(prototype->New()); }

const google::protobuf::Descriptor* DescriptorOf(const CommandRow& command) {
  return command.request->GetDescriptor()->containing_type();
}
const CommandOptions& Options(const CommandRow& command) {
  return DescriptorOf(command)->options().GetExtension(dxg::command);
}
const WireRule& Wire(const FieldDescriptor* field) { return field->options().GetExtension(dxg::wire); }

std::vector<const FieldDescriptor*> TailsOf(const Message* message) {
  std::vector<const FieldDescriptor*> tails;
  for (int i = 0; i < message->GetDescriptor()->field_count(); ++i) {
    if (Wire(message->GetDescriptor()->field(i)).tail()) tails.push_back(message->GetDescriptor()->field(i));
  }
  return tails;
}

bool IsBytes(const FieldDescriptor* field) { return field->cpp_type() == FieldDescriptor::CPPTYPE_STRING; }
bool IsRecords(const FieldDescriptor* field) { return field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE; }

uint32_t WidthOf(const FieldDescriptor* field) {
  if (Wire(field).tail()) return 0;
  if (Wire(field).bytes() != 0) return Wire(field).bytes();
  return field->cpp_type() == FieldDescriptor::CPPTYPE_UINT64 ? 8 : 4;
}

std::string CountName(const FieldDescriptor* tail) {
  const std::string& count = Wire(tail).count();
  if (Wire(tail).rest()) return "";
  if (count.empty()) return tail->name() + "_size";
  return count.find('.') == std::string::npos ? count : "";
}

void SetNumber(Message* message, const std::string& name, uint32_t value) {
  if (const auto* field = message->GetDescriptor()->FindFieldByName(name))
    message->GetReflection()->SetUInt32(message, field, value);
}

void FillTail(Message* message, const FieldDescriptor* tail, size_t size) {
  const auto* reflection = message->GetReflection();
  if (IsBytes(tail)) return reflection->SetString(message, tail, std::string(size, 't'));
  for (size_t i = 0; i < size; ++i) {
    if (IsRecords(tail)) {
      reflection->AddMessage(message, tail);
    } else if (tail->cpp_type() == FieldDescriptor::CPPTYPE_UINT64) {
      reflection->AddUInt64(message, tail, i);
    } else {
      reflection->AddUInt32(message, tail, static_cast<uint32_t>(i));
    }
  }
}

Bytes Encoded(const CommandRow& command, const Message& request) {
  Bytes bytes(command.request_size(request));
  command.encode_request(request, bytes.data());
  return bytes;
}

Bytes EncodedReply(const CommandRow& command, const Message& request, const Message& reply,
                   uint32_t version) {
  Bytes bytes(command.reply_size(request, version));
  command.encode_reply(request, reply, version, bytes.data());
  return bytes;
}

std::unique_ptr<Message> RequestWithTail(const CommandRow& command, size_t size) {
  auto request = New(command.request);
  const auto* reflection = request->GetReflection();
  for (const FieldDescriptor* tail : TailsOf(command.request)) {
    const std::string name = CountName(tail);
    if (Wire(tail).rest()) {
      FillTail(request.get(), tail, size);
      continue;
    }
    if (!name.empty()) {
      FillTail(request.get(), tail, size);
      SetNumber(request.get(), name, static_cast<uint32_t>(size));
      continue;
    }
    const std::string& path = Wire(tail).count();
    const auto* list = request->GetDescriptor()->FindFieldByName(path.substr(0, path.find('.')));
    const int records = reflection->FieldSize(*request, list);
    for (int i = 0; i < records; ++i) {
      SetNumber(reflection->MutableRepeatedMessage(request.get(), list, i), path.substr(path.find('.') + 1),
                static_cast<uint32_t>(size));
    }
    FillTail(request.get(), tail, size * static_cast<size_t>(records));
  }
  return request;
}

}  // namespace dxg::contract::packets
