#include "cuse-dxg/trace/redact.h"

#include <fmt/format.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <vector>

namespace dxg::trace {

using google::protobuf::FieldDescriptor;

std::string Redacted(const std::string& bytes) {
  if (bytes.empty()) return {};
  return fmt::format("<{} bytes {:016x}>", bytes.size(), XXH64(bytes.data(), bytes.size(), 0));
}

void Redact(google::protobuf::Message* message) {
  const auto* const reflection = message->GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection->ListFields(*message, &fields);
  for (const FieldDescriptor* const field : fields) {
    const int count = field->is_repeated() ? reflection->FieldSize(*message, field) : 1;
    for (int i = 0; i < count; ++i) {
      if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
        Redact(field->is_repeated() ? reflection->MutableRepeatedMessage(message, field, i)
                                    : reflection->MutableMessage(message, field));
      } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING && field->is_repeated()) {
        reflection->SetRepeatedString(message, field, i,
                                      Redacted(reflection->GetRepeatedString(*message, field, i)));
      } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
        reflection->SetString(message, field, Redacted(reflection->GetString(*message, field)));
      }
    }
  }
}

}  // namespace dxg::trace
