#pragma once

namespace dxg {

// `cuse-dxg trial NODE`, which `cuse-dxg doctor` starts: a client that makes a few calls of each kind. Prints
// a line for each kind: its name, "ok" or "no", and what was seen, with tabs in between. 0: all is well.
int RunTrial(const char* path);

}  // namespace dxg
