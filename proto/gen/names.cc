// Writes names.gen.cc: what bits, values and statuses are called, out of proto/abi/*.h. The headers are read
// as text: to a compiler a bit-field has no name that a program could ask for.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cctype>
#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <regex>
#include <sstream>

#include "proto/gen/gen.h"

namespace dxg::gen {
namespace {

struct Type;

struct Member {
  std::string name;   // empty: its members are those of the type around it
  std::string type;   // "d3dkmthandle"; empty of a type that has no name
  std::string note;   // the comment behind it
  uint32_t bits = 0;  // of a bit-field
  std::shared_ptr<Type> own;
};

struct Type {
  std::vector<Member> members;
};

struct Enumerator {
  std::string name;
  std::string number;
};

struct Header {
  std::map<std::string, Type> types;
  std::map<std::string, std::vector<Enumerator>> enums;
};

std::vector<std::string> LinesOf(const std::string& path) {
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  if (lines.empty()) {
    fmt::print(stderr, "dxg-gen: {} cannot be read; expected a header of proto/abi\n", path);
    std::exit(1);
  }
  return lines;
}

// One member or opening or closing brace stands on each line: clang-format holds that.
Header Parse(const std::vector<std::string>& lines) {
  static const std::regex opens(R"(^\s*(?:struct|union)\s*(\w*)\s*\{)");
  static const std::regex closes(R"(^\s*\}\s*(\w*)(?:\[\d+\])?[^;]*;)");
  static const std::regex member(
      R"(^\s*(?:struct |union )?(\w+) (\w+)(?:\[[^\]]*\])?(?: : (\d+))?;(?:\s*//\s*(.*))?)");
  static const std::regex enumerator(R"(^\s*(\w+) = ([^,]+),)");
  static const std::regex enumeration(R"(^enum (\w+) \{)");
  Header header;
  std::vector<std::pair<std::string, std::shared_ptr<Type>>> open;
  std::vector<Enumerator>* values = nullptr;
  std::smatch found;
  for (const std::string& line : lines) {
    if (values != nullptr) {
      if (line.starts_with("}")) values = nullptr;
      if (values != nullptr && std::regex_search(line, found, enumerator))
        values->push_back({found[1], found[2]});
    } else if (std::regex_search(line, found, enumeration)) {
      values = &header.enums[found[1]];
    } else if (std::regex_search(line, found, opens)) {
      open.emplace_back(found[1], std::make_shared<Type>());
    } else if (open.empty()) {
      continue;
    } else if (std::regex_search(line, found, closes)) {
      const auto [name, type] = open.back();
      open.pop_back();
      if (open.empty()) {
        header.types[name] = *type;
      } else {
        open.back().second->members.push_back({.name = found[1], .type = {}, .note = {}, .own = type});
      }
    } else if (std::regex_search(line, found, member)) {
      open.back().second->members.push_back(
          {.name = found[2],
           .type = found[1],
           .note = found[4],
           .bits = found[3].matched ? static_cast<uint32_t>(std::stoul(found[3])) : 0,
           .own = {}});
    }
  }
  return header;
}

const Type* TypeOf(const Header& header, const Member& member) {
  if (member.own != nullptr) return member.own.get();
  const auto found = header.types.find(member.type);
  return found == header.types.end() ? nullptr : &found->second;
}

// Also in the types without a name that it has.
const Member* Find(const Type& type, const std::string& name) {
  for (const Member& member : type.members) {
    if (member.name == name) return &member;
    if (!member.name.empty() || member.own == nullptr) continue;
    if (const Member* found = Find(*member.own, name)) return found;
  }
  return nullptr;
}

// The bit-fields of a flag word; null: it is none.
const Type* WordOf(const Type& type) {
  if (!type.members.empty() && type.members.front().bits != 0) return &type;
  for (const Member& member : type.members) {
    if (!member.name.empty() || member.own == nullptr) continue;
    if (const Type* word = WordOf(*member.own)) return word;
  }
  return nullptr;
}

// What flags.h has beside the struct: the bits that the struct keeps reserved.
using MoreBits = std::map<std::string, std::map<uint32_t, std::string>>;

MoreBits ParseMore(const std::vector<std::string>& lines) {
  static const std::regex of(R"(^// struct (\w+)$)");
  static const std::regex bit(R"(^\s*DXG_[A-Z]+_(\w+) = 1 << (\d+),)");
  MoreBits more;
  std::string type;
  std::smatch found;
  for (const std::string& line : lines) {
    if (std::regex_search(line, found, of)) type = found[1];
    if (!std::regex_search(line, found, bit)) continue;
    std::string name = found[1];
    std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
    more[type][static_cast<uint32_t>(std::stoul(found[2]))] = name;
  }
  return more;
}

struct Bit {
  uint32_t shift, bits;
  std::string name;
};

std::vector<Bit> BitsOf(const Type& word, const std::map<uint32_t, std::string>& more) {
  std::vector<Bit> bits;
  uint32_t shift = 0;
  for (const Member& member : word.members) {
    if (!member.name.starts_with("reserved")) bits.push_back({shift, member.bits, member.name});
    shift += member.bits;
  }
  for (const auto& [at, name] : more) {
    const auto has = [at = at](const Bit& bit) { return at >= bit.shift && at < bit.shift + bit.bits; };
    if (std::ranges::none_of(bits, has)) bits.push_back({at, 1, name});
  }
  std::ranges::sort(bits, {}, &Bit::shift);
  return bits;
}

// Its text, to be compared: what has the same bits has one table.
std::string TextOf(const std::vector<Bit>& bits) {
  std::string text;
  for (const Bit& bit : bits) text += fmt::format("    {{{}, {}, \"{}\"}},\n", bit.shift, bit.bits, bit.name);
  return text;
}

// Of an enum whose values are bits: one for each.
std::vector<Bit> BitsOf(const std::vector<Enumerator>& values) {
  std::vector<Bit> bits;
  for (const Enumerator& value : values) {
    const uint64_t number = std::stoull(value.number, nullptr, 0);
    bits.push_back({static_cast<uint32_t>(std::countr_zero(number)), 1,
                    value.name.substr(value.name.find_first_not_of('_'))});
  }
  return bits;
}

class NameTables {
 public:
  NameTables(Header header, MoreBits more) : header_(std::move(header)), more_(std::move(more)) {}

  std::string Text() {
    for (const auto& [name, type] : header_.types) {
      // A handle's parts say nothing to people.
      if (const Type* word = name == "d3dkmthandle" || name == "ntstatus" ? nullptr : WordOf(type))
        types_ +=
            fmt::format("    {{\"{}\", {}}},\n", name, Table("BitName", TextOf(BitsOf(*word, more_[name]))));
    }
    for (const auto& [name, values] : header_.enums)
      enums_ += fmt::format("    {{\"{}\", {}}},\n", name, Table("ValueNameRow", TextOf(values)));
    for (const Descriptor* call : CallMessages()) {
      const auto& args = call->options().GetExtension(dxg::call).args();
      for (int i = 0; i < call->nested_type_count(); ++i) AddFields(call->nested_type(i), args);
    }
    for (const Descriptor* element : ElementMessages())
      AddFields(element, element->options().GetExtension(dxg::element).args());
    return tables_ + fmt::format(
                         "constexpr Named<BitNames> kTypes[] = {{\n{}}};\n\nconstexpr Named<ValueNames> "
                         "kEnums[] = {{\n{}}};\n\n"
                         "constexpr Field kFields[] = {{\n{}}};\n\n",
                         types_, enums_, fields_);
  }

 private:
  static std::string TextOf(const std::vector<Enumerator>& values) {
    std::string text;
    for (const Enumerator& value : values) {
      text +=
          fmt::format("    {{{}u, \"{}\"}},\n", static_cast<uint32_t>(std::stoull(value.number, nullptr, 0)),
                      value.name.substr(value.name.find_first_not_of('_')));
    }
    return text;
  }
  static std::string TextOf(const std::vector<Bit>& bits) { return gen::TextOf(bits); }

  std::string Table(const char* row, const std::string& text) {
    if (text.empty()) return "{}";
    auto& name = named_[text];
    if (name.empty()) {
      name = fmt::format("kTable{}", named_.size());
      tables_ += fmt::format("constexpr {} {}[] = {{\n{}}};\n\n", row, name, text);
    }
    return name;
  }

  void AddFields(const Descriptor* message, const std::string& args) {
    for (int i = 0; i < message->field_count(); ++i) {
      const FieldDescriptor* field = message->field(i);
      const FieldRule& rule = field->options().GetExtension(dxg::field);
      if (field->cpp_type() != FieldDescriptor::CPPTYPE_UINT32 &&
          field->cpp_type() != FieldDescriptor::CPPTYPE_UINT64)
        continue;
      if (rule.format() == HANDLE || rule.format() == LUID || rule.guest() || IsBuffer(field) ||
          rule.bytes() != 0)
        continue;
      AddField(message, field, args, rule.member().empty() ? field->name() : rule.member());
    }
  }

  void AddField(const Descriptor* message, const FieldDescriptor* field, const std::string& args,
                const std::string& path) {
    const Type* type = &header_.types.at(args);
    const Member* member = nullptr;
    std::string word_name;
    std::istringstream parts(path);
    for (std::string part; std::getline(parts, part, '.');) {
      if (member != nullptr) {
        word_name = member->type;
        type = TypeOf(header_, *member);
      }
      member = type == nullptr ? nullptr : Find(*type, part.substr(0, part.find('[')));
      if (member == nullptr) return;
    }
    const Type* word = member->name == "value" ? type : TypeOf(header_, *member);
    if (member->name != "value") word_name = member->type;
    if (word != nullptr) word = WordOf(*word);
    std::string bits = "{}", values = "{}";
    if (word != nullptr) bits = Table("BitName", gen::TextOf(BitsOf(*word, more_[word_name])));
    static const std::regex of_enum(R"(\benum (\w+))");
    std::smatch found;
    if (std::regex_search(member->note, found, of_enum) && header_.enums.contains(found[1])) {
      const std::vector<Enumerator>& names = header_.enums[found[1]];
      if (found[1].str().ends_with("_flags")) {
        bits = Table("BitName", TextOf(BitsOf(names)));
      } else {
        values = Table("ValueNameRow", TextOf(names));
      }
    }
    if (bits != "{}" || values != "{}")
      fields_ += fmt::format("    {{\"{}\", {}, {{{}, {}}}}},\n", message->full_name(), field->number(), bits,
                             values);
  }

  Header header_;
  MoreBits more_;
  std::map<std::string, std::string> named_;  // tables, by their text
  std::string tables_, types_, enums_, fields_;
};

std::string StatusesText(const std::vector<std::string>& lines) {
  static const std::regex status(R"(^\s*DXG_(STATUS_\w+) = ([^,]+),)");
  std::string text;
  std::smatch found;
  for (const std::string& line : lines) {
    if (std::regex_search(line, found, status))
      text += fmt::format("    {{{}, \"{}\"}},\n", found[2].str(), found[1].str());
  }
  return fmt::format(
      "struct StatusRow {{\n  int32_t value;\n  const char* name;\n}};\nconstexpr StatusRow kStatuses[] = "
      "{{\n{}}};\n\n",
      text);
}

}  // namespace

std::string NamesSource(const std::string& abi) {
  NameTables names(Parse(LinesOf(abi + "/d3dkmthk.h")), ParseMore(LinesOf(abi + "/flags.h")));
  return "// Written by dxg-gen from proto/abi/*.h and proto/dxg/*.proto. Do not edit.\n"
         "#include \"proto/contract/names.h\"\n\nnamespace dxg::contract {\nnamespace {\n\n"
         "template <typename Rows>\nstruct Named {\n  std::string_view name;\n  Rows rows;\n};\n\n"
         "struct Field {\n  std::string_view message;\n  int number;\n  FieldNames names;\n};\n\n" +
         names.Text() + StatusesText(LinesOf(abi + "/ntstatus.h")) +
         "}  // namespace\n\n"
         "BitNames BitsOf(std::string_view type) {\n  for (const auto& row : kTypes) {\n    if (row.name == "
         "type) return row.rows;\n"
         "  }\n  return {};\n}\n\n"
         "ValueNames ValuesOf(std::string_view type) {\n  for (const auto& row : kEnums) {\n    if (row.name "
         "== type) return row.rows;\n"
         "  }\n  return {};\n}\n\n"
         "FieldNames NamesOfField(std::string_view message, int field_number) {\n  for (const auto& row : "
         "kFields) {\n"
         "    if (row.number == field_number && row.message == message) return row.names;\n  }\n  return "
         "{};\n}\n\n"
         "const char* NtStatusName(int32_t status) {\n  for (const auto& row : kStatuses) {\n"
         "    if (row.value == status) return row.name;\n  }\n  return nullptr;\n}\n\n}  // namespace "
         "dxg::contract\n";
}

}  // namespace dxg::gen
