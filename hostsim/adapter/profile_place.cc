#include "hostsim/adapter/profile_place.h"

#include <fmt/format.h>

#include "hostsim/machine/utf16.h"

namespace dxg::hostsim {
namespace {

using google::protobuf::TextFormat;

size_t Units(const std::string& text) { return ToUtf16(text).size(); }

// 0: it is not given there.
int LineOf(TextFormat::ParseInfoTree* lines, const google::protobuf::FieldDescriptor* field) {
  return lines ? lines->GetLocation(field, field->is_repeated() ? 0 : -1).line + 1 : 0;
}

}  // namespace

Place Place::Nested(const char* field, int index) const {
  const auto* descriptor = message_.GetDescriptor()->FindFieldByName(field);
  const auto* reflection = message_.GetReflection();
  const auto& nested = index < 0 ? reflection->GetMessage(message_, descriptor)
                                 : reflection->GetRepeatedMessage(message_, descriptor, index);
  ProfileLines lines = {.prefix = lines_.prefix};
  if (lines_.own) lines.own = lines_.own->GetTreeForNested(descriptor, index);
  // A list is from one part or the other.
  const bool own_list = index >= 0 && LineOf(lines_.own, descriptor) > 0;
  if (lines_.shared && !own_list) lines.shared = lines_.shared->GetTreeForNested(descriptor, index);
  Place place(nested, std::move(lines), complaints_);
  place.path_ =
      index < 0 ? fmt::format("{}{}.", path_, field) : fmt::format("{}{}[{}].", path_, field, index);
  return place;
}

void Place::Complain(const char* field, const std::string& what) const {
  const auto* descriptor = message_.GetDescriptor()->FindFieldByName(field);
  const int own = LineOf(lines_.own, descriptor);
  const int shared = own > 0 ? 0 : LineOf(lines_.shared, descriptor);
  const std::string& prefix = shared > 0 ? std::string() : lines_.prefix;
  complaints_->Add(own > 0 ? own : shared, fmt::format("{}{}{}: {}", prefix, path_, field, what));
}

void Place::Range(const char* field, uint64_t value, uint64_t least, uint64_t most) const {
  if (value >= least && value <= most) return;
  Complain(field, fmt::format("{} is out of range; give {} to {}", value, least, most));
}

void Place::Length(const char* field, const std::string& text, size_t units_max) const {
  if (Units(text) <= units_max) return;
  Complain(field, fmt::format("{} characters are too long; shorten it to {}", Units(text), units_max));
}

void Place::Required(const char* field, const std::string& text) const {
  if (text.empty()) Complain(field, "is missing or empty; give it a value");
}

void Place::FileName(const char* field, const std::string& text, size_t units_max) const {
  Length(field, text, units_max);
  if (text.find_first_of("/\\:") != std::string::npos || text == "..") {
    Complain(field, fmt::format("'{}' is a path; give a name without / \\ and :", text));
  }
}

}  // namespace dxg::hostsim
