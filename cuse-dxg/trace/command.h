#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

#include "base/status.h"

namespace dxg::trace {

// `cuse-dxg trace`: what a recording says.
class Command {
 public:
  explicit Command(CLI::App& app);
  Command(const Command&) = delete;  // the command line points into it
  Command& operator=(const Command&) = delete;

  bool given() const { return trace_->parsed(); }
  // Returns the exit status: 0, or 1 with the reason on stderr.
  int Run() const;

 private:
  Status Print() const;
  Status PrintStats() const;

  CLI::App* trace_;
  CLI::App* print_;
  CLI::App* stats_;
  std::string file_, filter_;
  uint64_t limit_ = 0;
  bool json_ = false, full_ = false, follow_ = false;
};

}  // namespace dxg::trace
