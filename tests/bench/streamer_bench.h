#pragma once

#include "tests/bench/measure.h"

namespace dxg::bench {

// What the streamers of vendors' commands make of 1 MiB of small commands, and of copies: one daemon for each
// profile, which no other one runs beside.
void CompareStreamers(Run& run);

}  // namespace dxg::bench
