#pragma once

#include <google/protobuf/descriptor.h>

#include <string>
#include <vector>

#include "proto/contract/names.h"
#include "proto/dxg/options.pb.h"

namespace dxg::contract {

// How the fields of a message read, looked up once for each kind of message: a recording has millions.
struct FieldPlan {
  const google::protobuf::FieldDescriptor* field;
  google::protobuf::FieldDescriptor::CppType type;
  bool repeated;
  bool needs_presence;  // it is shown only where it was set
  Format format;
  BitNames bits;
  ValueNames values;
  const google::protobuf::EnumDescriptor* names;  // of names.proto; null: none
  bool query_type;                                // its names are those of qaitype.h
  std::string name;
};
using MessagePlan = std::vector<FieldPlan>;

// It is there as long as the thread.
const MessagePlan& PlanOf(const google::protobuf::Descriptor* descriptor);

// "KMTQAITYPE_ADAPTERTYPE"; null: the value has no name.
const char* QueryAdapterInfoTypeName(uint64_t value);

// The name of a value of that field; null: it has none.
const char* NameOf(const FieldPlan& plan, uint64_t value);

}  // namespace dxg::contract
