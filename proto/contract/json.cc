#include "proto/contract/json.h"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <iterator>

#include "proto/contract/plan.h"
#include "proto/contract/visit.h"

namespace dxg::contract {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

template <typename Number>
void AppendNumber(Number value, std::string* out) {
  char text[24];
  out->append(text, std::to_chars(text, std::end(text), value).ptr);
}

// As protobuf has it: many readers hold a number as a double.
template <typename Number>
void AppendQuoted(Number value, std::string* out) {
  *out += '"';
  AppendNumber(value, out);
  *out += '"';
}

void AppendUnit(uint32_t unit, std::string* out) {
  constexpr char kDigits[] = "0123456789abcdef";
  *out += "\\u";
  for (int shift = 12; shift >= 0; shift -= 4) *out += kDigits[unit >> shift & 0xf];
}

// The bytes of the character at `at`, and its number; 0: there is none.
size_t DecodeUtf8(std::string_view text, size_t at, uint32_t* rune) {
  const auto lead = static_cast<unsigned char>(text[at]);
  const size_t bytes = lead < 0x80                   ? 1
                       : lead >= 0xc2 && lead < 0xe0 ? 2
                       : lead >= 0xe0 && lead < 0xf0 ? 3
                       : lead >= 0xf0 && lead < 0xf5 ? 4
                                                     : 0;
  if (bytes == 0 || at + bytes > text.size()) return 0;
  *rune = bytes == 1 ? lead : lead & (0x7fu >> bytes);
  for (size_t i = 1; i < bytes; ++i) {
    const auto next = static_cast<unsigned char>(text[at + i]);
    if ((next & 0xc0) != 0x80) return 0;
    *rune = *rune << 6 | (next & 0x3f);
  }
  constexpr uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = *rune >= 0xd800 && *rune < 0xe000;
  return *rune < kLeast[bytes] || *rune > 0x10ffff || surrogate ? 0 : bytes;
}

void AppendRune(uint32_t rune, std::string* out) {
  if (rune == '"' || rune == '\\') {
    *out += '\\';
    *out += static_cast<char>(rune);
  } else if (rune >= 0x20 && rune < 0x7f) {
    *out += static_cast<char>(rune);
  } else if (rune < 0x10000) {
    AppendUnit(rune, out);
  } else {
    AppendUnit(0xd800 + ((rune - 0x10000) >> 10), out);
    AppendUnit(0xdc00 + (rune & 0x3ff), out);
  }
}

// Appends a value of that field.
struct JsonAppender {
  const FieldDescriptor* field;
  std::string* out;

  void operator()(uint32_t value) const { AppendNumber(value, out); }
  void operator()(int32_t value) const { AppendNumber(value, out); }
  void operator()(uint64_t value) const { AppendQuoted(value, out); }
  void operator()(int64_t value) const { AppendQuoted(value, out); }
  void operator()(bool value) const { *out += value ? "true" : "false"; }
  void operator()(EnumNumber number) const {
    const auto* name = field->enum_type()->FindValueByNumber(number.value);
    if (name == nullptr) return AppendNumber(number.value, out);
    AppendJsonString(name->name(), out);
  }
  void operator()(const std::string& text) const {
    if (field->type() == FieldDescriptor::TYPE_STRING) return AppendJsonString(text, out);
    AppendBase64(std::as_bytes(std::span(text)), out);
  }
  void operator()(const Message& message) const { AppendJson(message, out); }
  void operator()(NoValue) const { *out += "null"; }
};

}  // namespace

void AppendBase64(std::span<const std::byte> bytes, std::string* out) {
  constexpr char kLetters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  *out += '"';
  for (size_t at = 0; at < bytes.size(); at += 3) {
    uint32_t group = 0;
    const size_t count = std::min<size_t>(3, bytes.size() - at);
    for (size_t i = 0; i < count; ++i) group |= uint32_t{static_cast<uint8_t>(bytes[at + i])} << (16 - 8 * i);
    for (size_t i = 0; i < 4; ++i) *out += i <= count ? kLetters[group >> (18 - 6 * i) & 63] : '=';
  }
  *out += '"';
}

void AppendJsonString(std::string_view text, std::string* out) {
  constexpr uint32_t kReplacement = 0xfffd;
  *out += '"';
  for (size_t at = 0; at < text.size();) {
    uint32_t rune = kReplacement;
    const size_t bytes = DecodeUtf8(text, at, &rune);
    AppendRune(bytes == 0 ? kReplacement : rune, out);
    at += bytes == 0 ? 1 : bytes;
  }
  *out += '"';
}

void AppendJson(const Message& message, std::string* out) {
  const Reflection* const reflection = message.GetReflection();
  char separator = '{';
  for (const FieldPlan& plan : PlanOf(message.GetDescriptor())) {
    if (!plan.repeated && plan.field->has_presence() && !reflection->HasField(message, plan.field)) continue;
    *out += separator;
    *out += '"';
    *out += plan.name;
    *out += "\":";
    if (plan.repeated) {
      const int count = reflection->FieldSize(message, plan.field);
      *out += '[';
      for (int i = 0; i < count; ++i) {
        if (i != 0) *out += ',';
        VisitValue(message, reflection, plan, i, JsonAppender{plan.field, out});
      }
      *out += ']';
    } else {
      VisitValue(message, reflection, plan, -1, JsonAppender{plan.field, out});
    }
    separator = ',';
  }
  *out += separator == '{' ? "{}" : "}";
}

}  // namespace dxg::contract
