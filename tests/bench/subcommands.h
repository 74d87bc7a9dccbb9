#pragma once

#include "tests/bench/measure.h"

// What `dxg-bench` can measure. Each pins itself to one core, starts what it needs beside itself, and ends
// it.

namespace dxg::bench {

void MeasureCalls(Run& run);
void MeasureMemory(Run& run);
void MeasureWork(Run& run);
void MeasureHost(Run& run);
void MeasureRings(Run& run);
void MeasureLoad(Run& run);

// This program as one of `cuse-dxg run --attach=preload`: prints the medians of a local and of a host call.
inline constexpr char kByLibrary[] = "--by-library";
int MeasureByLibrary();

}  // namespace dxg::bench
