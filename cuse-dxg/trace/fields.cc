#include "cuse-dxg/trace/fields.h"

#include "proto/contract/meaning.h"
#include "proto/contract/plan.h"

namespace dxg::trace {
namespace {

using google::protobuf::FieldDescriptor;

const contract::FieldPlan* Find(const contract::Message* message, std::string_view field) {
  if (message == nullptr) return nullptr;
  for (const contract::FieldPlan& plan : contract::PlanOf(message->GetDescriptor())) {
    if (plan.name == field) return &plan;
  }
  return nullptr;
}

uint64_t ElementOf(const contract::Message& message, const contract::FieldPlan& plan, int index) {
  const auto* const reflection = message.GetReflection();
  if (plan.type == FieldDescriptor::CPPTYPE_UINT32)
    return index < 0 ? reflection->GetUInt32(message, plan.field)
                     : reflection->GetRepeatedUInt32(message, plan.field, index);
  if (plan.type == FieldDescriptor::CPPTYPE_UINT64)
    return index < 0 ? reflection->GetUInt64(message, plan.field)
                     : reflection->GetRepeatedUInt64(message, plan.field, index);
  return 0;
}

}  // namespace

uint64_t NumberOf(const contract::Message* message, std::string_view field) {
  const contract::FieldPlan* const plan = Find(message, field);
  return plan == nullptr || plan->repeated ? 0 : ElementOf(*message, *plan, -1);
}

std::vector<uint64_t> NumbersOf(const contract::Message* message, std::string_view field) {
  std::vector<uint64_t> numbers;
  const contract::FieldPlan* const plan = Find(message, field);
  if (plan == nullptr) return numbers;
  const int count = plan->repeated ? message->GetReflection()->FieldSize(*message, plan->field) : 1;
  for (int i = 0; i < count; ++i) numbers.push_back(ElementOf(*message, *plan, plan->repeated ? i : -1));
  return numbers;
}

std::vector<HandleField> HandlesOf(const contract::Message* message, const contract::Message& request) {
  std::vector<HandleField> handles;
  if (message == nullptr) return handles;
  contract::ForEachValue(*message, request, [&](const contract::Value& value) {
    if (!contract::IsHandle(value.kind) || value.number == 0) return;
    handles.push_back(
        {value.field.name(), value.kind == contract::Kind::kAdapter, value.number, value.in_list});
  });
  return handles;
}

}  // namespace dxg::trace
