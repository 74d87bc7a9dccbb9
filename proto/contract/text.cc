#include "proto/contract/text.h"

#include <fmt/format.h>

#include <cstring>

#include "base/status.h"
#include "proto/abi/ntstatus.h"
#include "proto/abi/qaitype.h"
#include "proto/contract/contract.h"
#include "proto/dxg/names.pb.h"
#include "proto/dxg/options.pb.h"

namespace dxg::contract {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

const char* QueryAdapterInfoTypeName(uint64_t value) {
  switch (value) {
#define DXG_NAME(name, number) \
  case number:                 \
    return #name;
    DXG_FOR_EACH_QUERY_ADAPTER_INFO_TYPE(DXG_NAME)
#undef DXG_NAME
    default:
      return nullptr;
  }
}

// The name of a value, or null.
const char* NameOf(const std::string& names, uint64_t value) {
  if (names == "QueryAdapterInfoType") return QueryAdapterInfoTypeName(value);
  const auto* type = FeatureId_descriptor()->file()->FindEnumTypeByName(names);
  const auto* name = type ? type->FindValueByNumber(static_cast<int>(value)) : nullptr;
  return name != nullptr ? name->name().c_str() : nullptr;
}

std::string Number(const FieldRule& rule, uint64_t value, bool is_signed) {
  if (const char* name = NameOf(rule.names(), value)) return name;
  switch (rule.format()) {
    case HANDLE:
    case HEX:
      return fmt::format("{:#x}", value);
    case LUID:
      return fmt::format("{:08x}-{:08x}", value >> 32, value & 0xffffffff);
    default:
      return is_signed ? fmt::format("{}", static_cast<int64_t>(value)) : fmt::format("{}", value);
  }
}

std::string Bytes(const std::string& bytes, size_t limit) {
  std::string text = "\"";
  for (size_t i = 0; i < bytes.size() && i < limit; ++i) {
    const unsigned char c = bytes[i];
    if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\') {
      text += static_cast<char>(c);
    } else {
      text += fmt::format("\\x{:02x}", c);
    }
  }
  text += '"';
  if (bytes.size() > limit) text += fmt::format("... {} bytes", bytes.size());
  return text;
}

std::string Value(const Message& message, const FieldDescriptor* field, int index, size_t limit) {
  const Reflection* reflection = message.GetReflection();
  const FieldRule& rule = field->options().GetExtension(dxg::field);
  const bool repeated = field->is_repeated();
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_UINT32:
      return Number(rule,
                    repeated ? reflection->GetRepeatedUInt32(message, field, index)
                             : reflection->GetUInt32(message, field),
                    false);
    case FieldDescriptor::CPPTYPE_UINT64:
      return Number(rule,
                    repeated ? reflection->GetRepeatedUInt64(message, field, index)
                             : reflection->GetUInt64(message, field),
                    false);
    case FieldDescriptor::CPPTYPE_INT32:
      return Number(rule,
                    static_cast<uint64_t>(
                        static_cast<int64_t>(repeated ? reflection->GetRepeatedInt32(message, field, index)
                                                      : reflection->GetInt32(message, field))),
                    true);
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection->GetBool(message, field) ? "true" : "false";
    case FieldDescriptor::CPPTYPE_STRING: {
      std::string scratch;
      return Bytes(repeated ? reflection->GetRepeatedStringReference(message, field, index, &scratch)
                            : reflection->GetStringReference(message, field, &scratch),
                   limit);
    }
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return ToText(repeated ? reflection->GetRepeatedMessage(message, field, index)
                             : reflection->GetMessage(message, field),
                    limit);
    default:
      return "?";
  }
}

// The statuses that a client can meet as a result; the others are turned into an errno before.
const char* NtStatusName(int32_t status) {
  switch (status) {
    case kStatusTimeout:
      return "STATUS_TIMEOUT";
    case kStatusPending:
      return "STATUS_PENDING";
    case kStatusInvalidParameter:
      return "STATUS_INVALID_PARAMETER";
    default:
      return nullptr;
  }
}

}  // namespace

std::string ToText(const Message& message, size_t limit) {
  const Reflection* reflection = message.GetReflection();
  std::string text = "{";
  const char* separator = "";
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor* field = message.GetDescriptor()->field(i);
    if (field->is_repeated()) {
      const int count = reflection->FieldSize(message, field);
      if (count == 0) continue;
      text += fmt::format("{}{}=[", separator, field->name());
      for (int k = 0; k < count && k < static_cast<int>(limit); ++k) {
        text += fmt::format("{}{}", k == 0 ? "" : ", ", Value(message, field, k, limit));
      }
      text += count > static_cast<int>(limit) ? fmt::format(", ... {} in all]", count) : "]";
    } else {
      // Zero is worth showing for a number, not for memory that is not there.
      const bool is_number = field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE &&
                             field->cpp_type() != FieldDescriptor::CPPTYPE_STRING;
      if (!is_number && !reflection->HasField(message, field)) continue;
      text += fmt::format("{}{}={}", separator, field->name(), Value(message, field, 0, limit));
    }
    separator = ", ";
  }
  return text + "}";
}

const char* ValueName(std::string_view call, const std::string& field, uint64_t value) {
  for (const CallRow& row : Calls()) {
    if (call != row.name) continue;
    const auto* found = row.request->GetDescriptor()->FindFieldByName(field);
    return found == nullptr ? nullptr : NameOf(found->options().GetExtension(dxg::field).names(), value);
  }
  return nullptr;
}

std::string ErrnoName(int error) {
  if (error == kErestartsys) return "ERESTARTSYS";
  const char* name = strerrorname_np(error);
  return name != nullptr ? name : fmt::format("errno {}", error);
}

std::string ResultText(int32_t result) {
  if (result == 0) return "0";
  if (result < 0 && result >= -kErrnoMax) {
    const char* text = result == -kErestartsys ? "Interrupted by a signal" : strerrordesc_np(-result);
    return fmt::format("-1 {} ({})", ErrnoName(-result), text != nullptr ? text : "?");
  }
  const char* name = NtStatusName(result);
  return name != nullptr ? fmt::format("{:#x} {}", static_cast<uint32_t>(result), name)
                         : fmt::format("{:#x}", static_cast<uint32_t>(result));
}

}  // namespace dxg::contract
