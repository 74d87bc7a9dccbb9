#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "proto/dxg/profile.pb.h"

// Adapter profiles: text files of one dxg.AdapterProfile, some of them compiled in. docs/profiles.md is their
// guide.

namespace dxg::hostsim {

// A profile that is compiled in: its name and its text.
struct ShippedProfile {
  const char* name;
  const char* text;
};
std::span<const ShippedProfile> ShippedProfiles();

// Reads a profile's text, fills in the defaults and checks every value, so that the host need not. EINVAL:
// the Status says, each in a line, where it is (source, line, field), what is wrong, and what would be right.
// EFBIG: it has more than kProfileBytesMax bytes (link/profile_file.h).
// `source` only serves the messages.
Result<AdapterProfile> ParseProfile(const std::string& text, const std::string& source);

// As ParseProfile, of a shipped profile's name or of a file's path.
Result<AdapterProfile> LoadProfile(const std::string& name_or_file);

}  // namespace dxg::hostsim
