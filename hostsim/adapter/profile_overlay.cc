#include "hostsim/adapter/profile_overlay.h"

#include <memory>
#include <vector>

#include "base/status.h"

namespace dxg::hostsim {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

std::vector<const FieldDescriptor*> FieldsOf(const Message& message) {
  std::vector<const FieldDescriptor*> fields;
  message.GetReflection()->ListFields(message, &fields);
  return fields;
}

bool HoldsMessages(const FieldDescriptor* field) {
  return field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
}

// Leaves what MergeFrom replaces: lists it would append.
void ClearLists(Message* message) {
  const auto* reflection = message->GetReflection();
  for (const FieldDescriptor* field : FieldsOf(*message)) {
    if (field->is_repeated()) {
      reflection->ClearField(message, field);
    } else if (HoldsMessages(field)) {
      ClearLists(reflection->MutableMessage(message, field));
    }
  }
}

void AppendList(const Message& from, const FieldDescriptor* field, Message* to) {
  const auto* reflection = from.GetReflection();
  const int count = reflection->FieldSize(from, field);
  for (int i = 0; i < count; ++i) {
    if (HoldsMessages(field)) {
      reflection->AddMessage(to, field)->CopyFrom(reflection->GetRepeatedMessage(from, field, i));
    } else {
      DXG_CHECK(field->cpp_type() == FieldDescriptor::CPPTYPE_STRING);
      reflection->AddString(to, field, reflection->GetRepeatedString(from, field, i));
    }
  }
}

void PutLists(const Message& over, Lists lists, Message* onto) {
  const auto* reflection = over.GetReflection();
  for (const FieldDescriptor* field : FieldsOf(over)) {
    if (field->is_repeated()) {
      const std::unique_ptr<Message> before(onto->New());
      AppendList(*onto, field, before.get());
      reflection->ClearField(onto, field);
      AppendList(over, field, onto);
      if (lists == Lists::kInFront) AppendList(*before, field, onto);
    } else if (HoldsMessages(field)) {
      PutLists(reflection->GetMessage(over, field), lists, reflection->MutableMessage(onto, field));
    }
  }
}

}  // namespace

void Overlay(const Message& over, Lists lists, Message* onto) {
  const std::unique_ptr<Message> single(over.New());
  single->CopyFrom(over);
  ClearLists(single.get());
  onto->MergeFrom(*single);
  PutLists(over, lists, onto);
}

}  // namespace dxg::hostsim
