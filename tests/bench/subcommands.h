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

}  // namespace dxg::bench
