#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace dxg::command_line {

// A program of the shell that completes the program's commands, options and their values.
std::string BashCompletion(const CLI::App& app);
std::string ZshCompletion(const CLI::App& app);

}  // namespace dxg::command_line
