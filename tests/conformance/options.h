#pragma once

#include <chrono>
#include <string>
#include <vector>

// Options of the command line of dxg-conformance. main() sets them once, before any test runs.

namespace dxg::conformance {

struct Options {
  std::string device = "/dev/dxg";
  bool simulator = false;  // run the suites whose name begins with Sim
  bool trouble = false;    // run the suites whose name begins with SimTrouble
  std::string ctl;  // the program that controls the simulator's host; empty: leave out the suites SimArrival
  std::vector<std::string> allow_skip;  // names of tests that may skip; * and ? as in a shell
  double stress_s = 2;
};

Options& options();

// When a stress test that begins now ends.
inline std::chrono::steady_clock::time_point StressDeadline() {
  using Clock = std::chrono::steady_clock;
  return Clock::now() +
         std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(options().stress_s));
}

}  // namespace dxg::conformance
