#pragma once

#include <google/protobuf/message.h>

#include <cstdint>
#include <string>

#include "proto/contract/plan.h"

namespace dxg::contract {

struct EnumNumber {
  int value;
};
// Of a type that no message of ours has.
struct NoValue {};

// Calls `visit` with the value of a field: a number, a bool, an EnumNumber, the bytes or text of a string, or
// a message. `index` is of a list; -1: it is none. The reflection is the message's, which is slow to ask for.
template <class Visit>
void VisitValue(const google::protobuf::Message& message, const google::protobuf::Reflection* reflection,
                const FieldPlan& plan, int index, const Visit& visit) {
  using google::protobuf::FieldDescriptor;
  const FieldDescriptor* const field = plan.field;
  const bool repeated = index >= 0;
  switch (plan.type) {
    case FieldDescriptor::CPPTYPE_UINT32:
      return visit(repeated ? reflection->GetRepeatedUInt32(message, field, index)
                            : reflection->GetUInt32(message, field));
    case FieldDescriptor::CPPTYPE_INT32:
      return visit(repeated ? reflection->GetRepeatedInt32(message, field, index)
                            : reflection->GetInt32(message, field));
    case FieldDescriptor::CPPTYPE_UINT64:
      return visit(repeated ? reflection->GetRepeatedUInt64(message, field, index)
                            : reflection->GetUInt64(message, field));
    case FieldDescriptor::CPPTYPE_INT64:
      return visit(repeated ? reflection->GetRepeatedInt64(message, field, index)
                            : reflection->GetInt64(message, field));
    case FieldDescriptor::CPPTYPE_BOOL:
      return visit(repeated ? reflection->GetRepeatedBool(message, field, index)
                            : reflection->GetBool(message, field));
    case FieldDescriptor::CPPTYPE_ENUM:
      return visit(EnumNumber{repeated ? reflection->GetRepeatedEnumValue(message, field, index)
                                       : reflection->GetEnumValue(message, field)});
    case FieldDescriptor::CPPTYPE_STRING: {
      std::string scratch;
      return visit(repeated ? reflection->GetRepeatedStringReference(message, field, index, &scratch)
                            : reflection->GetStringReference(message, field, &scratch));
    }
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return visit(repeated ? reflection->GetRepeatedMessage(message, field, index)
                            : reflection->GetMessage(message, field));
    default:
      return visit(NoValue{});
  }
}

}  // namespace dxg::contract
