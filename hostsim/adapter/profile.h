#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "proto/dxg/control.pb.h"
#include "proto/dxg/profile.pb.h"

// Adapter profiles: text files of one dxg.AdapterProfile, some of them compiled in. docs/profiles.md is their
// guide. Scenarios are parts of profiles, and befall an adapter of any other: docs/scenarios.md.

namespace dxg::hostsim {

// What is compiled in: a name, a text, and the files that the text names.
struct ShippedFile {
  const char* name;
  std::string_view data;
};
struct ShippedProfile {
  const char* name;
  const char* text;
  std::span<const ShippedFile> files;
};
std::span<const ShippedProfile> ShippedProfiles();
std::span<const ShippedProfile> ShippedScenarios();

// Reads the adapters that a profile's text describes, one or several, fills in the defaults, lets the
// scenario befall them and checks every value, so that the host need not. Without a text it is the shipped
// profile of that name. EINVAL: the Status says, each in a line, where it is (source, line, field), what is
// wrong, and what would be right. EFBIG: text and files have more than kProfileBytesMax bytes
// (link/profile_file.h).
Result<std::vector<AdapterProfile>> ReadProfiles(const ControlRequest::AddAdapter& wanted);

// As ReadProfiles, of a shipped profile's name or of a file's path. `scenario`: empty: none.
Result<std::vector<AdapterProfile>> LoadProfiles(const std::string& name_or_file,
                                                 const std::string& scenario = "");

// As ReadProfiles, of a text alone that describes one adapter. `source` only serves the messages.
Result<AdapterProfile> ParseProfile(const std::string& text, const std::string& source);

// As LoadProfiles, of a profile with one adapter.
Result<AdapterProfile> LoadProfile(const std::string& name_or_file);

}  // namespace dxg::hostsim
