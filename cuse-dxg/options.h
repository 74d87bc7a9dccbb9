#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "cuse-dxg/attach/session.h"
#include "cuse-dxg/confinement.h"
#include "cuse-dxg/dxg_node.h"
#include "cuse-dxg/program_words.h"

namespace dxg {

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

// `run`, and the program behind it.
class RunCommand {
 public:
  RunCommand(CLI::App& app, Options* options, int argc, char** argv);

  const ProgramWords& words() const { return words_; }
  bool given() const { return run_->parsed(); }

 private:
  ProgramWords words_;
  CLI::App* run_;
};

// Options in a file, which $DXG_CONFIG may name.
void AddConfig(CLI::App& app);

}  // namespace dxg
