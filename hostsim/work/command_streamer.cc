#include "hostsim/work/command_streamer.h"

#include "hostsim/work/command_buffer.h"
#include "hostsim/work/streamers/adreno.h"
#include "hostsim/work/streamers/amd_pm4.h"
#include "hostsim/work/streamers/amd_sdma.h"
#include "hostsim/work/streamers/intel.h"

namespace dxg::hostsim {

std::unique_ptr<CommandStreamer> MakeStreamer(AdapterProfile::CommandFormat format, const GpuBuffer& buffer,
                                              std::unique_ptr<StreamerState>* state) {
  switch (format) {
    case AdapterProfile::INTEL_GEN12:
      return MakeIntelStreamer(buffer, state);
    case AdapterProfile::AMD_PM4:
      return std::make_unique<AmdPm4>(buffer, state);
    case AdapterProfile::AMD_SDMA:
      return std::make_unique<AmdSdma>(buffer, state);
    case AdapterProfile::ADRENO:
      return std::make_unique<Adreno>(buffer, state);
    default:
      return std::make_unique<CommandRun>(buffer.address, buffer.bytes);
  }
}

}  // namespace dxg::hostsim
