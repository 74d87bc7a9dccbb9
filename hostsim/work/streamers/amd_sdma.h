#pragma once

#include <cstdint>
#include <memory>

#include "hostsim/work/streamers/packet_streamer.h"

namespace dxg::hostsim {

// The system DMA engine of an AMD GPU (SDMA 4 to 6). A packet's length follows from its operation:
//
//   31 .. 16        | 15 .. 8 | 7 .. 0
//   the operation's | sub-op  | operation
//
// Facts are from the Linux driver's headers (navi10_sdma_pkt_open.h) and from Mesa's (src/amd/common/sid.h,
// ac_cmdbuf_sdma.c), all MIT.
class AmdSdma final : public PacketStreamer {
 public:
  AmdSdma(const GpuBuffer& buffer, std::unique_ptr<StreamerState>* state);

 private:
  uint32_t Measure(uint32_t header) override;
  CommandStop Execute(const Packet& packet) override;

  CommandStop Copy(const Packet& packet);
  CommandStop ConstantFill(const Packet& packet);
  CommandStop PollRegMem(const Packet& packet);
  CommandStop Atomic(const Packet& packet);
  CommandStop CondExe(const Packet& packet);
  CommandStop Timestamp(const Packet& packet);

  uint32_t polls_ = 0;  // how often the packet's condition did not hold
};

}  // namespace dxg::hostsim
