#pragma once

#include <cstdint>
#include <string>
#include <vector>

// The half of a test that runs after execve: the program starts itself with a flag, the name of what to do
// and the numbers that it knew before, and ends with 0 when all was as it should be.

namespace dxg::conformance {

inline constexpr const char* kAfterExecFlag = "--after-exec";
inline constexpr uint64_t kAfterExecSeed = 77;  // of the pattern in memory that is found again

// What a program can do then:
//   device   descriptor of the node, device: asks the device for its state
//   lock     descriptor of the node, device, allocation of three pages: locks it and looks for the pattern
//   open     descriptor of a shared resource of one page: opens it on a device of its own and looks
//
// Does not return.
[[noreturn]] void ExecAfter(const std::string& job, const std::vector<uint64_t>& numbers);

int AfterExec(int argc, char** argv);

}  // namespace dxg::conformance
