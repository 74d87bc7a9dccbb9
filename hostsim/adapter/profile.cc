#include "hostsim/adapter/profile.h"

#include <fmt/format.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "hostsim/adapter/profile_checks.h"
#include "hostsim/adapter/profile_overlay.h"
#include "hostsim/adapter/profile_place.h"
#include "hostsim/machine/machine.h"
#include "link/profile_file.h"

namespace dxg::hostsim {
namespace {

using google::protobuf::Message;
using google::protobuf::TextFormat;
using WantedProfile = ControlRequest::AddAdapter;

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

std::string NamesOf(std::span<const ShippedProfile> shipped) {
  std::string names;
  for (const ShippedProfile& each : shipped) names += (names.empty() ? "" : ", ") + std::string(each.name);
  return names;
}

const ShippedProfile* FindShipped(std::span<const ShippedProfile> shipped, const std::string& name) {
  const auto found = std::find_if(shipped.begin(), shipped.end(),
                                  [&name](const ShippedProfile& each) { return name == each.name; });
  return found == shipped.end() ? nullptr : &*found;
}

WantedProfile WantedOf(const ShippedProfile& shipped) {
  WantedProfile wanted;
  wanted.set_name(shipped.name);
  wanted.set_text(shipped.text);
  for (const ShippedFile& file : shipped.files) {
    WantedProfile::File* with = wanted.add_files();
    with->set_name(file.name);
    with->set_data(std::string(file.data));
  }
  return wanted;
}

// -- A profile as it is written: no defaults, nothing checked.

bool ParseText(const std::string& text, AdapterProfile* written, TextFormat::ParseInfoTree* lines,
               ProfileComplaints* complaints) {
  SyntaxErrors syntax(complaints);
  TextFormat::Parser parser;
  parser.RecordErrorsTo(&syntax);
  parser.WriteLocationsTo(lines);
  parser.SetRecursionLimit(kProfileDepthMax);
  return parser.ParseFromString(text, written);
}

// Puts the bytes of a file into the message that names it.
void TakeFile(const WantedProfile& wanted, Message* message, const char* field, const char* bytes_field,
              const Place& place) {
  const auto* reflection = message->GetReflection();
  const auto* name_field = message->GetDescriptor()->FindFieldByName(field);
  const auto* data_field = message->GetDescriptor()->FindFieldByName(bytes_field);
  const std::string name = reflection->GetString(*message, name_field);
  if (name.empty()) return;
  if (!reflection->GetString(*message, data_field).empty())
    return place.Complain(field, fmt::format("does not go with {}; leave one of them out", bytes_field));
  const auto file = std::find_if(wanted.files().begin(), wanted.files().end(),
                                 [&name](const WantedProfile::File& each) { return each.name() == name; });
  if (file == wanted.files().end())
    return place.Complain(
        field,
        fmt::format("'{}' did not come with the profile; give the profile by the path of its file", name));
  if (!file->error().empty())
    return place.Complain(field,
                          fmt::format("'{}': {}; give a file beside the profile", name, file->error()));
  if (file->data().empty()) return place.Complain(field, fmt::format("'{}' is empty; give it bytes", name));
  reflection->SetString(message, data_field, file->data());
  reflection->ClearField(message, name_field);
}

void TakeFiles(const WantedProfile& wanted, AdapterProfile* written, const Place& place) {
  if (written->has_driver())
    TakeFile(wanted, written->mutable_driver(), "private_data_file", "private_data", place.Nested("driver"));
  for (int i = 0; i < written->answers_size(); ++i)
    TakeFile(wanted, written->mutable_answers(i), "data_file", "data", place.Nested("answers", i));
  for (int i = 0; i < written->adapters_size(); ++i)
    TakeFiles(wanted, written->mutable_adapters(i), place.Nested("adapters", i));
}

// The profile over its base, if it has one. `depth` ends bases that go round.
AdapterProfile WithBase(const AdapterProfile& written, int depth, const Place& place) {
  constexpr int kDepthMax = 4;
  if (written.base().empty()) return written;
  const ShippedProfile* shipped = FindShipped(ShippedProfiles(), written.base());
  ProfileComplaints ours;  // none: a test reads all that is shipped
  AdapterProfile base;
  TextFormat::ParseInfoTree lines;
  if (!shipped || depth >= kDepthMax || !ParseText(shipped->text, &base, &lines, &ours) ||
      base.adapters_size() != 0) {
    place.Complain("base", fmt::format("'{}' is no built-in profile of one adapter; give one of {}",
                                       written.base(), NamesOf(ShippedProfiles())));
    return written;
  }
  TakeFiles(WantedOf(*shipped), &base, Place(base, {.own = &lines}, &ours));
  base = WithBase(base, depth + 1, place);
  base.clear_base();
  Overlay(written, Lists::kReplace, &base);
  return base;
}

// -- Adapters of a profile.

AdapterProfile Finish(AdapterProfile profile, const ProfileLines& lines, ProfileComplaints* complaints) {
  profile.clear_base();
  profile.clear_adapters();
  FillProfileDefaults(&profile);
  CheckProfile(profile, lines, complaints);
  return profile;
}

void ReadAdapters(const AdapterProfile& written, TextFormat::ParseInfoTree* lines,
                  ProfileComplaints* complaints, std::vector<AdapterProfile>* adapters) {
  const Place place(written, {.own = lines}, complaints);
  AdapterProfile shared = WithBase(written, 0, place);
  if (written.adapters().empty()) {
    adapters->push_back(Finish(std::move(shared), {.own = lines}, complaints));
    return;
  }
  if (written.adapters_size() > static_cast<int>(kAdaptersMax)) {
    place.Complain("adapters",
                   fmt::format("{} are too many; give at most {}", written.adapters_size(), kAdaptersMax));
    return;
  }
  shared.clear_adapters();
  const auto* field = AdapterProfile::GetDescriptor()->FindFieldByName("adapters");
  for (int i = 0; i < written.adapters_size(); ++i) {
    const AdapterProfile& own = written.adapters(i);
    const Place own_place = place.Nested("adapters", i);
    if (!own.adapters().empty()) {
      own_place.Complain("adapters", "an adapter has no adapters; write all of them side by side");
      continue;
    }
    ProfileLines own_lines = {.own = lines->GetTreeForNested(field, i),
                              .prefix = fmt::format("adapters[{}].", i)};
    AdapterProfile adapter = own.base().empty() ? shared : WithBase(own, 0, own_place);
    if (own.base().empty()) {
      own_lines.shared = lines;
      Overlay(own, Lists::kReplace, &adapter);
    }
    adapters->push_back(Finish(std::move(adapter), own_lines, complaints));
  }
}

// Befalls adapters that are sound.
Status ApplyScenario(const std::string& name, std::vector<AdapterProfile>* adapters) {
  const ShippedProfile* shipped = FindShipped(ShippedScenarios(), name);
  if (!shipped)
    return Status::Refuse(EINVAL, "scenario '{}' is none; give one of {}", name, NamesOf(ShippedScenarios()));
  ProfileComplaints complaints{.source = "scenario " + name};
  AdapterProfile change;
  TextFormat::ParseInfoTree lines;
  if (ParseText(shipped->text, &change, &lines, &complaints)) {
    for (AdapterProfile& adapter : *adapters) {
      Overlay(change, Lists::kInFront, &adapter);
      CheckProfile(adapter, {}, &complaints);
    }
  }
  if (complaints.text.empty()) return Status::Ok();
  return Status::Refuse(EINVAL, "{}", complaints.text);
}

Result<std::vector<AdapterProfile>> ReadText(const WantedProfile& wanted) {
  DXG_TRY(CheckProfileSize(wanted.text(), wanted.name()));
  if (ProfileBytes(wanted) > kProfileBytesMax)
    return Status::Refuse(EFBIG, "{}: with its files it is larger than {} bytes; see docs/profiles.md",
                          wanted.name(), kProfileBytesMax);
  ProfileComplaints complaints{.source = wanted.name()};
  AdapterProfile written;
  TextFormat::ParseInfoTree lines;
  std::vector<AdapterProfile> adapters;
  if (ParseText(wanted.text(), &written, &lines, &complaints)) {
    TakeFiles(wanted, &written, Place(written, {.own = &lines}, &complaints));
    ReadAdapters(written, &lines, &complaints, &adapters);
  }
  if (!complaints.text.empty()) return Status::Refuse(EINVAL, "{}", complaints.text);
  if (!wanted.scenario().empty()) DXG_TRY(ApplyScenario(wanted.scenario(), &adapters));
  return adapters;
}

Result<AdapterProfile> TheOne(Result<std::vector<AdapterProfile>> read, const std::string& source) {
  if (!read.ok()) return std::move(read).status();
  if (read->size() != 1)
    return Status::Refuse(EINVAL, "{}: has {} adapters; a profile of one is wanted here", source,
                          read->size());
  return std::move(read->front());
}

}  // namespace

Result<std::vector<AdapterProfile>> ReadProfiles(const ControlRequest::AddAdapter& wanted) {
  if (!wanted.text().empty()) return ReadText(wanted);
  const ShippedProfile* shipped = FindShipped(ShippedProfiles(), wanted.name());
  if (!shipped)
    return Status::Refuse(EINVAL, "'{}' is no profile that is built in; give one of those or a file",
                          wanted.name());
  WantedProfile with_text = WantedOf(*shipped);
  with_text.set_scenario(wanted.scenario());
  return ReadText(with_text);
}

Result<std::vector<AdapterProfile>> LoadProfiles(const std::string& name_or_file,
                                                 const std::string& scenario) {
  WantedProfile wanted;
  wanted.set_name(name_or_file);
  wanted.set_scenario(scenario);
  if (FindShipped(ShippedProfiles(), name_or_file)) return ReadProfiles(wanted);
  Result<WantedProfile> file = ReadProfileFile(name_or_file);
  if (file.ok() && !file->text().empty()) {
    file->set_scenario(scenario);
    return ReadProfiles(*file);
  }
  const Status why = file.ok() ? ReadProfileText(name_or_file).status() : file.status();
  const int error = -why.value();
  if (error == EINVAL || error == EFBIG) return why;
  return Status::Refuse(EINVAL,
                        "{}, and no profile of that name is built in; give {} or the path of a profile file",
                        why.why(), NamesOf(ShippedProfiles()));
}

Result<AdapterProfile> ParseProfile(const std::string& text, const std::string& source) {
  WantedProfile wanted;
  wanted.set_name(source);
  wanted.set_text(text);
  return TheOne(ReadText(wanted), source);
}

Result<AdapterProfile> LoadProfile(const std::string& name_or_file) {
  return TheOne(LoadProfiles(name_or_file), name_or_file);
}

}  // namespace dxg::hostsim
