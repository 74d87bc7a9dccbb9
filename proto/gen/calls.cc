// Writes calls.gen.h and calls.gen.cc: a row, a traits struct and a codec for each call.
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <map>
#include <set>

#include "proto/gen/gen.h"

namespace dxg::gen {
namespace {

struct Shape {  // a struct of the ABI as one or two messages see it
  std::string args;
  std::vector<std::string> addresses;
  std::vector<std::string> unused;
};

template <typename Options>
Shape ShapeOf(const Options& options) {
  return {options.args(),
          {options.addresses().begin(), options.addresses().end()},
          {options.unused().begin(), options.unused().end()}};
}

const FieldRule& Rule(const FieldDescriptor* field) { return field->options().GetExtension(dxg::field); }
bool IsGuest(const FieldDescriptor* field) { return Rule(field).guest(); }
bool IsMessage(const FieldDescriptor* field) { return field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE; }
std::string MemberPath(const FieldDescriptor* field) {
  return Rule(field).member().empty() ? field->name() : Rule(field).member();
}

std::string At(const std::string& member) { return fmt::format("DXG_AT({})", member); }
std::string At(const FieldDescriptor* field) {
  if (Rule(field).bytes() == 0) return At(MemberPath(field));
  return fmt::format("offsetof(Args, {}), {}", MemberPath(field), Rule(field).bytes());
}
// The same as a Member of a struct named outright.
std::string MemberText(const std::string& args, const std::string& member, uint32_t bytes) {
  const std::string size = bytes != 0 ? fmt::format("{}", bytes)
                                      : fmt::format("sizeof(static_cast<::{}*>(nullptr)->{})", args, member);
  return fmt::format("{{offsetof(::{}, {}), {}}}", args, member, size);
}

// "(Load<...>(args) & 0x2) == 0x2", or "true".
std::string ConditionText(const Condition& when) {
  if (when.member().empty()) return "true";
  std::string value = fmt::format("contract::Load<{}>(args)", At(when.member()));
  if (when.mask() != 0) value = fmt::format("({} & {:#x}u)", value, when.mask());
  std::string text;
  for (uint64_t is : when.is()) text += fmt::format("{}{} == {:#x}u", text.empty() ? "" : " || ", value, is);
  return text;
}

// Statements that take the members of a message out of `args`, or put them there.
std::string ReadFields(const Descriptor* message, const std::string& to, int indent);
std::string WriteFields(const Descriptor* message, const std::string& from, int indent);

std::string ReadField(const FieldDescriptor* field, const std::string& to, int indent) {
  const std::string pad(indent, ' ');
  if (IsMessage(field)) {
    return fmt::format(
        "{0}if ({1}) {{\n{0}  auto* group = {2}->mutable_{3}();\n{4}{0}}} else {{\n{0}  "
        "{2}->clear_{3}();\n{0}}}\n",
        pad, ConditionText(Rule(field).when()), to, field->name(),
        ReadFields(field->message_type(), "group", indent + 2));
  }
  const std::string member = At(field);
  if (field->is_repeated()) {
    return fmt::format("{0}contract::ReadInline<{1}>(args, {2}->mutable_{3}());\n", pad, member, to,
                       field->name());
  }
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
    return fmt::format("{0}contract::ReadBytes<{1}>(args, {2}->mutable_{3}());\n", pad, member, to,
                       field->name());
  }
  const char* type = field->cpp_type() == FieldDescriptor::CPPTYPE_INT32    ? "int32_t"
                     : field->cpp_type() == FieldDescriptor::CPPTYPE_UINT32 ? "uint32_t"
                                                                            : "uint64_t";
  return fmt::format("{}{}->set_{}(static_cast<{}>(contract::Load<{}>(args)));\n", pad, to, field->name(),
                     type, member);
}

std::string WriteField(const FieldDescriptor* field, const std::string& from, int indent) {
  const std::string pad(indent, ' ');
  if (IsMessage(field)) {
    return fmt::format("{0}if ({1}.has_{2}()) {{\n{0}  const auto& group = {1}.{2}();\n{3}{0}}}\n", pad, from,
                       field->name(), WriteFields(field->message_type(), "group", indent + 2));
  }
  const std::string member = At(field);
  if (field->is_repeated()) {
    return fmt::format("{0}contract::WriteInline<{1}>(args, {2}.{3}());\n", pad, member, from, field->name());
  }
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
    return fmt::format("{0}contract::WriteBytes<{1}>(args, {2}.{3}());\n", pad, member, from, field->name());
  }
  const char* cast = field->cpp_type() == FieldDescriptor::CPPTYPE_INT32 ? "static_cast<uint32_t>" : "";
  return fmt::format("{}contract::Store<{}>(args, {}({}.{}()));\n", pad, member, cast, from, field->name());
}

std::string ReadFields(const Descriptor* message, const std::string& to, int indent) {
  std::string text;
  for (int i = 0; i < message->field_count(); ++i) {
    const FieldDescriptor* field = message->field(i);
    if (!IsBuffer(field) && !IsGuest(field)) text += ReadField(field, to, indent);
  }
  return text;
}

std::string WriteFields(const Descriptor* message, const std::string& from, int indent) {
  std::string text;
  for (int i = 0; i < message->field_count(); ++i) {
    const FieldDescriptor* field = message->field(i);
    if (!IsBuffer(field) && !IsGuest(field)) text += WriteField(field, from, indent);
  }
  return text;
}

std::string Codec(const Descriptor* message, const std::string& args, const std::string& name) {
  const std::string type = CppName(message);
  return fmt::format(
      "void Read{0}([[maybe_unused]] const std::byte* args, [[maybe_unused]] contract::Message* message) {{\n"
      "  using Args [[maybe_unused]] = ::{1};\n"
      "  [[maybe_unused]] auto* m = static_cast<{2}*>(message);\n{3}}}\n"
      "void Write{0}([[maybe_unused]] const contract::Message& message, [[maybe_unused]] std::byte* args) "
      "{{\n"
      "  using Args [[maybe_unused]] = ::{1};\n"
      "  [[maybe_unused]] const auto& m = static_cast<const {2}&>(message);\n{4}}}\n",
      name, args, type, ReadFields(message, "m", 2), WriteFields(message, "m", 2));
}

// The Buffer row of one field.
std::string BufferRow(const FieldDescriptor* field, const std::string& args) {
  const BufferRule& rule = field->options().GetExtension(dxg::buffer);
  const std::string type = CppName(field->containing_type());
  const std::string name = field->name();
  std::string element_size, resize = "nullptr", data = "nullptr", read = "nullptr", write = "nullptr", size;
  if (IsMessage(field)) {
    const std::string element = field->message_type()->name();
    element_size =
        fmt::format("sizeof(::{})", field->message_type()->options().GetExtension(dxg::element).args());
    if (field->is_repeated()) {
      size = fmt::format("static_cast<const {}&>(m).{}_size()", type, name);
      read = fmt::format(
          "[](const std::byte* e, uint32_t n, contract::Message* m) {{ auto* f = "
          "static_cast<{0}*>(m)->mutable_{1}(); f->Clear(); "
          "for (uint32_t i = 0; i < n; ++i) Read{2}(e + i * {3}, f->Add()); }}",
          type, name, element, element_size);
      write = fmt::format(
          "[](const contract::Message& m, std::byte* e) {{ for (const auto& v : static_cast<const "
          "{0}&>(m).{1}()) {{ "
          "Write{2}(v, e); e += {3}; }} }}",
          type, name, element, element_size);
    } else {
      size = "1";
      read = fmt::format(
          "[](const std::byte* e, uint32_t, contract::Message* m) {{ Read{2}(e, "
          "static_cast<{0}*>(m)->mutable_{1}()); }}",
          type, name, element);
      write = fmt::format(
          "[](const contract::Message& m, std::byte* e) {{ Write{2}(static_cast<const {0}&>(m).{1}(), e); }}",
          type, name, element);
    }
  } else if (field->is_repeated()) {
    const bool wide = field->cpp_type() == FieldDescriptor::CPPTYPE_UINT64;
    element_size = wide ? "8" : "4";
    size = fmt::format("static_cast<const {}&>(m).{}_size()", type, name);
    resize = fmt::format(
        "[](contract::Message* m, uint32_t n) {{ auto* f = static_cast<{}*>(m)->mutable_{}(); f->Resize(n, "
        "0); "
        "return reinterpret_cast<std::byte*>(f->mutable_data()); }}",
        type, name);  // Safety: bytes of numbers
    data = fmt::format(
        "[](const contract::Message& m) {{ return reinterpret_cast<const std::byte*>(static_cast<const "
        "{}&>(m).{}().data()); }}",
        type, name);
  } else {
    element_size = "1";
    size = fmt::format("static_cast<const {}&>(m).{}().size()", type, name);
    resize = fmt::format(
        "[](contract::Message* m, uint32_t n) {{ auto* f = static_cast<{}*>(m)->mutable_{}(); f->resize(n); "
        "return reinterpret_cast<std::byte*>(f->data()); }}",
        type, name);
    data = fmt::format(
        "[](const contract::Message& m) {{ return reinterpret_cast<const std::byte*>(static_cast<const "
        "{}&>(m).{}().data()); }}",
        type, name);
  }
  const std::string count =
      rule.count().empty() ? "1" : fmt::format("contract::Load<{}>(args)", At(rule.count()));
  const uint32_t max = rule.max() == 0 ? 1 : rule.max();
  return fmt::format(
      "{{\"{0}\", offsetof(::{1}, {2}), {3}, {4},\n"
      "     []([[maybe_unused]] const std::byte* args) -> uint64_t {{ using Args [[maybe_unused]] = ::{1}; "
      "return {5}; }},\n"
      "     []([[maybe_unused]] const std::byte* args) -> bool {{ using Args [[maybe_unused]] = ::{1}; "
      "return {6}; }},\n"
      "     []([[maybe_unused]] const contract::Message& m) -> uint32_t {{ return {7}; }},\n"
      "     {8},\n     {9},\n     {10},\n     {11}}}",
      name, args, rule.pointer(), element_size, max, count, ConditionText(rule.when()), size, resize, data,
      read, write);
}

std::vector<const FieldDescriptor*> Buffers(const Descriptor* message) {
  std::vector<const FieldDescriptor*> buffers;
  for (int i = 0; i < message->field_count(); ++i) {
    if (IsBuffer(message->field(i))) buffers.push_back(message->field(i));
  }
  return buffers;
}

std::string BufferTable(const Descriptor* message, const std::string& args, const std::string& name) {
  const auto buffers = Buffers(message);
  if (buffers.empty()) return "";
  std::string text = fmt::format("const contract::Buffer k{}[] = {{\n", name);
  for (const auto* field : buffers) text += "    " + BufferRow(field, args) + ",\n";
  return text + "};\n";
}

void CollectMembers(const Descriptor* message, const std::string& args, std::vector<std::string>* members) {
  for (int i = 0; i < message->field_count(); ++i) {
    const FieldDescriptor* field = message->field(i);
    if (IsBuffer(field) || IsGuest(field)) continue;
    if (IsMessage(field)) {
      CollectMembers(field->message_type(), args, members);
    } else {
      members->push_back(MemberText(args, MemberPath(field), Rule(field).bytes()));
    }
  }
}

std::string MemberTable(const std::vector<std::string>& members, const std::string& name) {
  if (members.empty()) return "";
  std::string text = fmt::format("const contract::Member k{}[] = {{\n", name);
  for (const auto& member : members) text += fmt::format("    {},\n", member);
  return text + "};\n";
}

std::string SpanOf(bool any, const std::string& name) { return any ? "k" + name : "{}"; }

// Codecs, buffer tables and member tables of a struct, named after `name`.
struct Tables {
  std::string text;
  std::string members, addresses, unused;
};

Tables StructTables(const std::vector<const Descriptor*>& messages, const Shape& shape,
                    const std::string& name) {
  std::vector<std::string> members, addresses, unused;
  for (const auto& member : shape.addresses) addresses.push_back(MemberText(shape.args, member, 0));
  for (const auto& member : shape.unused) unused.push_back(MemberText(shape.args, member, 0));
  for (const Descriptor* message : messages) {
    CollectMembers(message, shape.args, &members);
    for (const auto* field : Buffers(message)) {
      addresses.push_back(MemberText(shape.args, field->options().GetExtension(dxg::buffer).pointer(), 0));
    }
  }
  Tables tables;
  tables.text = MemberTable(members, name + "Members") + MemberTable(addresses, name + "Addresses") +
                MemberTable(unused, name + "Unused");
  tables.members = SpanOf(!members.empty(), name + "Members");
  tables.addresses = SpanOf(!addresses.empty(), name + "Addresses");
  tables.unused = SpanOf(!shape.unused.empty(), name + "Unused");
  return tables;
}

std::string TraitsFields(const Descriptor* message, const std::string& args, const std::string& row_table) {
  std::string text;
  int index = 0;
  for (int i = 0; i < message->field_count(); ++i) {
    const FieldDescriptor* field = message->field(i);
    if (IsGuest(field)) continue;
    if (IsBuffer(field)) {
      text += fmt::format("    static const contract::Buffer& {}() {{ return Row().{}[{}]; }}\n",
                          field->name(), row_table, index++);
    } else if (!IsMessage(field)) {
      text += fmt::format("    static constexpr contract::Member {}{};\n", field->name(),
                          MemberText(args, MemberPath(field), Rule(field).bytes()));
    }
  }
  return text;
}

// Members with an address in the client that belong to no buffer, by their path: "a.b" is Address::a_b.
std::string AddressFields(const CallOptions& options) {
  if (options.addresses().empty()) return "";
  std::string text = "  struct Address {\n";
  for (std::string name : options.addresses()) {
    const std::string member = MemberText(options.args(), name, 0);
    std::replace(name.begin(), name.end(), '.', '_');
    text += fmt::format("    static constexpr contract::Member {}{};\n", name, member);
  }
  return text + "  };\n";
}

}  // namespace

std::string CallsHeader() {
  std::string text =
      "// Written by dxg-gen from proto/dxg/*.proto. Do not edit.\n#pragma once\n\n#include <cstddef>\n\n"
      "#include \"proto/abi/d3dkmthk.h\"\n#include \"proto/contract/contract.h\"\n#include "
      "\"proto/contract/numbers.gen.h\"\n";
  // Each family once.
  std::set<std::string> families;
  for (const Descriptor* call : CallMessages()) families.insert(call->file()->name());
  for (const std::string& file : families) {
    text += fmt::format("#include \"{}.pb.h\"\n", file.substr(0, file.size() - std::strlen(".proto")));
  }
  text += "\nnamespace dxg::calls {\n\n";
  std::string served;
  int index = 0;
  for (const Descriptor* call : CallMessages()) {
    const auto& options = call->options().GetExtension(dxg::call);
    const Descriptor* request = call->FindNestedTypeByName("Request");
    const Descriptor* reply = call->FindNestedTypeByName("Reply");
    text += fmt::format(
        "// {1}\nstruct {0} {{\n  using Args = ::{2};\n  using Request = {3};\n  using Reply = {4};\n"
        "  static constexpr uint32_t kCode = {5};\n"
        "  static const contract::CallRow& Row() {{ return contract::Calls()[{6}]; }}\n"
        "  struct In {{\n{7}  }};\n  struct Out {{\n{8}  }};\n{9}}};\n\n",
        call->name(), options.summary(), options.args(), CppName(request), CppName(reply), options.ioctl(),
        index++, TraitsFields(request, options.args(), "in"), TraitsFields(reply, options.args(), "out"),
        AddressFields(options));
    if (options.served()) served += fmt::format(" \\\n  X({})", call->name());
  }
  text +=
      "}  // namespace dxg::calls\n\n// X(Name) for each call that has a handler.\n#define "
      "DXG_FOR_EACH_SERVED_CALL(X)" +
      served + "\n";
  return text;
}

namespace {

// "paging_fence_value" as PagingFenceValue.
std::string CamelName(const std::string& name) {
  std::string camel;
  bool upper = true;
  for (char c : name) {
    if (c == '_') {
      upper = true;
    } else {
      camel += upper ? static_cast<char>(std::toupper(static_cast<unsigned char>(c))) : c;
      upper = false;
    }
  }
  return camel;
}

}  // namespace

std::string NumbersHeader() {
  std::string codes, limits;
  for (const Descriptor* call : CallMessages()) {
    const auto& options = call->options().GetExtension(dxg::call);
    codes += fmt::format(" \\\n  X({}, {})", call->name(), options.ioctl());
    std::map<std::string, uint32_t> maxima;
    for (const char* part : {"Request", "Reply"}) {
      for (const auto* field : Buffers(call->FindNestedTypeByName(part))) {
        const BufferRule& rule = field->options().GetExtension(dxg::buffer);
        if (!rule.count().empty()) maxima[field->name()] = rule.max();
      }
    }
    for (const auto& [name, max] : maxima)
      limits += fmt::format("inline constexpr uint32_t k{}{}Max = {};\n", call->name(), CamelName(name), max);
  }
  return fmt::format(
      "// Written by dxg-gen from proto/dxg/*.proto. Do not edit.\n#pragma once\n\n#include <cstdint>\n\n"
      "#include \"proto/abi/d3dkmthk.h\"\n\n"
      "// The contract as plain numbers, for whoever links nothing of this project.\n\n"
      "// X(name, code) for each call.\n#define DXG_FOR_EACH_CALL_CODE(X){}\n\nnamespace dxg::limits {{\n\n"
      "// The most elements (bytes, of data) of a list or of data in the client's memory.\n{}\n}}  // "
      "namespace dxg::limits\n",
      codes, limits);
}

// For libdxcore.so, which links nothing of this project.
std::string ThunksHeader() {
  std::string plain, by_hand, legacy;
  for (const Descriptor* call : CallMessages()) {
    const auto& options = call->options().GetExtension(dxg::call);
    const Thunk& thunk = options.thunk();
    const std::string& name = thunk.name().empty() ? call->name() : thunk.name();
    if (thunk.by_hand()) {
      by_hand += fmt::format(" \\\n  X({}, {})", name, options.ioctl());
    } else {
      plain += fmt::format(" \\\n  X({}, {}, {})", name, options.ioctl(), thunk.begins());
    }
  }
  for (const auto& number : Unhandled()) {
    if (number.legacy_code() != 0)
      legacy += fmt::format(" \\\n  X({}, {:#x}u)", number.name(), number.legacy_code());
  }
  return fmt::format(
      "// Written by dxg-gen from proto/dxg/*.proto. Do not edit.\n#pragma once\n\n"
      "#include \"proto/abi/d3dkmthk.h\"\n\n"
      "// X(name, code, begins) for each call whose function D3DKMT<name> passes its struct on. `begins`: it "
      "may be\n"
      "// the first call of a child after fork().\n#define DXG_FOR_EACH_THUNK(X){}\n\n"
      "// X(name, code) for each call whose function is written by hand.\n"
      "#define DXG_FOR_EACH_THUNK_BY_HAND(X){}\n\n"
      "// X(name, code) for each call that libraries have and no driver answers: ENOTTY.\n"
      "#define DXG_FOR_EACH_LEGACY_THUNK(X){}\n",
      plain, by_hand, legacy);
}

namespace {

// Text for people has quotes and backslashes in it.
std::string Literal(const std::string& text) { return fmt::format("R\"dxg({})dxg\"", text); }

std::string DifferenceTable() {
  std::string names, rows;
  int number = 0;
  for (const Difference& difference : Differences()) {
    std::string calls;
    for (const std::string& call : difference.calls()) calls += fmt::format("\"{}\", ", call);
    const std::string list = fmt::format("kCallsOfDifference{}", number++);
    if (!calls.empty()) names += fmt::format("const char* const {}[] = {{{}}};\n", list, calls);
    rows += fmt::format("    {{{}, {}, {}, {}, {}, {}}},\n", DifferencePlace_Name(difference.place()),
                        Literal(difference.what()), Literal(difference.driver()), Literal(difference.here()),
                        Literal(difference.why()), calls.empty() ? "{}" : list);
  }
  return names + "const Difference kDifferences[] = {\n" + rows + "};\n\n";
}

std::string UnheededTable() {
  std::string rows;
  for (const UnheededFlag& flag : UnheededFlags()) {
    rows += fmt::format("    {{\"{}\", \"{}\", {}, \"{}\", {}}},\n", flag.call(), flag.field(), flag.bit(),
                        flag.flag(), Literal(flag.why()));
  }
  return "const UnheededFlag kUnheededFlags[] = {\n" + rows + "};\n\n";
}

}  // namespace

std::string CallsSource() {
  std::string text =
      "// Written by dxg-gen from proto/dxg/*.proto. Do not edit.\n#include "
      "\"proto/contract/calls.gen.h\"\n\n"
      "#include \"proto/contract/fields.h\"\n\n"
      "// offset, size of a member of the struct at hand\n"
      "#define DXG_AT(member) offsetof(Args, member), sizeof(static_cast<Args*>(nullptr)->member)\n\n"
      "namespace dxg::contract {\nnamespace {\n\n";
  std::string elements, rows, lookup;
  for (const Descriptor* element : ElementMessages()) {
    const auto& options = element->options().GetExtension(dxg::element);
    const std::string name = element->name();
    const Tables tables = StructTables({element}, ShapeOf(options), name);
    text += Codec(element, options.args(), name) + BufferTable(element, options.args(), name + "Buffers") +
            tables.text;
    elements += fmt::format(
        "    {{\"{0}\", \"{1}\", sizeof(::{1}), &{2}::default_instance(), Read{0}, Write{0}, {3}, {4}, {5}, "
        "{6}}},\n",
        name, options.args(), CppName(element), SpanOf(!Buffers(element).empty(), name + "Buffers"),
        tables.members, tables.addresses, tables.unused);
  }
  for (const Descriptor* call : CallMessages()) {
    const auto& options = call->options().GetExtension(dxg::call);
    const Descriptor* request = call->FindNestedTypeByName("Request");
    const Descriptor* reply = call->FindNestedTypeByName("Reply");
    const std::string name = call->name();
    const Tables tables = StructTables({request, reply}, ShapeOf(options), name);
    text += fmt::format("// {}\n", name) + Codec(request, options.args(), name + "Request") +
            Codec(reply, options.args(), name + "Reply") + BufferTable(request, options.args(), name + "In") +
            BufferTable(reply, options.args(), name + "Out") + tables.text + "\n";
    rows += fmt::format(
        "    {{{0:#04x}, {1}, sizeof(::{2}), \"{3}\", \"{1}\", {4}, {5}, \"{6}\",\n"
        "     &{7}::default_instance(), &{8}::default_instance(),\n"
        "     Read{3}Request, Write{3}Request, Read{3}Reply, Write{3}Reply, {9}, {10}, {11}, {12}, "
        "{13}}},\n",
        options.nr(), options.ioctl(), options.args(), name, CallClass_Name(options.class_()),
        options.served(), options.summary(), CppName(request), CppName(reply),
        SpanOf(!Buffers(request).empty(), name + "In"), SpanOf(!Buffers(reply).empty(), name + "Out"),
        tables.members, tables.addresses, tables.unused);
    lookup += fmt::format("static_assert(({} & 0xff) == {:#x});\n", options.ioctl(), options.nr());
  }
  text +=
      "const CallRow kCalls[] = {\n" + rows + "};\n\nconst Element kElements[] = {\n" + elements + "};\n\n";
  text += "const UnhandledNumber kUnhandled[] = {\n";
  for (const auto& number : Unhandled()) {
    text += fmt::format("    {{{:#x}, \"{}\", {:#x}u}},\n", number.nr(), number.name(), number.legacy_code());
  }
  text +=
      "};\n\n" + DifferenceTable() + UnheededTable() + lookup +
      "\n}  // namespace\n\nstd::span<const CallRow> Calls() { return kCalls; }\n"
      "std::span<const UnhandledNumber> UnhandledNumbers() { return kUnhandled; }\n"
      "std::span<const Element> Elements() { return kElements; }\n"
      "std::span<const Difference> Differences() { return kDifferences; }\n"
      "std::span<const UnheededFlag> UnheededFlags() { return kUnheededFlags; }\n\n"
      "bool Difference::Concerns(std::string_view call) const {\n"
      "  for (const char* each : calls) {\n    if (call == each) return true;\n  }\n  return false;\n}\n\n"
      "const CallRow* FindCall(uint32_t code) {\n"
      "  static const auto* const by_number = [] {\n    static const CallRow* table[256] = {};\n"
      "    for (const CallRow& call : kCalls) table[call.nr] = &call;\n    return table;\n  }();\n"
      "  const CallRow* call = by_number[code & 0xff];\n  return call != nullptr && call->code == code ? "
      "call : nullptr;\n}\n\n"
      "}  // namespace dxg::contract\n";
  return text;
}

}  // namespace dxg::gen
