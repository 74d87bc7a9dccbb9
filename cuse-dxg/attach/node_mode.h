#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "base/status.h"

namespace dxg::attach {

// Who may open a node. As the real driver's: everybody.
struct NodeMode {
  mode_t mode = 0666;
  std::optional<gid_t> group = std::nullopt;  // none: the group of the daemon
};

// From `--mode` (octal, 0 to 0666) and `--group` (a name or a number); an empty text is the default.
Result<NodeMode> ParseNodeMode(const std::string& mode, const std::string& group);

}  // namespace dxg::attach
