#pragma once

#include <cstdint>
#include <memory>

#include "hostsim/work/streamers/packet_streamer.h"

namespace dxg::hostsim {

// The command processor of a Qualcomm Adreno GPU (a6xx, a7xx). P is the bit that makes the ones of its field
// odd in number:
//
//   31 .. 28 | 27 | 25 .. 8  | 7 | 6 .. 0
//      4     | P  | register | P | count        writes registers from that one on
//
//   31 .. 28 | 23 | 22 .. 16 | 15 | 13 .. 0
//      7     | P  | opcode   | P  | count       does something
//
// `count` words follow. Facts are from Mesa: src/freedreno/registers/adreno/adreno_pm4.xml and a6xx.xml, MIT.
class Adreno final : public PacketStreamer {
 public:
  Adreno(const GpuBuffer& buffer, std::unique_ptr<StreamerState>* state);

 private:
  uint32_t Measure(uint32_t header) override;
  CommandStop Execute(const Packet& packet) override;
  CommandStop ExecuteType7(const Packet& packet, uint32_t opcode);
  CommandStop WithWords(const Packet& packet, uint32_t least, CommandStop (Adreno::*execute)(const Packet&));

  CommandStop MemWrite(const Packet& packet);
  CommandStop MemToMem(const Packet& packet);
  CommandStop Memcpy(const Packet& packet);
  CommandStop EventWrite(const Packet& packet);
  CommandStop WaitRegMem(const Packet& packet);
  CommandStop WaitMemory(const Packet& packet);
  CommandStop CondWrite(const Packet& packet);
  CommandStop RegToMem(const Packet& packet);
  CommandStop MemToReg(const Packet& packet);
  CommandStop RegRmw(const Packet& packet);
  CommandStop RegTest(const Packet& packet);
  CommandStop CondRegExec(const Packet& packet);
  CommandStop CondExec(const Packet& packet);
  CommandStop SetMarker(const Packet& packet);
  CommandStop IndirectBuffer(const Packet& packet);
  CommandStop IndirectBufferChain(const Packet& packet);
  CommandStop ExecCs(const Packet& packet);
  CommandStop Dispatch(uint64_t groups);
  CommandStop Draw();

  // The value that a wait or a conditional write looks at, at `index` of the packet; false: a fault.
  bool Polled(const Packet& packet, uint32_t index, uint32_t source, uint32_t* value);
  uint32_t ReadRegister(uint32_t number);

  uint32_t predicates_ = 0;  // bits that CP_REG_TEST sets
  uint32_t mode_ = 1;        // of CP_SET_MARKER
};

}  // namespace dxg::hostsim
