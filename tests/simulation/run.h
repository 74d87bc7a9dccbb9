#pragma once

#include <cstdint>
#include <string>

// A run of random clients on one simulated machine, against a model. It depends only on the seed and the
// number of steps, so both make the same run everywhere.

namespace dxg::simulation {

struct Options {
  int steps = 60;
  bool verbose = false;  // print every step
};

// A run throws this when the machine does not do what the model says.
struct Broken {
  std::string what;
};

struct Outcome {
  int step = 0;
  std::string broken;  // empty: all as the model says
  uint64_t hash = 0;   // of all actions and all results
};

// Memory calls.
Outcome RunMemory(const Options& options, uint64_t seed);
// Queues, fences, waits and faults.
Outcome RunWork(const Options& options, uint64_t seed);

}  // namespace dxg::simulation
