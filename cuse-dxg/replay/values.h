#pragma once

#include <string>
#include <vector>

#include "proto/contract/meaning.h"

// Values of calls as the player and the host of a recording need them.

namespace dxg::replay {

using contract::ForEachValue;
using contract::IsHandle;
using contract::Kind;
using contract::KindOf;
using contract::MayDiffer;
using contract::Message;
using contract::NameOf;
using contract::NumberIn;
using contract::Rewrite;
using contract::Value;
using google::protobuf::FieldDescriptor;

// The names of the fields at the top in which the messages, of one type, are different.
std::vector<std::string> DifferentFields(const Message& a, const Message& b);

// "{adapter=0x40000000, ...}", of bounded length.
std::string Brief(const Message& message);

}  // namespace dxg::replay
