#pragma once

namespace dxg {

// Prints what works on this machine, what does not, and how to fix it, a line each. Returns the exit status:
// 0 if a node can be made in at least one way.
int Doctor();

}  // namespace dxg
