#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "cuse-dxg/attach/node.h"
#include "cuse-dxg/backend/uio/uio_options.h"

// What the command line asks of the device behind the node. The attach modes know nothing of it.

namespace dxg {

struct NodeOptions {
  std::vector<std::string> profiles;  // adapter profiles, a name or a file each; none: the built-in default
  std::string backend = "sim";
  vmbus::UioOptions vmbus;  // of the back-end "vmbus"
  int agents =
      -1;  // a listening socket for preload agents (client/agents.h), which the device takes; -1: none
  std::string control;     // where `cuse-dxg ctl` reaches the host; empty: nowhere
  std::string trace_text;  // where every call is written as text; "-" is stdout, empty is nowhere
};

Result<std::unique_ptr<attach::Node>> MakeNode(const NodeOptions& options);

// Prints every call of the ABI and what this device does with it. Returns the exit status.
int PrintCalls(bool json);

}  // namespace dxg
