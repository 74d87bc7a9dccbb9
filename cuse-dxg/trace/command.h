#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <cstdio>
#include <string>

#include "base/status.h"
#include "cuse-dxg/trace/filter.h"
#include "link/trace/trace_reader.h"

namespace dxg::trace {

// `cuse-dxg trace`: what a recording says.
class Command {
 public:
  explicit Command(CLI::App& app);
  Command(const Command&) = delete;  // the command line points into it
  Command& operator=(const Command&) = delete;

  bool given() const { return trace_->parsed(); }
  // Returns the exit status; where something was refused, the reason is on stderr.
  int Run() const;

 private:
  void AddFilter(CLI::App* command);
  Result<int> Print() const;
  Result<int> Grep() const;
  Result<int> PrintStats() const;
  Result<int> PrintObjects() const;
  Result<int> PrintDiff() const;
  Result<int> Export() const;
  Status ExportTo(TraceReader& from, const Filter& filter, std::FILE* to) const;
  Result<int> Convert() const;

  CLI::App* trace_;
  CLI::App *print_, *grep_, *stats_, *objects_, *diff_, *export_, *convert_;
  std::string file_, other_, filter_, pattern_, perfetto_, csv_, vmbus_, output_;
  uint64_t limit_ = 0;
  bool json_ = false, full_ = false, follow_ = false, ignore_case_ = false, all_ = false, dot_ = false,
       exact_ = false;
};

}  // namespace dxg::trace
