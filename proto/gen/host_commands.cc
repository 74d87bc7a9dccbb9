// Writes host_commands.gen.h and host_commands.gen.cc: the table of commands to the host, their bytes on the
// VMBus, and the dispatch that a host implementation hangs its handlers on.
#include <fmt/format.h>

#include "proto/gen/gen.h"

namespace dxg::gen {
namespace {

const WireRule& Wire(const FieldDescriptor* field) { return field->options().GetExtension(dxg::wire); }
bool HasWire(const FieldDescriptor* field) { return field->options().HasExtension(dxg::wire); }
bool IsTail(const FieldDescriptor* field) { return HasWire(field) && Wire(field).tail(); }
bool IsBytes(const FieldDescriptor* field) {
  return field->cpp_type() == FieldDescriptor::CPPTYPE_STRING && !field->is_repeated();
}
bool IsFixedList(const FieldDescriptor* field) { return field->is_repeated() && !IsTail(field); }
// The bytes of one number, whatever the field's room.
uint32_t NumberWidth(const FieldDescriptor* field) {
  return field->cpp_type() == FieldDescriptor::CPPTYPE_UINT64 ? 8 : 4;
}
bool IsRecords(const FieldDescriptor* field) { return field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE; }

// Bytes of a number, of one element of a list, or of a bytes field's fixed room.
uint32_t Width(const FieldDescriptor* field) {
  if (IsRecords(field)) return field->message_type()->options().GetExtension(dxg::record).bytes();
  if (IsBytes(field) && IsTail(field)) return 1;
  if (Wire(field).bytes() != 0) return Wire(field).bytes();
  return NumberWidth(field);
}

// A field that older interface versions do not have; what lies behind it moves up by its width, "gone" in the
// function.
const FieldDescriptor* Since(const Descriptor* message) {
  for (int i = 0; i < message->field_count(); ++i) {
    if (HasWire(message->field(i)) && Wire(message->field(i)).since() != 0) return message->field(i);
  }
  return nullptr;
}

std::string Offset(const FieldDescriptor* field, const FieldDescriptor* since) {
  const bool after = since != nullptr && Wire(field).at() > Wire(since).at();
  return after ? fmt::format("({} - gone)", Wire(field).at()) : fmt::format("{}", Wire(field).at());
}

std::string Gone(const FieldDescriptor* since) {
  if (since == nullptr) return "";
  return fmt::format("  [[maybe_unused]] const uint32_t gone = version < {} ? {} : 0;\n", Wire(since).since(),
                     Width(since));
}

std::string Guard(const FieldDescriptor* field) {
  return Wire(field).since() == 0 ? "" : fmt::format("if (version >= {}) ", Wire(field).since());
}

// The value of a WireRule's path in a function where `m` is the field's own message and `r` the command's
// request.
std::string Value(const Descriptor* message, std::string path) {
  std::string from = "m";
  if (path.starts_with("request.")) {
    path = path.substr(8);
    from = "r";
    message = message->containing_type()->FindNestedTypeByName("Request");
  }
  const size_t dot = path.find('.');
  if (dot == std::string::npos) return fmt::format("uint64_t{{{}.{}()}}", from, path);
  return fmt::format("wire::Sum({}.{}(), [](const auto& each) {{ return each.{}(); }})", from,
                     path.substr(0, dot), path.substr(dot + 1));
}

// How many elements a tail has by the fields that say so.
std::string Count(const FieldDescriptor* field) {
  const WireRule& rule = Wire(field);
  const Descriptor* message = field->containing_type();
  std::string count;
  if (!rule.count().empty()) {
    count = Value(message, rule.count());
  } else if (message->name() == "Reply") {
    count = fmt::format("uint64_t{{r.{}().size()}}", field->name());
  } else {
    count = fmt::format("uint64_t{{m.{}_size()}}", field->name());
  }
  if (!rule.or_one().empty())
    count = fmt::format("wire::OrOne({}, {})", count, Value(message, rule.or_one()));
  if (rule.at_least_one()) count = fmt::format("std::max<uint64_t>({}, 1)", count);
  if (!rule.when().empty()) count = fmt::format("({} != 0 ? {} : 0)", Value(message, rule.when()), count);
  return count;
}

// Encoding a request, a tail is as long as it is; the fields that say so are the sender's to set.
std::string ActualCount(const FieldDescriptor* field) {
  if (IsBytes(field)) return fmt::format("uint64_t{{m.{}().size()}}", field->name());
  return fmt::format("static_cast<uint64_t>(m.{}_size())", field->name());
}

std::string TailBytes(const Descriptor* message, bool actual) {
  std::string sum;
  for (int i = 0; i < message->field_count(); ++i) {
    const FieldDescriptor* field = message->field(i);
    if (!actual && IsTail(field) && Wire(field).rest()) continue;  // none is the least
    if (IsTail(field))
      sum += fmt::format(" + {} * {}", Width(field), actual ? ActualCount(field) : Count(field));
  }
  return sum;
}

// Where a tail begins: at its own place, or where the one before it ended.
std::string MoveTo(const FieldDescriptor* field, const FieldDescriptor* since) {
  return Wire(field).at() == 0 ? "" : fmt::format("  at = {};\n", Offset(field, since));
}

std::string EncodeTail(const FieldDescriptor* field, const FieldDescriptor* since, bool actual) {
  const std::string count = actual ? ActualCount(field) : Count(field);
  const std::string name = field->name();
  std::string put;
  if (IsBytes(field)) {
    put = fmt::format("wire::PutBytes(m.{}(), n, out + at);", name);
  } else if (IsRecords(field)) {
    put = fmt::format(
        "for (uint64_t i = 0; i < n && i < static_cast<uint64_t>(m.{0}_size()); ++i) EncodeRecord(m.{0}(i), "
        "out + at + i * {1});",
        name, Width(field));
  } else {
    put = fmt::format("wire::PutNumbers(m.{}(), n, out + at);", name);
  }
  return MoveTo(field, since) +
         fmt::format("  {{\n    const uint64_t n = {};\n    {}\n    at += n * {};\n  }}\n", count, put,
                     Width(field));
}

std::string DecodeTail(const FieldDescriptor* field, const FieldDescriptor* since) {
  const std::string name = field->name();
  const std::string count = Wire(field).rest()
                                ? fmt::format("at < in.size() ? (in.size() - at) / {} : 0", Width(field))
                                : Count(field);
  std::string get;
  if (IsBytes(field)) {
    get = fmt::format("wire::GetBytes(in, at, n, out->mutable_{}());", name);
  } else if (IsRecords(field)) {
    get = fmt::format(
        "for (uint64_t i = 0; i < n && at + (i + 1) * {1} <= in.size(); ++i) DecodeRecord(in.data() + at + i "
        "* {1}, out->add_{0}());",
        name, Width(field));
  } else {
    get = fmt::format("wire::GetNumbers(in, at, n, out->mutable_{}());", name);
  }
  return MoveTo(field, since) +
         fmt::format("  {{\n    const uint64_t n = {};\n    {}\n    at += n * {};\n  }}\n", count, get,
                     Width(field));
}

std::string EncodeFixed(const FieldDescriptor* field, const FieldDescriptor* since) {
  const std::string offset = Offset(field, since), name = field->name(), guard = Guard(field);
  if (IsBytes(field))
    return fmt::format("  {}wire::PutBytes(m.{}(), {}, out + {});\n", guard, name, Width(field), offset);
  if (IsFixedList(field))
    return fmt::format("  {}wire::PutNumbers(m.{}(), {}, out + {});\n", guard, name,
                       Width(field) / NumberWidth(field), offset);
  return fmt::format("  {}wire::Put<{}>(out + {}, m.{}());\n", guard, Width(field), offset, name);
}

std::string DecodeFixed(const FieldDescriptor* field, const FieldDescriptor* since) {
  const std::string offset = Offset(field, since), name = field->name(), guard = Guard(field);
  if (IsBytes(field))
    return fmt::format("  {}wire::GetBytes(in, {}, {}, out->mutable_{}());\n", guard, offset, Width(field),
                       name);
  if (IsFixedList(field))
    return fmt::format("  {}wire::GetNumbers(in, {}, {}, out->mutable_{}());\n", guard, offset,
                       Width(field) / NumberWidth(field), name);
  return fmt::format("  {}out->set_{}(wire::Get<{}>(in.data() + {}));\n", guard, name, Width(field), offset);
}

std::string EncodeFields(const Descriptor* message, bool actual) {
  const FieldDescriptor* since = Since(message);
  std::string text = Gone(since), tails;
  for (int i = 0; i < message->field_count(); ++i) {
    const FieldDescriptor* field = message->field(i);
    if (!HasWire(field)) continue;
    (IsTail(field) ? tails : text) +=
        IsTail(field) ? EncodeTail(field, since, actual) : EncodeFixed(field, since);
  }
  return text + (tails.empty() ? "" : "  uint64_t at = 0;\n" + tails);
}

// Numbers first: the tails' lengths are among them.
std::string DecodeFields(const Descriptor* message) {
  const FieldDescriptor* since = Since(message);
  std::string text = Gone(since), tails;
  for (int i = 0; i < message->field_count(); ++i) {
    const FieldDescriptor* field = message->field(i);
    if (!HasWire(field)) continue;
    (IsTail(field) ? tails : text) += IsTail(field) ? DecodeTail(field, since) : DecodeFixed(field, since);
  }
  return text + (tails.empty() ? "" : "  uint64_t at = 0;\n" + tails);
}

// A record's own two functions: its fields are numbers at fixed places.
std::string RecordFunctions(const Descriptor* record) {
  return fmt::format(
      "void EncodeRecord(const {0}& m, std::byte* out) {{\n{1}}}\n"
      "void DecodeRecord(const std::byte* record, {0}* out) {{\n  const std::span<const std::byte> "
      "in(record, {2});\n{3}}}\n\n",
      CppName(record), EncodeFields(record, true), record->options().GetExtension(dxg::record).bytes(),
      DecodeFields(record));
}

std::string GuestMessageFunctions(const Descriptor* message) {
  return fmt::format(
      "void Encode{0}(const Message& message, std::byte* out) {{\n  const auto& m = static_cast<const "
      "{1}&>(message);\n{2}}}\n"
      "bool Decode{0}(std::span<const std::byte> in, Message* message) {{\n  if (in.size() < {3}) return "
      "false;\n"
      "  auto* out = static_cast<{1}*>(message);\n  out->Clear();\n{4}  return true;\n}}\n\n",
      message->name(), CppName(message), EncodeFields(message, true),
      message->options().GetExtension(dxg::guest_message).bytes(), DecodeFields(message));
}

std::string Functions(const Descriptor* command) {
  const auto& options = command->options().GetExtension(dxg::command);
  const Descriptor* request = command->FindNestedTypeByName("Request");
  const Descriptor* reply = command->FindNestedTypeByName("Reply");
  const FieldDescriptor* since = Since(reply);
  const std::string& name = command->name();
  const std::string gone =
      since ? fmt::format(" - (version < {} ? {} : 0)", Wire(since).since(), Width(since)) : "";
  const std::string own = options.carries_reply() ? fmt::format(" + {}ReplySize(request, ~0u)", name) : "";
  const std::string multiple =
      options.reply_multiple() != 0 ? fmt::format("wire::RoundUp<{}>", options.reply_multiple()) : "";
  const std::string request_type = CppName(request), reply_type = CppName(reply);
  const std::string r =
      fmt::format("  [[maybe_unused]] const auto& r = static_cast<const {}&>(request);\n", request_type);
  return fmt::format(
             "// {0}\n"
             "uint32_t {0}ReplySize([[maybe_unused]] const Message& request, [[maybe_unused]] uint32_t "
             "version) {{\n{1}"
             "  return wire::Limit({2}({3}{4}{5}));\n}}\n",
             name, r, multiple, options.reply_bytes(), TailBytes(reply, false), gone) +
         fmt::format(
             "uint32_t {0}RequestSize([[maybe_unused]] const Message& request) {{\n"
             "  [[maybe_unused]] const auto& m = static_cast<const {1}&>(request);\n  return "
             "std::max<uint32_t>(wire::Limit({2}{3}{4}), {6});\n}}\n"
             "void Encode{0}Request([[maybe_unused]] const Message& request, [[maybe_unused]] std::byte* "
             "out) {{\n"
             "  [[maybe_unused]] const auto& m = static_cast<const {1}&>(request);\n{5}}}\n",
             name, request_type, options.request_bytes(), TailBytes(request, true), own,
             EncodeFields(request, true), options.request_at_least()) +
         fmt::format(
             "bool Decode{0}Request(std::span<const std::byte> in, [[maybe_unused]] Message* request) {{\n"
             "  if (in.size() < {1}) return false;\n"
             "  [[maybe_unused]] auto* out = static_cast<{2}*>(request);\n  [[maybe_unused]] const auto& m = "
             "*out;\n  out->Clear();\n{3}"
             "  return in.size() >= uint64_t{{{1}}}{4}{5};\n}}\n",
             name, options.request_bytes(), request_type, DecodeFields(request), TailBytes(request, false),
             options.carries_reply() ? fmt::format(" + {}ReplySize(*request, ~0u)", name) : "") +
         fmt::format(
             "void Encode{0}Reply([[maybe_unused]] const Message& request, [[maybe_unused]] const Message& "
             "reply, [[maybe_unused]] uint32_t version, [[maybe_unused]] std::byte* out) {{\n"
             "{1}{2}  [[maybe_unused]] const auto& m = static_cast<const {3}&>(reply);\n{4}}}\n",
             name, r, options.echo() ? fmt::format("  Encode{}Request(request, out);\n", name) : "",
             reply_type, EncodeFields(reply, false)) +
         fmt::format(
             "bool Decode{0}Reply(std::span<const std::byte> in, const Message& request, uint32_t version, "
             "[[maybe_unused]] Message* reply) {{\n"
             "  if (in.size() < {0}ReplySize(request, version)) return false;\n{1}"
             "  [[maybe_unused]] auto* out = static_cast<{2}*>(reply);\n  [[maybe_unused]] const auto& m = "
             "*out;\n  out->Clear();\n{3}  return true;\n}}\n\n",
             name, r, reply_type, DecodeFields(reply));
}

bool HasStatus(const Descriptor& reply) { return reply.FindFieldByName("status") != nullptr; }

}  // namespace

std::string HostCommandsHeader() {
  std::string cases;
  for (const Descriptor* command : CommandMessages()) {
    const Descriptor& reply = *command->FindNestedTypeByName("Reply");
    const std::string handle =
        fmt::format("handler.Handle(context, static_cast<const {}&>(request), static_cast<{}*>(reply))",
                    CppName(command->FindNestedTypeByName("Request")), CppName(&reply));
    cases += fmt::format(
        "    case {}:\n      {};\n      return true;\n", command->options().GetExtension(dxg::command).id(),
        HasStatus(reply) ? fmt::format("static_cast<{}*>(reply)->set_status({})", CppName(&reply), handle)
                         : handle);
  }
  std::string ids;
  for (const Descriptor* command : CommandMessages()) {
    ids += fmt::format("template <>\ninline constexpr uint32_t kHostCommandId<{}> = {};\n",
                       CppName(command->FindNestedTypeByName("Request")),
                       command->options().GetExtension(dxg::command).id());
  }
  std::string each;
  for (const Descriptor* command : CommandMessages()) {
    each += fmt::format(" \\\n  X({}, {})", command->name(),
                        HasStatus(*command->FindNestedTypeByName("Reply")) ? "int32_t" : "void");
  }
  return fmt::format(
      "// Written by dxg-gen from proto/dxg/host.proto. Do not edit.\n#pragma once\n\n#include "
      "\"proto/contract/contract.h\"\n"
      "#include \"proto/dxg/host.pb.h\"\n\nnamespace dxg::contract {{\n\n"
      "// Calls handler.Handle(context, request, reply) for the command with that id, and sets the status "
      "that "
      "it returns; false where there is none.\n"
      "template <class Handler, class Context>\n"
      "bool DispatchHostCommand(uint32_t id, Handler& handler, Context& context, const Message& request, "
      "Message* reply) {{\n"
      "  switch (id) {{\n{}    default:\n      return false;\n  }}\n}}\n\n"
      "// The number of the command whose Request this is.\ntemplate <class Request>\ninline constexpr "
      "uint32_t kHostCommandId = ~0u;\n{}\n}}  // namespace dxg::contract\n\n"
      "// X(Name, Returns) for each command; its handler returns the reply's NTSTATUS, where that has "
      "one.\n#define DXG_FOR_EACH_HOST_COMMAND(X){}\n",
      cases, ids, each);
}

std::string HostCommandsSource() {
  std::string text =
      "// Written by dxg-gen from proto/dxg/host.proto. Do not edit.\n#include "
      "\"proto/contract/host_commands.gen.h\"\n\n"
      "#include <algorithm>\n\n#include \"proto/contract/wire.h\"\n\nnamespace dxg::contract {\nnamespace "
      "{\n\n";
  std::string rows;
  for (const Descriptor* record : RecordMessages()) text += RecordFunctions(record);
  for (const Descriptor* command : CommandMessages()) {
    const auto& options = command->options().GetExtension(dxg::command);
    text += Functions(command);
    rows += fmt::format(
        "    {{{1}, \"{2}\", {3}, {4}, {7}, &{5}::default_instance(), &{6}::default_instance(),\n"
        "     {0}RequestSize, Encode{0}Request, Decode{0}Request, {0}ReplySize, Encode{0}Reply, "
        "Decode{0}Reply}},\n",
        command->name(), options.id(), options.name(), Channel_Name(options.channel()), options.no_process(),
        CppName(command->FindNestedTypeByName("Request")), CppName(command->FindNestedTypeByName("Reply")),
        options.may_be_async());
  }
  std::string guest_rows;
  for (const Descriptor* message : GuestMessages()) {
    const auto& options = message->options().GetExtension(dxg::guest_message);
    text += GuestMessageFunctions(message);
    guest_rows +=
        fmt::format("    {{{0}, \"{1}\", &{2}::default_instance(), {3}, Encode{4}, Decode{4}}},\n",
                    options.id(), options.name(), CppName(message), options.bytes(), message->name());
  }
  return text + "const CommandRow kHostCommands[] = {\n" + rows +
         "};\n\nconst GuestMessage kGuestMessages[] = {\n" + guest_rows +
         "};\n\n}  // namespace\n\nstd::span<const CommandRow> HostCommands() { return kHostCommands; }\n\n"
         "const CommandRow* FindHostCommand(uint32_t id) {\n"
         "  const auto* end = std::end(kHostCommands);\n"
         "  const auto* row = std::lower_bound(std::begin(kHostCommands), end, id,\n"
         "                                     [](const CommandRow& command, uint32_t value) { return "
         "command.id < value; });\n"
         "  return row != end && row->id == id ? row : nullptr;\n}\n\n"
         "std::span<const GuestMessage> GuestMessages() { return kGuestMessages; }\n\n"
         "const GuestMessage* FindGuestMessage(uint32_t id) {\n"
         "  for (const GuestMessage& row : kGuestMessages) {\n    if (row.id == id) return &row;\n  }\n  "
         "return nullptr;\n}\n\n"
         "}  // namespace dxg::contract\n";
}

}  // namespace dxg::gen
