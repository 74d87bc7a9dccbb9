#include "proto/contract/answers.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "proto/contract/calls.gen.h"
#include "proto/dxg/answers.pb.h"

namespace dxg::contract {
namespace {

using answers::At;
using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Reflection;

struct Layout {
  const Descriptor* descriptor;
  uint32_t magic;
  size_t bytes;  // at least
};

const At& RuleOf(const FieldDescriptor* field) { return field->options().GetExtension(answers::at); }

size_t BytesOf(const FieldDescriptor* field) {
  const At& rule = RuleOf(field);
  if (rule.bytes() != 0) return rule.bytes();
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_STRING:
      return 0;
    case FieldDescriptor::CPPTYPE_UINT64:
      return 8;
    default:
      return 4;
  }
}

using Key = std::pair<std::string_view, uint64_t>;

const std::map<Key, Layout>& Layouts() {
  static const std::map<Key, Layout> layouts = [] {
    std::map<Key, Layout> made;
    const auto* file = answers::AnswerRule::descriptor()->file();
    for (int i = 0; i < file->message_type_count(); ++i) {
      const Descriptor* const descriptor = file->message_type(i);
      if (!descriptor->options().HasExtension(answers::answer)) continue;
      const auto& rule = descriptor->options().GetExtension(answers::answer);
      Layout layout{descriptor, rule.magic(), 0};
      for (int k = 0; k < descriptor->field_count(); ++k) {
        const At& at = RuleOf(descriptor->field(k));
        const size_t needed = at.when().empty() ? BytesOf(descriptor->field(k)) : 0;
        layout.bytes = std::max(layout.bytes, at.at() + needed);
      }
      for (const uint64_t type : rule.types()) made[{rule.call(), type}] = layout;
    }
    return made;
  }();
  return layouts;
}

uint64_t NumberAt(std::string_view bytes, size_t at, size_t size) {
  uint64_t number = 0;
  if (at < bytes.size())
    std::memcpy(&number, bytes.data() + at, std::min({size, bytes.size() - at, sizeof(number)}));
  return number;
}

void AppendUtf8(uint32_t rune, std::string* text) {
  if (rune < 0x80) {
    *text += static_cast<char>(rune);
  } else if (rune < 0x800) {
    *text += static_cast<char>(0xc0 | rune >> 6);
    *text += static_cast<char>(0x80 | (rune & 0x3f));
  } else if (rune < 0x10000) {
    *text += static_cast<char>(0xe0 | rune >> 12);
    *text += static_cast<char>(0x80 | (rune >> 6 & 0x3f));
    *text += static_cast<char>(0x80 | (rune & 0x3f));
  } else {
    *text += static_cast<char>(0xf0 | rune >> 18);
    *text += static_cast<char>(0x80 | (rune >> 12 & 0x3f));
    *text += static_cast<char>(0x80 | (rune >> 6 & 0x3f));
    *text += static_cast<char>(0x80 | (rune & 0x3f));
  }
}

// Up to its first NUL. Half a surrogate pair is U+FFFD.
std::string Utf16(std::string_view bytes) {
  constexpr uint32_t kReplacement = 0xfffd;
  std::string text;
  for (size_t at = 0; at + 1 < bytes.size(); at += 2) {
    uint32_t unit = static_cast<uint32_t>(NumberAt(bytes, at, 2));
    if (unit == 0) break;
    if (unit >= 0xd800 && unit < 0xdc00) {
      const auto low = static_cast<uint32_t>(NumberAt(bytes, at + 2, 2));
      if (low >= 0xdc00 && low < 0xe000) {
        unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
        at += 2;
      } else {
        unit = kReplacement;
      }
    } else if (unit >= 0xdc00 && unit < 0xe000) {
      unit = kReplacement;
    }
    AppendUtf8(unit, &text);
  }
  return text;
}

std::string Guid(std::string_view bytes) {
  std::string text = fmt::format("{{{:08x}-{:04x}-{:04x}-", NumberAt(bytes, 0, 4), NumberAt(bytes, 4, 2),
                                 NumberAt(bytes, 6, 2));
  for (size_t i = 8; i < 16; ++i) text += fmt::format("{}{:02x}", i == 10 ? "-" : "", NumberAt(bytes, i, 1));
  return text + "}";
}

std::string Version(std::string_view bytes) {
  const uint64_t version = NumberAt(bytes, 0, 8);
  return fmt::format("{}.{}.{}.{}", version >> 48, version >> 32 & 0xffff, version >> 16 & 0xffff,
                     version & 0xffff);
}

std::string TextOf(std::string_view bytes, answers::Form form) {
  switch (form) {
    case answers::GUID:
      return Guid(bytes);
    case answers::VERSION:
      return Version(bytes);
    case answers::UTF16:
      return Utf16(bytes);
    default:
      return std::string(bytes);
  }
}

uint64_t ValueOf(const Message& message, const std::string& name) {
  const FieldDescriptor* const field = message.GetDescriptor()->FindFieldByName(name);
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_ENUM)
    return static_cast<uint64_t>(message.GetReflection()->GetEnumValue(message, field));
  return message.GetReflection()->GetUInt32(message, field);
}

void Fill(std::string_view bytes, const FieldDescriptor* field, Message* message) {
  const At& rule = RuleOf(field);
  const Reflection* const reflection = message->GetReflection();
  if (!rule.when().empty() && std::ranges::find(rule.is(), ValueOf(*message, rule.when())) == rule.is().end())
    return;
  uint64_t number = NumberAt(bytes, rule.at(), BytesOf(field));
  if (rule.bits() != 0) number = number >> rule.bit() & (~0ull >> (64 - rule.bits()));
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection->SetBool(message, field, number != 0);
    case FieldDescriptor::CPPTYPE_UINT32:
      return reflection->SetUInt32(message, field, static_cast<uint32_t>(number));
    case FieldDescriptor::CPPTYPE_UINT64:
      return reflection->SetUInt64(message, field, number);
    case FieldDescriptor::CPPTYPE_ENUM:
      return reflection->SetEnumValue(message, field, static_cast<int>(number));
    default:
      break;
  }
  std::string_view part = bytes.substr(std::min<size_t>(rule.at(), bytes.size()));
  if (rule.bytes() != 0) part = part.substr(0, rule.bytes());
  if (!rule.size().empty()) part = part.substr(0, ValueOf(*message, rule.size()));
  reflection->SetString(message, field, TextOf(part, rule.form()));
}

bool IsMeasured(const Descriptor& layout) {
  return layout.options().GetExtension(answers::answer).measured();
}

}  // namespace

const Descriptor* AnswerLayout(std::string_view call, uint64_t type) {
  const auto found = Layouts().find({call, type});
  return found == Layouts().end() ? nullptr : found->second.descriptor;
}

bool IsMeasured(const Message& answer) { return IsMeasured(*answer.GetDescriptor()); }

bool IsMeasured(std::string_view call, uint64_t type) {
  const Descriptor* const layout = AnswerLayout(call, type);
  return layout != nullptr && IsMeasured(*layout);
}

const Message* AnswerDecoder::Decode(std::string_view call, uint64_t type, const std::string& bytes,
                                     std::unique_ptr<Message>* into) {
  const auto found = Layouts().find({call, type});
  if (found == Layouts().end()) return nullptr;
  const Layout& layout = found->second;
  if (bytes.size() < layout.bytes || bytes.empty()) return nullptr;
  if (layout.magic != 0 && NumberAt(bytes, 0, sizeof(layout.magic)) != layout.magic) return nullptr;
  if (*into == nullptr || (*into)->GetDescriptor() != layout.descriptor) {
    into->reset(
        google::protobuf::MessageFactory::generated_factory()->GetPrototype(layout.descriptor)->New());
  } else {
    (*into)->Clear();
  }
  for (int i = 0; i < layout.descriptor->field_count(); ++i)
    Fill(bytes, layout.descriptor->field(i), into->get());
  return into->get();
}

DecodedField AnswerDecoder::OfReply(const CallRow& row, const Message& request, const Message& reply) {
  if (row.code == calls::QueryAdapterInfo::kCode) {
    const auto& answer = static_cast<const QueryAdapterInfo::Reply&>(reply);
    const auto type = static_cast<const QueryAdapterInfo::Request&>(request).type();
    return {QueryAdapterInfo::Reply::kPrivateDataFieldNumber,
            Decode(row.name, type, answer.private_data(), &reply_)};
  }
  if (row.code == calls::QueryStatistics::kCode) {
    const auto& answer = static_cast<const QueryStatistics::Reply&>(reply);
    const auto type = static_cast<const QueryStatistics::Request&>(request).type();
    return {QueryStatistics::Reply::kResultFieldNumber, Decode(row.name, type, answer.result(), &reply_)};
  }
  if (row.code == calls::GetDeviceState::kCode) {
    const auto& answer = static_cast<const GetDeviceState::Reply&>(reply);
    return {GetDeviceState::Reply::kStateFieldNumber,
            Decode(row.name, answer.state_type(), answer.state(), &reply_)};
  }
  if (row.code == calls::Escape::kCode) {
    constexpr uint64_t kReplyBit = 1u << 31;
    const std::string& data = static_cast<const Escape::Reply&>(reply).priv_drv_data();
    return {Escape::Reply::kPrivDrvDataFieldNumber,
            Decode(row.name, NumberAt(data, 4, 4) & ~kReplyBit, data, &reply_)};
  }
  return {};
}

DecodedField AnswerDecoder::OfRequest(const CallRow& row, const Message& request) {
  if (row.code != calls::Escape::kCode) return {};
  const std::string& data = static_cast<const Escape::Request&>(request).priv_drv_data();
  return {Escape::Request::kPrivDrvDataFieldNumber, Decode(row.name, NumberAt(data, 4, 4), data, &request_)};
}

}  // namespace dxg::contract
