#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "proto/contract/contract.h"

// Fields of a call's messages by their names, for questions that concern many calls alike.

namespace dxg::trace {

// A number; 0: it is no such field, or the message is null.
uint64_t NumberOf(const contract::Message* message, std::string_view field);

// A list of numbers, or the one number that the field is; empty: it is no such field.
std::vector<uint64_t> NumbersOf(const contract::Message* message, std::string_view field);

struct HandleField {
  std::string name;  // "device"
  bool of_adapter;   // adapters have a table of handles of their own, with the same numbers
  uint64_t value;    // not 0
  bool in_list;      // one of several
};

// All handles of the process's objects that the message and the messages in it have, in their order. It is
// the Request, or the Reply to it; null: it has none.
std::vector<HandleField> HandlesOf(const contract::Message* message, const contract::Message& request);

}  // namespace dxg::trace
