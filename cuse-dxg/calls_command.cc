// `cuse-dxg calls`: the contract's table as people and scripts read it.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cuse-dxg/dxg_node.h"
#include "proto/contract/contract.h"

namespace dxg {
namespace {

const char* ClassText(CallClass call_class) {
  switch (call_class) {
    case LOCAL:
      return "local";
    case HOST:
      return "host";
    case ASYNC:
      return "async";
    case WAIT:
      return "wait";
    default:
      return "?";
  }
}

const char* PlaceText(DifferencePlace place) {
  switch (place) {
    case EVERYWHERE:
      return "everywhere";
    case FUSE_FILE:
      return "fuse_file";
    case ONLY_HERE:
      return "only_here";
    case SYNC_FILES:
      return "sync_files";
    default:
      return "?";
  }
}

nlohmann::json ToJson(const contract::Difference& difference) {
  return {{"place", PlaceText(difference.place)},
          {"what", difference.what},
          {"driver", difference.driver},
          {"here", difference.here},
          {"why", difference.why},
          {"calls", difference.calls}};
}

// The occasions, by which the rows of "differences" are found.
nlohmann::json OccasionsOf(const contract::CallRow& call) {
  nlohmann::json occasions = nlohmann::json::array();
  for (const auto& difference : contract::Differences()) {
    if (difference.Concerns(call.name)) occasions.push_back(difference.what);
  }
  return occasions;
}

void PrintJson() {
  nlohmann::json calls = nlohmann::json::array();
  for (const auto& call : contract::Calls()) {
    calls.push_back({{"nr", call.nr},
                     {"name", call.name},
                     {"ioctl", call.ioctl},
                     {"code", call.code},
                     {"size_bytes", call.args_size},
                     {"class", ClassText(call.call_class)},
                     {"served", call.served},
                     {"summary", call.summary},
                     {"differs", OccasionsOf(call)}});
  }
  nlohmann::json unhandled = nlohmann::json::array();
  for (const auto& number : contract::UnhandledNumbers())
    unhandled.push_back({{"nr", number.nr}, {"name", number.name}});
  nlohmann::json differences = nlohmann::json::array();
  for (const auto& difference : contract::Differences()) differences.push_back(ToJson(difference));
  nlohmann::json flags = nlohmann::json::array();
  for (const auto& flag : contract::UnheededFlags())
    flags.push_back({{"call", flag.call}, {"flag", flag.flag}, {"bit", flag.bit}, {"why", flag.why}});
  const nlohmann::json all = {{"calls", calls},
                              {"unhandled", unhandled},
                              {"differences", differences},
                              {"flags_without_effect", flags}};
  fmt::print("{}\n", all.dump(1));
}

void PrintTable() {
  size_t served = 0;
  fmt::print("{:<5}{:<40}{:<7}{:<9}{}\n", "nr", "call", "class", "served", "what it does");
  for (const auto& call : contract::Calls()) {
    served += call.served;
    fmt::print("{:#04x} {:<40}{:<7}{:<9}{}\n", call.nr, call.name, ClassText(call.call_class),
               call.served ? "yes" : "not yet", call.summary);
    for (const auto& difference : contract::Differences()) {
      if (difference.Concerns(call.name)) fmt::print("{:<61}differs: {}\n", "", difference.what);
    }
  }
  fmt::print(
      "\n{} of {} calls are served, as in the records of the real driver except for the differences "
      "above.\ndocs/abi.md says what happens then, and how the node itself differs; so does --json. "
      "The others answer ENOTTY and are logged once.\nNumbers without a handler in any driver:",
      served, contract::Calls().size());
  for (const auto& number : contract::UnhandledNumbers()) fmt::print(" {:#04x}", number.nr);
  fmt::print("\n");
}

}  // namespace

int PrintCalls(bool json) {
  json ? PrintJson() : PrintTable();
  return 0;
}

}  // namespace dxg
