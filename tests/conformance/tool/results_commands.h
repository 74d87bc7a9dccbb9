#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

// Commands about files of results: dxg-conformance compare A B, dxg-conformance merge --json OUT FILES.

namespace dxg::conformance {

struct CompareOptions {
  std::string before, after;
  double factor = 2;
  double least_ms = 20;
};

struct MergeOptions {
  std::string json, junit;
  std::vector<std::string> files;
};

class ResultsCommands {
 public:
  explicit ResultsCommands(CLI::App& app);
  ResultsCommands(const ResultsCommands&) = delete;  // the command line points into it

  bool given() const { return compare_->parsed() || merge_->parsed(); }
  // Runs the one that is given, and returns the exit status.
  int Run() const;

 private:
  CLI::App *compare_, *merge_;
  CompareOptions comparing_;
  MergeOptions merging_;
};

}  // namespace dxg::conformance
