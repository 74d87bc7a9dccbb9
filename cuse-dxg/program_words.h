#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "base/status.h"

namespace dxg {

// Exit statuses of commands that run a program, as those of env(1) and nohup(1). Any other status is the
// program's.
inline constexpr int kExitNotStarted = 125;  // whatever is wrong with the command line, or with the node
inline constexpr int kExitCannotRun = 126;
inline constexpr int kExitNotFound = 127;

// The program of a command that runs one: what follows "--". That bypasses the parser, which would read "["
// and "]" as a list.
class ProgramWords {
 public:
  // Looks in the command line for `command` and, behind it, for the program.
  ProgramWords(const char* command, int argc, char** argv);
  // Adds the option that takes a program without "--", which is accepted where no word can be taken for one
  // of ours.
  void AddTo(CLI::App* command, std::vector<std::string>* program);

  bool is_asked_for() const { return word_ != 0; }
  int argc() const { return argc_; }  // of what the parser reads
  // Refuses words that look like the program's among those of ours, after the parser was there.
  Status Check() const;
  // What is said where the command line is wrong: words of the program are the likeliest reason. The exit
  // status.
  int Explain(const CLI::App& app, const CLI::ParseError& error) const;

 private:
  const char* command_;
  char** argv_;
  int argc_;      // up to "--"
  int word_ = 0;  // where the command is
  std::vector<std::string> program_;
  CLI::Option* option_ = nullptr;
};

}  // namespace dxg
