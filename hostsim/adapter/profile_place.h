#pragma once

#include <google/protobuf/text_format.h>

#include <cstdint>
#include <string>

#include "hostsim/adapter/profile_checks.h"

namespace dxg::hostsim {

// One message of the profile with the lines that it came from, so that a complaint can name them.
class Place {
 public:
  Place(const google::protobuf::Message& message, ProfileLines lines, ProfileComplaints* complaints)
      : message_(message), lines_(std::move(lines)), complaints_(complaints) {}

  Place Nested(const char* field, int index = -1) const;

  // `what`: the value's fault, what is expected, and what to do.
  void Complain(const char* field, const std::string& what) const;

  void Range(const char* field, uint64_t value, uint64_t least, uint64_t most) const;
  void Length(const char* field, const std::string& text, size_t units_max) const;
  void Required(const char* field, const std::string& text) const;
  void FileName(const char* field, const std::string& text, size_t units_max) const;

 private:
  const google::protobuf::Message& message_;
  const ProfileLines lines_;  // of this message
  std::string path_;
  ProfileComplaints* const complaints_;
};

}  // namespace dxg::hostsim
