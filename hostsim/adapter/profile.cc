#include "hostsim/adapter/profile.h"

#include <fmt/format.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>

#include <cerrno>

#include "hostsim/adapter/profile_checks.h"
#include "link/profile_file.h"

namespace dxg::hostsim {
namespace {

using google::protobuf::TextFormat;

// What the text parser finds wrong: syntax, unknown fields, values of the wrong kind.
class SyntaxErrors : public google::protobuf::io::ErrorCollector {
 public:
  explicit SyntaxErrors(ProfileComplaints* complaints) : complaints_(complaints) {}
  void AddError(int line, int column, const std::string& message) override {
    complaints_->Add(line + 1, fmt::format("column {}: {}", column + 1, message));
  }

 private:
  ProfileComplaints* complaints_;
};

std::string ShippedNames() {
  std::string names;
  for (const ShippedProfile& profile : ShippedProfiles()) {
    names += (names.empty() ? "" : ", ") + std::string(profile.name);
  }
  return names;
}

}  // namespace

Result<AdapterProfile> ParseProfile(const std::string& text, const std::string& source) {
  DXG_TRY(CheckProfileSize(text, source));
  ProfileComplaints complaints{.source = source};
  SyntaxErrors syntax(&complaints);
  TextFormat::ParseInfoTree lines;
  TextFormat::Parser parser;
  parser.RecordErrorsTo(&syntax);
  parser.WriteLocationsTo(&lines);
  AdapterProfile profile;
  if (parser.ParseFromString(text, &profile)) {
    FillProfileDefaults(&profile);
    CheckProfile(profile, &lines, &complaints);
  }
  if (!complaints.text.empty()) return Status::Refuse(EINVAL, "{}", complaints.text);
  return profile;
}

Result<AdapterProfile> LoadProfile(const std::string& name_or_file) {
  for (const ShippedProfile& shipped : ShippedProfiles()) {
    if (name_or_file == shipped.name) return ParseProfile(shipped.text, name_or_file);
  }
  Result<std::string> text = ReadProfileText(name_or_file);
  if (text.ok()) return ParseProfile(*text, name_or_file);
  const int error = -text.status().value();
  if (error == EINVAL || error == EFBIG) return std::move(text).status();
  return Status::Refuse(EINVAL,
                        "{}, and no profile of that name is built in; give {} or the path of a profile file",
                        text.status().why(), ShippedNames());
}

}  // namespace dxg::hostsim
