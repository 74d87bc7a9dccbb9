#include "cuse-dxg/backend/socket/reply_check.h"

#include <google/protobuf/message.h>

#include <memory>
#include <string>

namespace dxg {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

int ElementsOf(const Message& message, const FieldDescriptor* field) {
  if (field->is_repeated()) return message.GetReflection()->FieldSize(message, field);
  std::string scratch;
  return static_cast<int>(message.GetReflection()->GetStringReference(message, field, &scratch).size());
}

bool IsList(const FieldDescriptor* field) {
  return field->is_repeated() || field->type() == FieldDescriptor::TYPE_BYTES;
}

bool HasLists(const contract::CommandRow& command) {
  static const std::vector<bool> has = [] {
    std::vector<bool> each;
    for (const contract::CommandRow& one : contract::HostCommands()) {
      const auto* type = one.reply->GetDescriptor();
      bool any = false;
      for (int i = 0; i < type->field_count(); ++i) any = any || IsList(type->field(i));
      each.push_back(any);
    }
    return each;
  }();
  return has[static_cast<size_t>(&command - contract::HostCommands().data())];
}

}  // namespace

bool ListsFit(const HostCall& call, uint32_t version, std::vector<std::byte>* scratch) {
  if (!HasLists(*call.command)) return true;
  const Message& reply = *call.reply;
  const auto* type = reply.GetDescriptor();
  scratch->assign(call.command->reply_size(*call.request, version), std::byte{0});
  call.command->encode_reply(*call.request, reply, version, scratch->data());
  const std::unique_ptr<Message> right(reply.New());
  if (!call.command->decode_reply(*scratch, *call.request, version, right.get())) return false;
  const auto* status = type->FindFieldByName("status");
  const bool refused = status != nullptr && reply.GetReflection()->GetInt32(reply, status) < 0;
  for (int i = 0; i < type->field_count(); ++i) {
    const FieldDescriptor* field = type->field(i);
    if (!IsList(field)) continue;
    const int elements = ElementsOf(reply, field), expected = ElementsOf(*right, field);
    const bool may_be_less = refused || status == nullptr || !field->is_repeated();
    if (elements > expected || (elements < expected && !may_be_less)) return false;
  }
  return true;
}

}  // namespace dxg
