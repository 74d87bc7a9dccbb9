#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

// The tables that --help prints, in the form that manual pages and completions are written from.

namespace dxg::command_line {

struct Option {
  std::vector<std::string> names;  // with their dashes; none: a positional
  std::string positional;
  std::string type;  // what to give, as --help shows it; empty: a flag
  std::string help;
  std::string variable;             // of the environment
  std::string preset;               // what holds where it is not given
  bool required = false;            // of a positional
  bool repeated = false;            // of a positional
  std::vector<std::string> values;  // the words that it takes, where they are known
  bool is_file = false;             // a path, perhaps beside such words
};

struct Command {
  std::string path;  // "cuse-dxg ctl fault"
  std::string help;
  std::string footer;
  std::vector<Option> options;
  std::vector<std::string> commands;  // names below
  std::vector<std::string> helps;     // of each
};

// The program itself and then all that is below it, each before what is below it.
std::vector<Command> CommandsOf(const CLI::App& app);

// The footer's paragraphs.
std::vector<std::string> Paragraphs(const std::string& text);

}  // namespace dxg::command_line
