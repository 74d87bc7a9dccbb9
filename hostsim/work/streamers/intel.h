#pragma once

#include <memory>

#include "hostsim/work/command_streamer.h"

namespace dxg::hostsim {

// A streamer of the command streamers of Intel's Gen9, Gen11 and Gen12 (Skylake to Alder Lake): what
// docs/command-streamers.md lists is done, state of media and 3D is read over by its length, dispatches are
// left out, and everything else faults. As on the real engine nothing but MI_BATCH_BUFFER_END ends a buffer;
// an empty one is over at once.
std::unique_ptr<CommandStreamer> MakeIntelStreamer(const GpuBuffer& buffer,
                                                   std::unique_ptr<StreamerState>* state);

}  // namespace dxg::hostsim
