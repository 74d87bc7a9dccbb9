#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>

#include "base/status.h"
#include "cuse-dxg/top/layout.h"

namespace dxg::top {

// `cuse-dxg top`: what a running daemon has, again and again.
class Command {
 public:
  explicit Command(CLI::App& app);
  Command(const Command&) = delete;  // the command line points into it
  Command& operator=(const Command&) = delete;

  bool given() const { return top_->parsed(); }
  // Returns the exit status: 0, or 1 with the reason on stderr. A signal that ends it does so when the
  // terminal is as it was before.
  int Run() const;

 private:
  Status Print() const;
  Status Show(int* ended_by) const;
  SortBy sort() const;

  CLI::App* top_;
  std::string path_;
  std::string sort_ = "memory";
  double interval_s_ = 1;
  uint64_t count_ = 0;  // 0: without end
  uint64_t process_ = 0;
  bool once_ = false, json_ = false;
};

}  // namespace dxg::top
