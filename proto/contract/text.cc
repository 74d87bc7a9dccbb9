#include "proto/contract/text.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <iterator>
#include <unordered_map>

#include "base/status.h"
#include "proto/contract/contract.h"
#include "proto/contract/names.h"
#include "proto/contract/plan.h"
#include "proto/contract/visit.h"

namespace dxg::contract {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

constexpr char kDigits[] = "0123456789abcdef";

void AppendDecimal(uint64_t value, std::string* out) {
  char text[20];
  out->append(text, std::to_chars(text, std::end(text), value).ptr);
}

void AppendSigned(int64_t value, std::string* out) {
  char text[20];
  out->append(text, std::to_chars(text, std::end(text), value).ptr);
}

void AppendHex(uint64_t value, std::string* out) {
  char text[18] = {'0', 'x'};
  out->append(text, std::to_chars(text + 2, std::end(text), value, 16).ptr);
}

void AppendHalf(uint32_t value, std::string* out) {
  for (int shift = 28; shift >= 0; shift -= 4) *out += kDigits[value >> shift & 0xf];
}

// "0x5(create_resource|non_secure)"
void AppendBits(BitNames bits, uint64_t value, std::string* out) {
  AppendHex(value, out);
  char before = '(';
  for (const BitName& bit : bits) {
    const uint64_t part = value >> bit.shift & (~0ull >> (64 - bit.bits));
    if (part == 0) continue;
    *out += before;
    *out += bit.name;
    if (bit.bits > 1) {
      *out += '=';
      AppendDecimal(part, out);
    }
    before = '|';
  }
  if (before == '|') *out += ')';
}

void AppendNumber(const FieldPlan& plan, uint64_t value, std::string* out) {
  if (!plan.bits.empty()) return AppendBits(plan.bits, value, out);
  if (const char* name = NameOf(plan, value)) {
    *out += name;
    return;
  }
  switch (plan.format) {
    case HANDLE:
    case HEX:
      return AppendHex(value, out);
    case LUID:
      AppendHalf(static_cast<uint32_t>(value >> 32), out);
      *out += '-';
      return AppendHalf(static_cast<uint32_t>(value), out);
    default:
      return AppendDecimal(value, out);
  }
}

void AppendBytes(const std::string& bytes, size_t limit, std::string* out) {
  *out += '"';
  for (size_t i = 0; i < bytes.size() && i < limit; ++i) {
    const unsigned char c = bytes[i];
    if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\') {
      *out += static_cast<char>(c);
    } else {
      const char text[] = {'\\', 'x', kDigits[c >> 4], kDigits[c & 0xf]};
      out->append(text, sizeof(text));
    }
  }
  *out += '"';
  if (bytes.size() <= limit) return;
  *out += "... ";
  AppendDecimal(bytes.size(), out);
  *out += " bytes";
}

void AppendEnum(const FieldPlan& plan, int value, std::string* out) {
  const auto* name = plan.field->enum_type()->FindValueByNumber(value);
  if (name != nullptr) {
    *out += name->name();
  } else {
    AppendSigned(value, out);
  }
}

// Appends a value of the field that the plan is of.
struct TextAppender {
  const FieldPlan& plan;
  size_t limit;
  std::string* out;

  void operator()(uint32_t value) const { AppendNumber(plan, value, out); }
  void operator()(uint64_t value) const { AppendNumber(plan, value, out); }
  void operator()(int32_t value) const { AppendSigned(value, out); }
  void operator()(int64_t value) const { AppendSigned(value, out); }
  void operator()(bool value) const { *out += value ? "true" : "false"; }
  void operator()(EnumNumber number) const { AppendEnum(plan, number.value, out); }
  void operator()(const std::string& bytes) const {
    // A letter of a name says less than a byte of data.
    constexpr size_t kTextPerByte = 4;
    const bool is_text = plan.field->type() == FieldDescriptor::TYPE_STRING;
    AppendBytes(bytes, is_text ? limit * kTextPerByte : limit, out);
  }
  void operator()(const Message& message) const { AppendText(message, limit, {}, out); }
  void operator()(NoValue) const { *out += '?'; }
};

void AppendList(const Message& message, const Reflection* reflection, const FieldPlan& plan, int count,
                size_t limit, std::string* out) {
  const int shown = static_cast<int>(std::min<size_t>(static_cast<size_t>(count), limit));
  for (int i = 0; i < shown; ++i) {
    out->append(i == 0 ? "[" : ", ");
    VisitValue(message, reflection, plan, i, TextAppender{plan, limit, out});
  }
  if (shown == 0) *out += '[';
  if (count > shown) {
    *out += shown == 0 ? "... " : ", ... ";
    AppendDecimal(static_cast<uint64_t>(count), out);
    *out += " in all";
  }
  *out += ']';
}

}  // namespace

void AppendText(const Message& message, size_t limit, const DecodedField& decoded, std::string* out) {
  const Reflection* const reflection = message.GetReflection();
  const char* separator = "{";
  for (const FieldPlan& plan : PlanOf(message.GetDescriptor())) {
    int count = 0;
    if (plan.repeated) {
      count = reflection->FieldSize(message, plan.field);
      if (count == 0) continue;
    } else if (plan.needs_presence && !reflection->HasField(message, plan.field)) {
      continue;
    }
    *out += separator;
    *out += plan.name;
    *out += '=';
    if (decoded.message != nullptr && plan.field->number() == decoded.number) {
      AppendText(*decoded.message, limit, {}, out);
    } else if (plan.repeated) {
      AppendList(message, reflection, plan, count, limit, out);
    } else {
      VisitValue(message, reflection, plan, -1, TextAppender{plan, limit, out});
    }
    separator = ", ";
  }
  *out += *separator == '{' ? "{}" : "}";
}

std::string ToText(const Message& message, size_t limit) {
  std::string text;
  AppendText(message, limit, {}, &text);
  return text;
}

const char* ValueName(std::string_view call, const std::string& field, uint64_t value) {
  for (const CallRow& row : Calls()) {
    if (call != row.name) continue;
    for (const FieldPlan& plan : PlanOf(row.request->GetDescriptor())) {
      if (plan.name == field) return NameOf(plan, value);
    }
    return nullptr;
  }
  return nullptr;
}

const std::vector<AddressName>& AddressNames(const CallRow& row) {
  thread_local std::unordered_map<const CallRow*, std::vector<AddressName>> names;
  std::vector<AddressName>& of_row = names[&row];
  if (!of_row.empty() || row.addresses.empty()) return of_row;
  const auto* const request = row.request->GetDescriptor();
  for (const std::string& path : request->containing_type()->options().GetExtension(dxg::call).addresses()) {
    const size_t last = path.rfind('.');
    const std::string group = last == std::string::npos ? "" : path.substr(0, last);
    const FieldDescriptor* const arm = request->FindFieldByName(group.substr(group.rfind('.') + 1));
    of_row.push_back({last == std::string::npos ? path : path.substr(last + 1), arm});
  }
  for (const auto buffers : {row.in, row.out}) {
    for (const Buffer& buffer : buffers) of_row.push_back({buffer.name, nullptr});
  }
  return of_row;
}

std::string ErrnoName(int error) {
  if (error == kErestartsys) return "ERESTARTSYS";
  const char* name = strerrorname_np(error);
  return name != nullptr ? name : fmt::format("errno {}", error);
}

std::string ResultText(int32_t result) {
  if (result == 0) return "0";
  if (result < 0 && result >= -kErrnoMax) {
    const char* text = result == -kErestartsys ? "Interrupted by a signal" : strerrordesc_np(-result);
    return fmt::format("-1 {} ({})", ErrnoName(-result), text != nullptr ? text : "?");
  }
  const char* name = NtStatusName(result);
  return name != nullptr ? fmt::format("{:#x} {}", static_cast<uint32_t>(result), name)
                         : fmt::format("{:#x}", static_cast<uint32_t>(result));
}

}  // namespace dxg::contract
