#include "tests/trace/random_message.h"

#include <string>

namespace dxg::trace {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

std::string RandomBytes(Random& random) {
  std::string bytes(random() % (random() % 16 == 0 ? 1000 : 64), '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

// One value of a field: set, or added to a list.
void RandomizeValue(Message* message, const FieldDescriptor* field, Random& random) {
  const auto* reflection = message->GetReflection();
  const bool add = field->is_repeated();
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_UINT32: {
      const auto value = static_cast<uint32_t>(random());
      add ? reflection->AddUInt32(message, field, value) : reflection->SetUInt32(message, field, value);
      break;
    }
    case FieldDescriptor::CPPTYPE_INT32: {
      const auto value = static_cast<int32_t>(random());
      add ? reflection->AddInt32(message, field, value) : reflection->SetInt32(message, field, value);
      break;
    }
    case FieldDescriptor::CPPTYPE_UINT64:
      add ? reflection->AddUInt64(message, field, random()) : reflection->SetUInt64(message, field, random());
      break;
    case FieldDescriptor::CPPTYPE_BOOL:
      reflection->SetBool(message, field, random() % 2 == 0);
      break;
    case FieldDescriptor::CPPTYPE_STRING:
      add ? reflection->AddString(message, field, RandomBytes(random))
          : reflection->SetString(message, field, RandomBytes(random));
      break;
    case FieldDescriptor::CPPTYPE_MESSAGE:
      Randomize(add ? reflection->AddMessage(message, field) : reflection->MutableMessage(message, field),
                random);
      break;
    default:
      break;
  }
}

}  // namespace

void Randomize(Message* message, Random& random) {
  message->Clear();
  for (int i = 0; i < message->GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor* const field = message->GetDescriptor()->field(i);
    const uint64_t values = field->is_repeated() ? random() % 5 : 1;
    for (uint64_t k = 0; k < values; ++k) RandomizeValue(message, field, random);
  }
}

}  // namespace dxg::trace
