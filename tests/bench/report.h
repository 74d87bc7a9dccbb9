#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/bench/measure.h"

// A run in words, and as the JSON that `dxg-bench compare` reads.

namespace dxg::bench {

// What else the machine did. A figure without it says little.
class Load {
 public:
  Load() : before_(Now()) {}
  // From the construction until now.
  nlohmann::ordered_json Json() const;
  std::string Text() const;

 private:
  struct Sample {
    double average = 0;                      // processes that run or want to, over the last minute
    uint64_t busy = 0, stolen = 0, all = 0;  // ticks of all cores
  };
  static Sample Now();
  const Sample before_;
};

std::string Line(const Result& result, bool smoke);
nlohmann::ordered_json RunAsJson(const std::string& command, const Run& run, const Limits& limits,
                                 const Load& load);

// Prints what differs between two runs. Returns the status to end with: 1 where a figure of the second one is
// surely worse, 2 where they cannot be compared.
int Compare(const std::string& file_a, const std::string& file_b);

}  // namespace dxg::bench
