#include "proto/contract/meaning.h"

#include <algorithm>
#include <memory>

#include "proto/dxg/meaning.pb.h"

namespace dxg::contract {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Reflection;
using Rewriting = std::function<uint64_t(const Value&)>;

bool Holds(const Condition& when, const Message& request) {
  if (when.member().empty()) return true;
  uint64_t value = NumberIn(request, when.member());
  if (when.mask() != 0) value &= when.mask();
  return std::ranges::find(when.is(), value) != when.is().end();
}

bool IsMessage(const FieldDescriptor& field) { return field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE; }

uint64_t Get(const Message& message, const FieldDescriptor* field, int index) {
  const Reflection* const reflection = message.GetReflection();
  const bool list = field->is_repeated();
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_UINT32:
      return list ? reflection->GetRepeatedUInt32(message, field, index)
                  : reflection->GetUInt32(message, field);
    case FieldDescriptor::CPPTYPE_UINT64:
      return list ? reflection->GetRepeatedUInt64(message, field, index)
                  : reflection->GetUInt64(message, field);
    default:
      return 0;
  }
}

void Set(Message* message, const FieldDescriptor* field, int index, uint64_t value) {
  const Reflection* const reflection = message->GetReflection();
  const bool list = field->is_repeated();
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_UINT32) {
    const auto narrow = static_cast<uint32_t>(value);
    list ? reflection->SetRepeatedUInt32(message, field, index, narrow)
         : reflection->SetUInt32(message, field, narrow);
  } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_UINT64) {
    list ? reflection->SetRepeatedUInt64(message, field, index, value)
         : reflection->SetUInt64(message, field, value);
  }
}

bool IsNumber(const FieldDescriptor& field) {
  return field.cpp_type() == FieldDescriptor::CPPTYPE_UINT32 ||
         field.cpp_type() == FieldDescriptor::CPPTYPE_UINT64;
}

void RewriteFields(Message* message, const Message& request, const Rewriting& rewrite, Room room,
                   bool in_list);

void RewriteField(Message* message, const FieldDescriptor* field, const Message& request,
                  const Rewriting& rewrite, Room room, bool in_list) {
  const Reflection* const reflection = message->GetReflection();
  const bool list = field->is_repeated();
  if (IsMessage(*field)) {
    const int count = list ? reflection->FieldSize(*message, field) : 0;
    for (int i = 0; i < count; ++i)
      RewriteFields(reflection->MutableRepeatedMessage(message, field, i), request, rewrite, room, true);
    if (!list && reflection->HasField(*message, field))
      RewriteFields(reflection->MutableMessage(message, field), request, rewrite, room, in_list);
    return;
  }
  const Kind kind = KindOf(*field, request);
  if (kind == Kind::kExact) return;
  if (!IsNumber(*field)) {
    if (kind == Kind::kRoom && room == Room::kEmptied) reflection->ClearField(message, field);
    return;
  }
  const std::string& count_field = field->options().GetExtension(dxg::meaning).count();
  const uint64_t counted = count_field.empty() ? ~0ull : NumberIn(request, count_field);
  const int count = list ? reflection->FieldSize(*message, field) : 1;
  for (int i = 0; i < count; ++i) {
    const bool counts = static_cast<uint64_t>(i) < counted;
    const Value value{*field, counts ? kind : Kind::kRoom, i, Get(*message, field, i), in_list || list};
    Set(message, field, i, rewrite(value));
  }
}

void RewriteFields(Message* message, const Message& request, const Rewriting& rewrite, Room room,
                   bool in_list) {
  for (int i = 0; i < message->GetDescriptor()->field_count(); ++i)
    RewriteField(message, message->GetDescriptor()->field(i), request, rewrite, room, in_list);
}

}  // namespace

Kind KindOf(const FieldDescriptor& field, const Message& request) {
  const Meaning& meaning = field.options().GetExtension(dxg::meaning);
  if (meaning.has_kind()) {
    if (!Holds(meaning.when(), request)) return Kind::kExact;
    switch (meaning.kind()) {
      case Meaning::DESCRIPTOR:
        return Kind::kDescriptor;
      case Meaning::ADAPTER:
        return Kind::kAdapter;
      case Meaning::GPU_ADDRESS:
        return Kind::kGpuAddress;
      case Meaning::PROCESS:
        return Kind::kProcess;
      case Meaning::EVENT:
        return Kind::kEvent;
      case Meaning::TIME:
        return Kind::kTime;
      case Meaning::MEASURED:
        return Kind::kMeasured;
      case Meaning::FENCE_VALUE:
        return Kind::kFenceValue;
      case Meaning::ROOM:
        return Kind::kRoom;
      default:
        return Kind::kExact;
    }
  }
  switch (field.options().GetExtension(dxg::field).format()) {
    case HANDLE:
      return Kind::kHandle;
    case LUID:
      return Kind::kLuid;
    default:
      return Kind::kExact;
  }
}

bool MayDiffer(Kind kind) {
  return kind == Kind::kTime || kind == Kind::kMeasured || kind == Kind::kFenceValue || kind == Kind::kRoom;
}

void Rewrite(Message* message, const Message& request, const Rewriting& rewrite, Room room) {
  RewriteFields(message, request, rewrite, room, false);
}

void ClearBytesThatMayDiffer(Message* message, const Message& request) {
  for (int i = 0; i < message->GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor* const field = message->GetDescriptor()->field(i);
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING && MayDiffer(KindOf(*field, request)))
      message->GetReflection()->ClearField(message, field);
  }
}

void ForEachValue(const Message& message, const Message& request,
                  const std::function<void(const Value&)>& see) {
  const std::unique_ptr<Message> copy(message.New());
  copy->CopyFrom(message);
  Rewrite(copy.get(), request, [&](const Value& value) {
    see(value);
    return value.number;
  });
}

uint64_t NumberIn(const Message& message, const std::string& name) {
  const FieldDescriptor* const field = message.GetDescriptor()->FindFieldByName(name);
  if (field == nullptr || (field->is_repeated() && message.GetReflection()->FieldSize(message, field) == 0))
    return 0;
  return Get(message, field, 0);
}

}  // namespace dxg::contract
