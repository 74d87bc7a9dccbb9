#include "link/trace/bounds.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>

namespace dxg::trace {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

// Takes what there is from `left`. False: there is more, or what follows cannot be parsed.
bool Count(const Descriptor* descriptor, CodedInputStream* in, size_t* left) {
  for (;;) {
    const uint32_t tag = in->ReadTag();
    if (tag == 0) return true;
    const FieldDescriptor* const field =
        descriptor->FindFieldByNumber(WireFormatLite::GetTagFieldNumber(tag));
    const bool is_message = field != nullptr && field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE &&
                            WireFormatLite::GetTagWireType(tag) == WireFormatLite::WIRETYPE_LENGTH_DELIMITED;
    if (field == nullptr || is_message) {
      if (*left == 0) return false;
      --*left;
    }
    if (!is_message) {
      if (!WireFormatLite::SkipField(in, tag)) return true;
      continue;
    }
    uint32_t length = 0;
    if (!in->ReadVarint32(&length)) return true;
    const auto limit = in->PushLimit(static_cast<int>(length));
    if (!Count(field->message_type(), in, left)) return false;
    in->PopLimit(limit);
  }
}

}  // namespace

bool IsBounded(const google::protobuf::Message& message, std::string_view bytes) {
  if (bytes.size() <= kLargeBytes) return true;
  CodedInputStream in(reinterpret_cast<const uint8_t*>(bytes.data()),
                      static_cast<int>(bytes.size()));  // Safety: bytes
  size_t left = kPartsMax;
  return Count(message.GetDescriptor(), &in, &left);
}

}  // namespace dxg::trace
