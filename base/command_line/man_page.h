#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace dxg::command_line {

// The manual page of a program, for man(1). What the footer of its help says of exit statuses becomes a
// section.
std::string ManPage(const CLI::App& app);

}  // namespace dxg::command_line
