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
                     {"differs", call.differs}});
  }
  nlohmann::json unhandled = nlohmann::json::array();
  for (const auto& number : contract::UnhandledNumbers())
    unhandled.push_back({{"nr", number.nr}, {"name", number.name}});
  fmt::print("{}\n", nlohmann::json{{"calls", calls}, {"unhandled", unhandled}}.dump(1));
}

void PrintTable() {
  size_t served = 0;
  fmt::print("{:<5}{:<40}{:<7}{:<9}{}\n", "nr", "call", "class", "served", "what it does");
  for (const auto& call : contract::Calls()) {
    served += call.served;
    fmt::print("{:#04x} {:<40}{:<7}{:<9}{}\n", call.nr, call.name, ClassText(call.call_class),
               call.served ? "yes" : "not yet", call.summary);
    if (*call.differs != '\0') fmt::print("{:<61}differs from the driver: {}\n", "", call.differs);
  }
  fmt::print(
      "\n{} of {} calls are served, as in the records of the real driver except for the differences "
      "above.\nThe others answer ENOTTY and are logged once.\nNumbers without a handler in any driver:",
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
