#pragma once

#include <google/protobuf/message.h>

namespace dxg::hostsim {

// What happens to a list that both messages give.
enum class Lists {
  kReplace,  // it is the one of `over`
  kInFront,  // what `over` gives comes first
};

// Gives `onto` all that `over` gives, field by field, however deep. A number, text or flag of `over` that may
// not be left out (proto3 without `optional`) counts as given where it is not 0, empty or false. Both have
// one type.
void Overlay(const google::protobuf::Message& over, Lists lists, google::protobuf::Message* onto);

}  // namespace dxg::hostsim
