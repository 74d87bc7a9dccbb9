#pragma once

#include <initializer_list>
#include <map>
#include <string>
#include <string_view>

#include "base/status.h"

namespace dxg::vmbus {

// Where a VMBus is, as command lines say it: "vmbus[:PATH][,WORD[=VALUE]]...".
struct BusAddress {
  std::string path;  // empty: the machine's own
  std::map<std::string, std::string, std::less<>> words;

  bool has(std::string_view word) const { return words.contains(word); }
  std::string value(std::string_view word) const {
    const auto found = words.find(word);
    return found == words.end() ? "" : found->second;
  }
};

// `option` is for messages. EINVAL: a word that is not among `known`, or comes twice.
Result<BusAddress> ParseBusAddress(const std::string& text, const char* option,
                                   std::initializer_list<std::string_view> known);

}  // namespace dxg::vmbus
