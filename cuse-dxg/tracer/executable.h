#pragma once

#include <sys/types.h>

#include <string>

namespace dxg::tracer {

// The path of what a process executes, as the kernel has it.
std::string ProgramOf(pid_t tid);

// What somebody who reads the recording has to know of a program that a process has executed: that its calls
// are not recorded, or that it runs with fewer rights than alone. Empty: nothing.
std::string WhatIsOtherwiseFor(pid_t tid, const std::string& program);

}  // namespace dxg::tracer
