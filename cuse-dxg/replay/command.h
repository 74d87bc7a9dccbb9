#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace dxg::replay {

// `cuse-dxg replay`: the client's side of a recording, against a node.
class Command {
 public:
  explicit Command(CLI::App& app);
  Command(const Command&) = delete;  // the command line points into it
  Command& operator=(const Command&) = delete;

  bool given() const { return replay_->parsed(); }
  // Returns the exit status.
  int Run() const;

 private:
  int Play() const;
  int PlayInRun() const;

  CLI::App* replay_;
  std::string file_, device_, scenario_, backend_, timing_ = "fast";
  std::vector<std::string> profiles_;
};

}  // namespace dxg::replay
