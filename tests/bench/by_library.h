#pragma once

namespace dxg::bench {

// What calls cost in a program of `cuse-dxg run --attach=preload`: medians, in microseconds.
struct ByLibrary {
  double local = 0, host = 0;
  double submission = 0;       // each of a burst of 64
  double lock_and_unlock = 0;  // both together
};

// This program is the one that is run: measures, and prints it for MeasureByLibrary. The exit status.
inline constexpr char kByLibrary[] = "--by-library";
inline constexpr char kFewCalls[] = "few", kManyCalls[] = "many";
int RunByLibrary(bool few);

// Runs this program in that way, on the cores that this process may use.
ByLibrary MeasureByLibrary(bool few);

}  // namespace dxg::bench
