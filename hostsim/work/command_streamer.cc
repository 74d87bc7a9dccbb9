#include "hostsim/work/command_streamer.h"

#include "hostsim/work/command_buffer.h"
#include "hostsim/work/streamers/intel.h"

namespace dxg::hostsim {

std::unique_ptr<CommandStreamer> MakeStreamer(AdapterProfile::CommandFormat format, const GpuBuffer& buffer,
                                              std::unique_ptr<StreamerState>* state) {
  switch (format) {
    case AdapterProfile::INTEL_GEN12:
      return MakeIntelStreamer(buffer, state);
    default:
      return std::make_unique<CommandRun>(buffer.address, buffer.bytes);
  }
}

}  // namespace dxg::hostsim
