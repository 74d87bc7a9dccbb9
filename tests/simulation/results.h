#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/command_line/shard.h"

// What a run of many seeds found, as a file; and one file of those of several machines.

namespace dxg::simulation {

struct BrokenSeed {
  uint64_t seed = 0;
  int step = 0;
  std::string what;
};

struct Results {
  std::string version;  // of this program
  std::string kind;
  int steps = 0;
  uint64_t first = 0, seeds = 0;  // of all shards together
  std::vector<command_line::Shard> shards;
  uint64_t done = 0;      // seeds that were run
  bool complete = false;  // all that these shards have to run
  std::vector<BrokenSeed> broken;
};

// The seeds of a shard: from `first` on, `count` of them.
struct Seeds {
  uint64_t first = 0, count = 0;
};
Seeds SeedsOf(const Results& run, command_line::Shard shard);

// Both return what is wrong, or nothing. A file is there whole, or as it was before.
[[nodiscard]] std::optional<std::string> WriteResults(const std::string& path, const Results& results);
[[nodiscard]] std::optional<std::string> ReadResults(const std::string& path, Results* results);

// Prints the summary, and how to repeat what is broken. Returns the exit status: 0, or 1 where a seed is
// broken or not all were run.
int Conclude(const Results& results);

// Makes one file of those of all shards, and prints what is broken and how to repeat it. A shard that ran
// again after it died counts as it ended. Returns the exit status: that of Conclude, or 2 where files do not
// belong together or cannot be read.
int Merge(const std::vector<std::string>& files, const std::string& json);

}  // namespace dxg::simulation
