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

// Sets what the text leaves out, as proto/dxg/profile.proto says.
void FillProfileDefaults(AdapterProfile* profile);

// Checks every value, so that the host need not. `lines` says where each value stands in the text.
void CheckProfile(const AdapterProfile& profile, google::protobuf::TextFormat::ParseInfoTree* lines,
                  ProfileComplaints* complaints);

}  // namespace dxg::hostsim
