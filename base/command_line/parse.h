#pragma once

#include <CLI/CLI.hpp>
#include <optional>

namespace dxg::command_line {

// What all programs but `cuse-dxg run` end with where the command line is wrong.
inline constexpr int kExitWrong = 2;

// Parses. Beside --help and --version it answers, for packages and shells, --man (the manual page, as troff)
// and
// --completion SHELL; both are made from the tables of --help. A value: the status to end with.
std::optional<int> Parse(CLI::App& app, int argc, const char* const* argv, int exit_wrong = kExitWrong);

// Prints what the parser has thrown, and returns the status to end with: 0 for what --help and its like
// throw.
int Explain(const CLI::App& app, const CLI::ParseError& error, int exit_wrong = kExitWrong);

// Adds the two options, which --help does not list. Parse does it by itself.
void AddPages(CLI::App& app);

}  // namespace dxg::command_line
