#pragma once

#include "tests/bench/measure.h"

// What `dxg-bench` can measure. Each pins itself to one core, starts what it needs beside itself, and ends
// it.

namespace dxg::bench {

void MeasureCalls(Run& run);
void MeasureMemory(Run& run);
void MeasureWork(Run& run);
void MeasureOps(Run& run);
void MeasureHost(Run& run);
void MeasureRings(Run& run);
void MeasureLoad(Run& run);
void MeasureThroughput(Run& run);
void MeasureRecord(Run& run);

// This program as one that is recorded. For each line on standard input it takes a turn, and prints the
// medians of local and of host calls; or it makes calls.
inline constexpr char kRecordedInTurns[] = "--recorded-in-turns", kRecordedCalls[] = "--recorded-calls";
int TakeRecordedTurns();
int MakeRecordedCalls();

}  // namespace dxg::bench
