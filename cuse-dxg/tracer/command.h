#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "cuse-dxg/program_words.h"
#include "proto/dxg/trace.pb.h"

namespace dxg::tracer {

// `cuse-dxg record`: a program on any node, with a recording of what it says to it.
class Command {
 public:
  Command(CLI::App& app, int argc, char** argv);
  Command(const Command&) = delete;  // the command line points into it
  Command& operator=(const Command&) = delete;

  const ProgramWords& words() const { return words_; }
  bool given() const { return record_->parsed(); }
  // Returns when the program has ended: its status, as waitpid has it. The status of what was refused is
  // -ENOENT or -EACCES and the like where the program cannot be executed, and -ECHILD for all else.
  Result<int> Run();

 private:
  TraceHeader Header() const;

  ProgramWords words_;
  CLI::App* record_;
  std::string file_, node_ = "/dev/dxg";
  uint64_t bytes_max_ = uint64_t{16} << 30;
  std::string memory_ = "none";
  bool redact_ = false, summary_ = false;
  std::vector<std::string> program_;
};

}  // namespace dxg::tracer
