// Writes host_commands.gen.h and host_commands.gen.cc: the table of commands to the host, their bytes on the VMBus, and
// the dispatch that a host implementation hangs its handlers on.
#include <fmt/format.h>

#include "proto/gen/gen.h"

namespace dxg::gen {
namespace {

const WireRule& Wire(const FieldDescriptor* field) { return field->options().GetExtension(dxg::wire); }
bool HasWire(const FieldDescriptor* field) { return field->options().HasExtension(dxg::wire); }
bool IsTail(const FieldDescriptor* field) { return Wire(field).tail(); }
bool IsBytes(const FieldDescriptor* field) { return field->cpp_type() == FieldDescriptor::CPPTYPE_STRING; }

uint32_t Width(const FieldDescriptor* field) {
  if (Wire(field).bytes() != 0) return Wire(field).bytes();
  return field->cpp_type() == FieldDescriptor::CPPTYPE_UINT64 ? 8 : 4;
}

const FieldDescriptor* Tail(const Descriptor* message) {
  for (int i = 0; i < message->field_count(); ++i) {
    if (HasWire(message->field(i)) && IsTail(message->field(i))) return message->field(i);
  }
  return nullptr;
}

// Bytes that are missing before `field` on interface versions older than what came in before it: " - gone", where
// `gone` is computed once in the function, or nothing.
bool After(const FieldDescriptor* field, const FieldDescriptor* since) { return Wire(field).at() > Wire(since).at(); }

const FieldDescriptor* Since(const Descriptor* message) {
  for (int i = 0; i < message->field_count(); ++i) {
    if (HasWire(message->field(i)) && Wire(message->field(i)).since() != 0) return message->field(i);
  }
  return nullptr;
}

std::string Offset(const FieldDescriptor* field, const FieldDescriptor* since) {
  return since != nullptr && After(field, since) ? fmt::format("({} - gone)", Wire(field).at())
                                                 : fmt::format("{}", Wire(field).at());
}

std::string Gone(const FieldDescriptor* since) {
  if (since == nullptr) return "";
  return fmt::format("  [[maybe_unused]] const uint32_t gone = version < {} ? {} : 0;\n", Wire(since).since(), Width(since));
}

std::string Guard(const FieldDescriptor* field) {
  return Wire(field).since() == 0 ? "" : fmt::format("if (version >= {}) ", Wire(field).since());
}

// A tail is never longer than `tail_limit` bytes, where that is not empty: the caller's buffer ends there.
std::string EncodeFields(const Descriptor* message, const std::string& tail_limit) {
  const FieldDescriptor* since = Since(message);
  std::string text = Gone(since);
  for (int i = 0; i < message->field_count(); ++i) {
    const FieldDescriptor* field = message->field(i);
    if (!HasWire(field)) continue;
    const std::string offset = Offset(field, since);
    if (IsTail(field)) {
      text += fmt::format("  wire::PutBytes(m.{0}(), {1}, out + {2});\n", field->name(),
                          tail_limit.empty() ? fmt::format("m.{}().size()", field->name()) : tail_limit, offset);
    } else if (IsBytes(field)) {
      text += fmt::format("  {0}wire::PutBytes(m.{1}(), {2}, out + {3});\n", Guard(field), field->name(), Width(field), offset);
    } else {
      text += fmt::format("  {0}wire::Put<{1}>(out + {2}, m.{3}());\n", Guard(field), Width(field), offset, field->name());
    }
  }
  return text;
}

std::string DecodeFields(const Descriptor* message, const std::string& tail_size) {
  const FieldDescriptor* since = Since(message);
  std::string text = Gone(since);
  for (int i = 0; i < message->field_count(); ++i) {
    const FieldDescriptor* field = message->field(i);
    if (!HasWire(field)) continue;
    const std::string offset = Offset(field, since);
    if (IsTail(field)) {
      text += fmt::format("  wire::GetBytes(in, {0}, {1}, m->mutable_{2}());\n", offset, tail_size, field->name());
    } else if (IsBytes(field)) {
      text += fmt::format("  {0}wire::GetBytes(in, {1}, {2}, m->mutable_{3}());\n", Guard(field), offset, Width(field), field->name());
    } else {
      text += fmt::format("  {0}m->set_{1}(wire::Get<{2}>(in.data() + {3}));\n", Guard(field), field->name(), Width(field), offset);
    }
  }
  return text;
}

std::string Functions(const Descriptor* command) {
  const auto& options = command->options().GetExtension(dxg::command);
  const Descriptor* request = command->FindNestedTypeByName("Request");
  const Descriptor* reply = command->FindNestedTypeByName("Reply");
  const FieldDescriptor* tail = Tail(request);
  const FieldDescriptor* since = Since(reply);
  const std::string name = command->name();
  const std::string tail_bytes = tail ? fmt::format("static_cast<const {}&>(request).{}().size()", CppName(request), tail->name()) : "0";
  const std::string reply_tail = Tail(reply) != nullptr ? " + " + tail_bytes : "";
  const std::string gone = since ? fmt::format(" - (version < {} ? {} : 0)", Wire(since).since(), Width(since)) : "";
  // Where the struct declares the tail's length a decoder believes it only as far as the bytes go.
  const std::string request_tail = tail ? fmt::format("m->{}_size()", tail->name()) : "0";
  const std::string echo = options.echo() ? fmt::format("  Encode{}Request(request, out);\n", name) : "";
  return fmt::format(
      "// {0}\n"
      "uint32_t {0}RequestSize([[maybe_unused]] const Message& request) {{ return {1} + {2}; }}\n"
      "void Encode{0}Request([[maybe_unused]] const Message& request, [[maybe_unused]] std::byte* out) {{\n"
      "  [[maybe_unused]] const auto& m = static_cast<const {3}&>(request);\n{4}}}\n"
      "bool Decode{0}Request(std::span<const std::byte> in, [[maybe_unused]] Message* request) {{\n"
      "  if (in.size() < {1}) return false;\n"
      "  [[maybe_unused]] auto* m = static_cast<{3}*>(request);\n  m->Clear();\n{5}{6}  return true;\n}}\n"
      "uint32_t {0}ReplySize([[maybe_unused]] const Message& request, [[maybe_unused]] uint32_t version) {{\n  return {7}{8}{9};\n}}\n"
      "void Encode{0}Reply([[maybe_unused]] const Message& request, [[maybe_unused]] const Message& reply, [[maybe_unused]] uint32_t version, [[maybe_unused]] std::byte* out) {{\n"
      "{10}  [[maybe_unused]] const auto& m = static_cast<const {11}&>(reply);\n{12}}}\n"
      "bool Decode{0}Reply(std::span<const std::byte> in, const Message& request, uint32_t version, [[maybe_unused]] Message* reply) {{\n"
      "  if (in.size() < {0}ReplySize(request, version)) return false;\n"
      "  [[maybe_unused]] auto* m = static_cast<{11}*>(reply);\n  m->Clear();\n{13}  return true;\n}}\n\n",
      name, options.request_bytes(), tail_bytes, CppName(request), EncodeFields(request, ""), DecodeFields(request, request_tail),
      tail ? fmt::format("  if (in.size() < {} + m->{}().size() || m->{}().size() != m->{}_size()) return false;\n",
                         options.request_bytes(), tail->name(), tail->name(), tail->name())
           : "",
      options.reply_bytes(), reply_tail, gone, echo, CppName(reply), EncodeFields(reply, tail_bytes), DecodeFields(reply, tail_bytes));
}

}  // namespace

std::string HostCommandsHeader() {
  std::string cases;
  for (const Descriptor* command : CommandMessages()) {
    cases += fmt::format(
        "    case {}:\n      handler.Handle(context, static_cast<const {}&>(request), static_cast<{}*>(reply));\n      return true;\n",
        command->options().GetExtension(dxg::command).id(), CppName(command->FindNestedTypeByName("Request")),
        CppName(command->FindNestedTypeByName("Reply")));
  }
  std::string ids;
  for (const Descriptor* command : CommandMessages()) {
    ids += fmt::format("template <>\ninline constexpr uint32_t kHostCommandId<{}> = {};\n",
                       CppName(command->FindNestedTypeByName("Request")), command->options().GetExtension(dxg::command).id());
  }
  return fmt::format(
      "// Written by dxg-gen from proto/dxg/host.proto. Do not edit.\n#pragma once\n\n#include \"proto/contract/contract.h\"\n"
      "#include \"proto/dxg/host.pb.h\"\n\nnamespace dxg::contract {{\n\n"
      "// Calls handler.Handle(context, request, reply) for the command with that id; false where there is none.\n"
      "template <class Handler, class Context>\n"
      "bool DispatchHostCommand(uint32_t id, Handler& handler, Context& context, const Message& request, Message* reply) {{\n"
      "  switch (id) {{\n{}    default:\n      return false;\n  }}\n}}\n\n"
      "// The number of the command whose Request this is.\ntemplate <class Request>\ninline constexpr uint32_t kHostCommandId = ~0u;\n{}\n}}  // namespace dxg::contract\n",
      cases, ids);
}

std::string HostCommandsSource() {
  std::string text =
      "// Written by dxg-gen from proto/dxg/host.proto. Do not edit.\n#include \"proto/contract/host_commands.gen.h\"\n\n"
      "#include <algorithm>\n\n#include \"proto/contract/wire.h\"\n\nnamespace dxg::contract {\nnamespace {\n\n";
  std::string rows;
  for (const Descriptor* command : CommandMessages()) {
    const auto& options = command->options().GetExtension(dxg::command);
    text += Functions(command);
    rows += fmt::format(
        "    {{{1}, \"{2}\", {3}, {4}, &{5}::default_instance(), &{6}::default_instance(),\n"
        "     {0}RequestSize, Encode{0}Request, Decode{0}Request, {0}ReplySize, Encode{0}Reply, Decode{0}Reply}},\n",
        command->name(), options.id(), options.name(), Channel_Name(options.channel()), options.no_process(),
        CppName(command->FindNestedTypeByName("Request")), CppName(command->FindNestedTypeByName("Reply")));
  }
  return text + "const HostCommand kHostCommands[] = {\n" + rows +
         "};\n\n}  // namespace\n\nstd::span<const HostCommand> HostCommands() { return kHostCommands; }\n\n"
         "const HostCommand* FindHostCommand(uint32_t id) {\n"
         "  const auto* end = std::end(kHostCommands);\n"
         "  const auto* row = std::lower_bound(std::begin(kHostCommands), end, id,\n"
         "                                     [](const HostCommand& command, uint32_t value) { return command.id < value; });\n"
         "  return row != end && row->id == id ? row : nullptr;\n}\n\n}  // namespace dxg::contract\n";
}

}  // namespace dxg::gen
