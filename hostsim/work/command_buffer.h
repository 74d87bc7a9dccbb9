#pragma once

#include <atomic>
#include <cstdint>

#include "hostsim/work/command_streamer.h"

namespace dxg::hostsim {

// One execution of a command buffer. Its format is the simulator's own: docs/command-format.md. A run reads
// the buffer through the page tables op by op, trusts nothing in it, and holds no lock but those that
// Translate takes. It stops wherever time has to pass; the next Run goes on at the same op, maybe on another
// thread.
class CommandRun final : public CommandStreamer {
 public:
  CommandRun(GpuAddress address, uint32_t bytes) : address_(address), bytes_(bytes) {}

  CommandStop Run(CommandEnvironment& environment, const std::atomic<bool>& cancelled,
                  uint64_t budget) override;

 private:
  const GpuAddress address_;
  const uint32_t bytes_;
  uint32_t at_ = 0;  // of the next op
};

}  // namespace dxg::hostsim
