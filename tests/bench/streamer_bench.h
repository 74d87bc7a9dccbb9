#pragma once

namespace dxg::bench {

// What the streamers of vendors' commands make of 1 MiB of small commands, and of copies: one daemon for each
// profile, which no other one runs beside.
void CompareStreamers(bool smoke);

}  // namespace dxg::bench
