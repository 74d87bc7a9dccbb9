#include "hostsim/adapter/profile.h"

#include <fmt/format.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "hostsim/adapter/profile_checks.h"

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
  std::ifstream file(name_or_file, std::ios::binary);
  std::string text(kProfileBytesMax + 1, '\0');
  if (file) file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (!file.is_open() || file.bad())
    return Status::Refuse(
        EINVAL, "{}: {}, and no profile of that name is built in; give {} or the path of a profile file",
        name_or_file, std::strerror(errno), ShippedNames());
  if (file.gcount() > static_cast<std::streamsize>(kProfileBytesMax))
    return Status::Refuse(EINVAL,
                          "{}: is larger than {} bytes; a profile is a short text, see docs/profiles.md",
                          name_or_file, kProfileBytesMax);
  text.resize(static_cast<size_t>(file.gcount()));
  return ParseProfile(text, name_or_file);
}

}  // namespace dxg::hostsim
