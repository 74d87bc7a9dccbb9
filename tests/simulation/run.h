#pragma once

#include <cstdint>
#include <string>

// A run: random clients of one machine, all from a seed, against a model. Nothing in it depends on anything
// else, so the same seed and number of steps make the same run on every machine.

namespace dxg::simulation {

struct Options {
  int steps = 60;
  bool verbose = false;  // print every step
};

// What a run throws where the machine does not do what the model says.
struct Broken {
  std::string what;
};

struct Outcome {
  int step = 0;
  std::string broken;  // empty: all as the model says
  uint64_t hash = 0;   // of all that was done and seen
};

// Memory calls.
Outcome RunMemory(const Options& options, uint64_t seed);
// Queues, fences, waits and faults.
Outcome RunWork(const Options& options, uint64_t seed);

}  // namespace dxg::simulation
