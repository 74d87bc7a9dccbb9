#pragma once

namespace dxg {

// Exit statuses of `doctor`; 0: all that was tried works.
constexpr int kDoctorNoNode = 1;  // there is no node, none can be made, and no program can be served without
constexpr int kDoctorTrialFailed = 3;  // a node is there, or can be made, and not all calls work on it

// Prints what works on this machine, what does not, and how to fix it, a line each. A client tries it, on a
// node of its own and on /dev/dxg. Returns the exit status.
int Doctor(bool json);

}  // namespace dxg
