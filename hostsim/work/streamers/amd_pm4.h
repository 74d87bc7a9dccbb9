#pragma once

#include <cstdint>
#include <memory>

#include "hostsim/work/streamers/packet_streamer.h"

namespace dxg::hostsim {

// The command processor of an AMD GPU (GFX9 to GFX11): PM4 packets of type 3, and types 0 and 2.
//
//   31 30 | 29 .. 16 | 15 .. 8 | 7 .. 2 | 1       | 0             words of the packet: count + 2
//     3   |  count   | opcode  |        | compute | predicated    NOP with count 0x3FFF: 1
//
// Facts are from the Linux driver's headers (nvd.h, soc15d.h) and from Mesa's (src/amd/common/sid.h), both
// MIT.
class AmdPm4 final : public PacketStreamer {
 public:
  AmdPm4(const GpuBuffer& buffer, std::unique_ptr<StreamerState>* state);

 private:
  uint32_t Measure(uint32_t header) override;
  CommandStop Execute(const Packet& packet) override;
  CommandStop ExecuteType3(const Packet& packet, uint32_t opcode);
  CommandStop WithWords(const Packet& packet, uint32_t least, CommandStop (AmdPm4::*execute)(const Packet&));

  CommandStop DmaData(const Packet& packet);
  CommandStop WriteData(const Packet& packet);
  CommandStop CopyData(const Packet& packet);
  CommandStop ReleaseMem(const Packet& packet);
  CommandStop EventWrite(const Packet& packet);
  CommandStop EventWriteEop(const Packet& packet);
  CommandStop EventWriteEos(const Packet& packet);
  CommandStop WriteEvent(uint32_t data_select, GpuAddress to, uint64_t data);
  CommandStop WaitRegMem(const Packet& packet);
  CommandStop WaitRegMem64(const Packet& packet);
  CommandStop AtomicMem(const Packet& packet);
  CommandStop CondExec(const Packet& packet);
  CommandStop CondWrite(const Packet& packet);
  CommandStop SetPredication(const Packet& packet);
  CommandStop IndirectBuffer(const Packet& packet);
  CommandStop SetRegisterSpace(const Packet& packet, uint32_t first);
  CommandStop SetRegisterPairs(const Packet& packet, uint32_t first);
  CommandStop DispatchDirect(const Packet& packet);
  CommandStop DispatchIndirect(const Packet& packet);
  CommandStop Dispatch(uint64_t groups);
  CommandStop Draw(const Packet& packet);

  bool predicate_ = true;  // packets that ask for it are executed
};

}  // namespace dxg::hostsim
