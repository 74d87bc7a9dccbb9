#pragma once

#include <cstdint>
#include <string>
#include <vector>

// The part of a test that runs after execve. The program starts itself with a flag, the name of a check, and
// the numbers that it knew before. It exits with 0 if the check passes.

namespace dxg::conformance {

inline constexpr const char* kAfterExecFlag = "--after-exec";
inline constexpr uint64_t kAfterExecSeed = 77;  // seed of the pattern that the check looks for in memory

// Replaces this process by the program, which runs one of these checks:
//   device   descriptor of the node, device: asks the device for its state
//   lock     descriptor of the node, device, allocation of three pages: locks it and compares it with the
//            pattern
//   open     descriptor of a shared resource of one page: opens it on a device of its own and compares it
[[noreturn]] void ExecAfter(const std::string& job, const std::vector<uint64_t>& numbers);

int AfterExec(int argc, char** argv);

}  // namespace dxg::conformance
