#pragma once

namespace dxg {

// Prints what this machine can do for us, what stands in the way and how to mend it, a line each. Returns the
// exit status: 0 when a node can be made in at least one way.
int Doctor();

}  // namespace dxg
