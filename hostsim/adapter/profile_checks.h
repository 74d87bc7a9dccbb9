#pragma once

#include <google/protobuf/text_format.h>

#include <string>

#include "proto/dxg/profile.pb.h"

// What ParseProfile does with a profile once it is parsed.

namespace dxg::hostsim {

// What is wrong with a profile: a line of text each, which says the source, the line, the field, the fault
// and what would be right.
struct ProfileComplaints {
  std::string source;
  std::string text;  // empty: nothing is wrong

  void Add(int line, const std::string& what);  // line 0: unknown
};

// Where the values of a profile stand in its text. An adapter of several (AdapterProfile.adapters) has its
// own part of the text, and takes the rest from the part that they share.
struct ProfileLines {
  google::protobuf::TextFormat::ParseInfoTree* own = nullptr;
  google::protobuf::TextFormat::ParseInfoTree* shared = nullptr;
  std::string prefix;  // of the fields of its own part: "adapters[1]."
};

// Sets what the text leaves out, as proto/dxg/profile.proto says.
void FillProfileDefaults(AdapterProfile* profile);

// Checks every value, so that the host need not.
void CheckProfile(const AdapterProfile& profile, const ProfileLines& lines, ProfileComplaints* complaints);

}  // namespace dxg::hostsim
