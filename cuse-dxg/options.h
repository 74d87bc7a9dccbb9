#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "cuse-dxg/attach/session.h"
#include "cuse-dxg/confinement.h"
#include "cuse-dxg/dxg_node.h"

namespace dxg {

// Exit statuses of `run`, as those of env(1) and nohup(1). Any other status is the program's.
inline constexpr int kExitNotStarted = 125;  // whatever is wrong with the command line, or with the node
inline constexpr int kExitCannotRun = 126;
inline constexpr int kExitNotFound = 127;

// What `serve` and `run` take. Each has its own, because a file of options may speak of both.
struct Options {
  NodeOptions device;
  int workers = attach::Session::kWorkersDefault;
  std::string log_level;
  std::string sandbox = "kill";
  bool no_sandbox = false;

  confinement::Forbidden forbidden() const {
    return no_sandbox ? confinement::Forbidden::kAllow : confinement::ForbiddenOf(sandbox);
  }

  // serve
  std::string attach = "auto";
  std::string path = "/dev/dxg";
  std::string mode, group;
  int ready_fd = -1;
  bool foreground = true;

  // run
  std::string run_attach = "auto";
  bool preload = false;
  std::string wsl_libs = "auto";
  std::string report;         // file; "-" is standard output; empty: none
  std::string report_format;  // text or json; empty: by the file's name
  std::vector<std::string> command;
};

CLI::App* AddServe(CLI::App& app, Options* options);

// `run`, whose program is what follows "--". That bypasses the parser, which would read "[" and "]" as a
// list.
class RunCommand {
 public:
  // Looks in the command line for the program, and adds the command.
  RunCommand(CLI::App& app, Options* options, int argc, char** argv);

  bool is_asked_for() const { return word_ != 0; }
  bool given() const { return run_->parsed(); }
  bool has_bare_program() const { return !program_->results().empty(); }  // one that no "--" is before
  int argc() const { return argc_; }                                      // of what the parser reads
  // Refuses words that look like the program's among those of ours, after the parser was there.
  Status CheckWords() const;

 private:
  Options* options_;
  char** argv_;
  int argc_;      // up to "--"
  int word_ = 0;  // where "run" is
  CLI::App* run_;
  CLI::Option* program_;
};

// Options in a file, which $DXG_CONFIG may name.
void AddConfig(CLI::App& app);

}  // namespace dxg
