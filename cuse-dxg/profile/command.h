#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "base/status.h"
#include "cuse-dxg/profile/samples.h"
#include "cuse-dxg/profile/trial.h"

namespace dxg::profile {

// `cuse-dxg profile`: a profile of what programs saw.
class Command {
 public:
  explicit Command(CLI::App& app);
  Command(const Command&) = delete;  // the command line points into it
  Command& operator=(const Command&) = delete;

  bool given() const { return profile_->parsed(); }
  // Returns the exit status: 0; 3 if adapters of the profile answer otherwise than was seen; 1 with the
  // reason on stderr.
  int Run(const MakeTrial& make_trial) const;

 private:
  Result<int> From(const MakeTrial& make_trial) const;
  // Says what was asked.
  Result<std::string> Read(Samples* samples) const;

  CLI::App* profile_;
  CLI::App* from_;
  std::string source_, output_, base_;
};

}  // namespace dxg::profile
