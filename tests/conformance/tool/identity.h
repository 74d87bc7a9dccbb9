#pragma once

#include <string>
#include <vector>

#include "tests/conformance/node.h"
#include "tests/conformance/tool/results.h"

// What is tested and where: for the results, and to choose the expectations.

namespace dxg::conformance {

// "driver", "cuse", "file" or "preload".
const char* WordOf(NodeKind kind);

// Node, product, adapter and machine. `product` replaces what can be seen of it.
RunInfo Identify(const std::string& product);

// The shipped expectations that fit this node: of its kind, and of its host.
std::vector<std::string> FittingExpectations();

}  // namespace dxg::conformance
