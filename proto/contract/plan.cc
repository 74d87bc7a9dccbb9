#include "proto/contract/plan.h"

#include <array>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <utility>

#include "proto/abi/qaitype.h"
#include "proto/dxg/answers.pb.h"
#include "proto/dxg/names.pb.h"

namespace dxg::contract {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

FieldPlan PlanOfField(const Descriptor* message, const FieldDescriptor* field) {
  const FieldRule& rule = field->options().GetExtension(dxg::field);
  const answers::At& at = field->options().GetExtension(answers::at);
  const bool is_number = field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE &&
                         field->cpp_type() != FieldDescriptor::CPPTYPE_STRING;
  FieldNames names = NamesOfField(message->full_name(), field->number());
  if (!at.type().empty()) names = {BitsOf(at.type()), ValuesOf(at.type())};
  return {.field = field,
          .type = field->cpp_type(),
          .repeated = field->is_repeated(),
          // Zero is worth showing for a number, not for memory that is not there.
          .needs_presence = !is_number || field->has_optional_keyword(),
          .format = at.hex() ? HEX : rule.format(),
          .bits = names.bits,
          .values = names.values,
          .names = FeatureId_descriptor()->file()->FindEnumTypeByName(rule.names()),
          .query_type = rule.names() == "QueryAdapterInfoType",
          .name = field->name()};
}

}  // namespace

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

const MessagePlan& PlanOf(const Descriptor* descriptor) {
  // The latest ones at hand: a map is slow beside what is done with a plan.
  constexpr size_t kAtHand = 64;
  thread_local std::array<std::pair<const Descriptor*, const MessagePlan*>, kAtHand> at_hand;
  auto& here =
      at_hand[reinterpret_cast<uintptr_t>(descriptor) / sizeof(Descriptor) % kAtHand];  // Safety: a number
  if (here.first == descriptor) return *here.second;
  thread_local std::unordered_map<const Descriptor*, std::unique_ptr<MessagePlan>> plans;
  auto& plan = plans[descriptor];
  if (plan == nullptr) {
    plan = std::make_unique<MessagePlan>();
    for (int i = 0; i < descriptor->field_count(); ++i)
      plan->push_back(PlanOfField(descriptor, descriptor->field(i)));
  }
  here = {descriptor, plan.get()};
  return *plan;
}

const char* NameOf(const FieldPlan& plan, uint64_t value) {
  if (plan.query_type) return QueryAdapterInfoTypeName(value);
  if (plan.names != nullptr) {
    const auto* name = plan.names->FindValueByNumber(static_cast<int>(value));
    return name != nullptr ? name->name().c_str() : nullptr;
  }
  for (const ValueNameRow& row : plan.values) {
    if (row.value == value) return row.name;
  }
  return nullptr;
}

}  // namespace dxg::contract
