#pragma once

// The half of a test that runs after execve: the program starts itself with this flag, a descriptor of the
// node and a device handle, both from before the exec, and ends with 0 when they still work.

namespace dxg::conformance {

inline constexpr const char* kAfterExecFlag = "--after-exec";

int AfterExec(int argc, char** argv);

}  // namespace dxg::conformance
