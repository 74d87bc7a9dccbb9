// `cuse-dxg version`: what this program is, and what it speaks.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "cuse-dxg/dxg_node.h"
#include "link/socket/connection.h"
#include "proto/abi/interface.h"

namespace dxg {

int PrintVersion(bool json) {
  if (json) {
    const nlohmann::json all = {
        {"version", DXG_VERSION},
        {"interface", {{"oldest", kInterfaceVersionOldest}, {"newest", kInterfaceVersionNewest}}},
        {"protocol", socket::kProtocolVersion}};
    fmt::print("{}\n", all.dump(1));
    return 0;
  }
  fmt::print("cuse-dxg {}\ninterface of hosts {} to {}\nprotocol of dxg-hostsim {}\n", DXG_VERSION,
             kInterfaceVersionOldest, kInterfaceVersionNewest, socket::kProtocolVersion);
  return 0;
}

}  // namespace dxg
