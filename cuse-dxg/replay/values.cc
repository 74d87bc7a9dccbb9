#include "cuse-dxg/replay/values.h"

#include <google/protobuf/util/message_differencer.h>

#include "proto/contract/text.h"

namespace dxg::replay {
namespace {

constexpr size_t kElementsShown = 8;

}  // namespace

std::vector<std::string> DifferentFields(const Message& a, const Message& b) {
  std::vector<std::string> names;
  for (int i = 0; i < a.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor* const field = a.GetDescriptor()->field(i);
    google::protobuf::util::MessageDifferencer differencer;
    const std::vector<const FieldDescriptor*> only{field};
    if (!differencer.CompareWithFields(a, b, only, only)) names.push_back(field->name());
  }
  return names;
}

std::string Brief(const Message& message) {
  constexpr size_t kTextBytesMax = 400;
  std::string text = contract::ToText(message, kElementsShown);
  if (text.size() > kTextBytesMax) text = text.substr(0, kTextBytesMax) + "...";
  return text;
}

}  // namespace dxg::replay
