#include "hostsim/work/streamers/amd_pm4.h"

#include <fmt/core.h>

#include <algorithm>

#include "hostsim/work/streamers/amd_atomics.h"
#include "hostsim/work/streamers/packet_words.h"

namespace dxg::hostsim {
namespace {

// The submitted buffer, one that it calls, and one that this calls.
constexpr uint32_t kPm4BuffersMax = 3;

enum class Pm4 : uint32_t {
  kNop = 0x10,
  kSetBase = 0x11,
  kClearState = 0x12,
  kIndexBufferSize = 0x13,
  kDispatchDirect = 0x15,
  kDispatchIndirect = 0x16,
  kAtomicMem = 0x1E,
  kOcclusionQuery = 0x1F,
  kSetPredication = 0x20,
  kCondExec = 0x22,
  kDrawIndirect = 0x24,
  kDrawIndexIndirect = 0x25,
  kIndexBase = 0x26,
  kDrawIndex2 = 0x27,
  kContextControl = 0x28,
  kIndexType = 0x2A,
  kDrawIndirectMulti = 0x2C,
  kDrawIndexAuto = 0x2D,
  kDrawIndexImmediate = 0x2E,
  kNumInstances = 0x2F,
  kDrawIndexMultiAuto = 0x30,
  kIndirectBufferConstant = 0x33,
  kStreamoutBufferUpdate = 0x34,
  kDrawIndexOffset2 = 0x35,
  kDrawPreamble = 0x36,
  kWriteData = 0x37,
  kDrawIndexIndirectMulti = 0x38,
  kDrawIndexMultiInstances = 0x3A,
  kWaitRegMem = 0x3C,
  kIndirectBuffer = 0x3F,
  kCopyData = 0x40,
  kPfpSyncMe = 0x42,
  kSurfaceSync = 0x43,
  kCondWrite = 0x45,
  kEventWrite = 0x46,
  kEventWriteEop = 0x47,
  kEventWriteEos = 0x48,
  kReleaseMem = 0x49,
  kPreambleControl = 0x4A,
  kDispatchMeshIndirectMulti = 0x4C,
  kDispatchTaskMeshGfx = 0x4D,
  kDispatchMeshDirect = 0x4E,
  kDmaData = 0x50,
  kContextRegRmw = 0x51,
  kAcquireMem = 0x58,
  kRewind = 0x59,
  kPrimeUtcl2 = 0x5D,
  kLoadUconfigReg = 0x5E,
  kLoadShReg = 0x5F,
  kLoadContextReg = 0x61,
  kLoadShRegIndex = 0x63,
  kSetConfigReg = 0x68,
  kSetContextReg = 0x69,
  kSetContextRegIndex = 0x6A,
  kSetShReg = 0x76,
  kSetShRegOffset = 0x77,
  kSetUconfigReg = 0x79,
  kSetUconfigRegIndex = 0x7A,
  kLoadConstRam = 0x80,
  kWriteConstRam = 0x81,
  kDumpConstRam = 0x83,
  kIncrementCeCounter = 0x84,
  kIncrementDeCounter = 0x85,
  kWaitOnCeCounter = 0x86,
  kWaitOnDeCounterDiff = 0x88,
  kDispatchDrawPreamble = 0x8C,
  kDispatchDraw = 0x8D,
  kFrameControl = 0x90,
  kIndexAttributesIndirect = 0x91,
  kWaitRegMem64 = 0x93,
  kHdpFlush = 0x95,
  kInvalidateTlbs = 0x98,
  kSetShRegIndex = 0x9B,
  kDrawIndirectCountMulti = 0x9C,
  kDrawIndexIndirectCountMulti = 0x9D,
  kLoadContextRegIndex = 0x9F,
  kDispatchDirectInterleaved = 0xA7,
  kDispatchIndirectInterleaved = 0xA8,
  kDispatchTaskStateInit = 0xA9,
  kDispatchTaskMeshDirectAce = 0xAA,
  kDispatchTaskMeshIndirectMultiAce = 0xAD,
  kEventWriteZpass = 0xB1,
  kSetContextRegPairs = 0xB8,
  kSetContextRegPairsPacked = 0xB9,
  kSetShRegPairs = 0xBA,
  kSetShRegPairsPacked = 0xBB,
  kSetShRegPairsPackedN = 0xBD,
  kSetUconfigRegPairs = 0xBE,
  kUpdateDbSummarizerTimeout = 0xEF,
};

// Of registers: by words, as SET packets count them.
constexpr uint32_t kConfigRegisters = 0x2000;
constexpr uint32_t kShRegisters = 0x2C00;
constexpr uint32_t kContextRegisters = 0xA000;
constexpr uint32_t kUconfigRegisters = 0xC000;
constexpr uint32_t kAmdPixelProgram = 0x2C08;    // SPI_SHADER_PGM_LO_PS, _HI_PS
constexpr uint32_t kAmdComputeProgram = 0x2E0C;  // COMPUTE_PGM_LO, _HI
constexpr uint32_t kProgramUnit = 256;           // of their values

constexpr uint32_t kNopOfOneWord = 0x3FFF;  // as its count

// Where data comes from and goes to in WRITE_DATA and COPY_DATA.
enum class Pm4Select : uint32_t {
  kRegister = 0,
  kMemorySynchronously = 1,  // as a source: memory
  kMemoryThroughL2 = 2,
  kGds = 3,
  kMemory = 5,  // as a source: the packet
  kClock = 9,
};

bool IsMemory(Pm4Select select) {
  return select == Pm4Select::kMemorySynchronously || select == Pm4Select::kMemoryThroughL2 ||
         select == Pm4Select::kMemory;
}

bool EndsAmdProgram(uint64_t instruction) {
  return instruction == 0xBF810000 || instruction == 0xBFB00000;  // s_endpgm, until GFX10 and since
}

}  // namespace

AmdPm4::AmdPm4(const GpuBuffer& buffer, std::unique_ptr<StreamerState>* state)
    : PacketStreamer(buffer, state, kPm4BuffersMax, "AMD PM4") {}

uint32_t AmdPm4::Measure(uint32_t header) {
  const uint32_t count = Field(header, 16, 29);
  switch (header >> 30) {
    case 0:
      return count + 2;
    case 2:
      return 1;
    case 3:
      return Field(header, 8, 15) == static_cast<uint32_t>(Pm4::kNop) && count == kNopOfOneWord ? 1
                                                                                                : count + 2;
    default:
      (void)Unknown("packet of type 1");
      return 0;
  }
}

CommandStop AmdPm4::Execute(const Packet& packet) {
  switch (packet.header() >> 30) {
    case 0:
      return SetRegisters(packet, 1, Field(packet.header(), 0, 15));
    case 2:
      return Done();
    default:
      if (Bit(packet.header(), 0) && !predicate_) return Done();
      return ExecuteType3(packet, Field(packet.header(), 8, 15));
  }
}

// A shorter packet is none.
CommandStop AmdPm4::WithWords(const Packet& packet, uint32_t least,
                              CommandStop (AmdPm4::*execute)(const Packet&)) {
  if (packet.words < least)
    return Unknown(fmt::format("packet {:#04x} that is too short", Field(packet.header(), 8, 15)));
  return (this->*execute)(packet);
}

CommandStop AmdPm4::ExecuteType3(const Packet& packet, uint32_t opcode) {
  switch (static_cast<Pm4>(opcode)) {
    case Pm4::kNop:
      return Done();
    case Pm4::kDmaData:
      return WithWords(packet, 7, &AmdPm4::DmaData);
    case Pm4::kWriteData:
      return WithWords(packet, 4, &AmdPm4::WriteData);
    case Pm4::kCopyData:
      return WithWords(packet, 6, &AmdPm4::CopyData);
    case Pm4::kReleaseMem:
      return WithWords(packet, 7, &AmdPm4::ReleaseMem);
    case Pm4::kEventWrite:
      return EventWrite(packet);
    case Pm4::kEventWriteEop:
      return WithWords(packet, 6, &AmdPm4::EventWriteEop);
    case Pm4::kEventWriteEos:
      return WithWords(packet, 5, &AmdPm4::EventWriteEos);
    case Pm4::kWaitRegMem:
      return WithWords(packet, 7, &AmdPm4::WaitRegMem);
    case Pm4::kWaitRegMem64:
      return WithWords(packet, 9, &AmdPm4::WaitRegMem64);
    case Pm4::kAtomicMem:
      return WithWords(packet, 9, &AmdPm4::AtomicMem);
    case Pm4::kCondExec:
      return WithWords(packet, 5, &AmdPm4::CondExec);
    case Pm4::kCondWrite:
      return WithWords(packet, 9, &AmdPm4::CondWrite);
    case Pm4::kSetPredication:
      return WithWords(packet, 4, &AmdPm4::SetPredication);
    case Pm4::kIndirectBuffer:
      return WithWords(packet, 4, &AmdPm4::IndirectBuffer);
    case Pm4::kSetConfigReg:
      return SetRegisterSpace(packet, kConfigRegisters);
    case Pm4::kSetContextReg:
    case Pm4::kSetContextRegIndex:
      return SetRegisterSpace(packet, kContextRegisters);
    case Pm4::kSetShReg:
    case Pm4::kSetShRegIndex:
      return SetRegisterSpace(packet, kShRegisters);
    case Pm4::kSetUconfigReg:
    case Pm4::kSetUconfigRegIndex:
      return SetRegisterSpace(packet, kUconfigRegisters);
    case Pm4::kSetContextRegPairs:
      return SetRegisterPairs(packet, kContextRegisters);
    case Pm4::kSetShRegPairs:
      return SetRegisterPairs(packet, kShRegisters);
    case Pm4::kSetUconfigRegPairs:
      return SetRegisterPairs(packet, kUconfigRegisters);
    case Pm4::kDispatchDirect:
    case Pm4::kDispatchDirectInterleaved:
      return WithWords(packet, 5, &AmdPm4::DispatchDirect);
    case Pm4::kDispatchIndirect:
    case Pm4::kDispatchIndirectInterleaved:
      return DispatchIndirect(packet);
    case Pm4::kDrawIndirect:
    case Pm4::kDrawIndexIndirect:
    case Pm4::kDrawIndex2:
    case Pm4::kDrawIndirectMulti:
    case Pm4::kDrawIndexAuto:
    case Pm4::kDrawIndexImmediate:
    case Pm4::kDrawIndexMultiAuto:
    case Pm4::kDrawIndexOffset2:
    case Pm4::kDrawIndexIndirectMulti:
    case Pm4::kDrawIndexMultiInstances:
    case Pm4::kDispatchMeshIndirectMulti:
    case Pm4::kDispatchTaskMeshGfx:
    case Pm4::kDispatchMeshDirect:
    case Pm4::kDispatchDraw:
    case Pm4::kDrawIndirectCountMulti:
    case Pm4::kDrawIndexIndirectCountMulti:
    case Pm4::kDispatchTaskMeshDirectAce:
    case Pm4::kDispatchTaskMeshIndirectMultiAce:
      return Draw(packet);
    // What the engine does before it goes on has no effect here, but what was fetched may be stale.
    case Pm4::kPfpSyncMe:
    case Pm4::kRewind:
      Refetch();
      return Done();
    // State of draws, and caches.
    case Pm4::kSetBase:
    case Pm4::kClearState:
    case Pm4::kIndexBufferSize:
    case Pm4::kIndexBase:
    case Pm4::kContextControl:
    case Pm4::kIndexType:
    case Pm4::kNumInstances:
    case Pm4::kDrawPreamble:
    case Pm4::kSurfaceSync:
    case Pm4::kPreambleControl:
    case Pm4::kContextRegRmw:
    case Pm4::kAcquireMem:
    case Pm4::kPrimeUtcl2:
    case Pm4::kLoadConstRam:
    case Pm4::kWriteConstRam:
    case Pm4::kIncrementCeCounter:
    case Pm4::kIncrementDeCounter:
    case Pm4::kWaitOnCeCounter:
    case Pm4::kWaitOnDeCounterDiff:
    case Pm4::kDispatchDrawPreamble:
    case Pm4::kFrameControl:
    case Pm4::kIndexAttributesIndirect:
    case Pm4::kHdpFlush:
    case Pm4::kInvalidateTlbs:
    case Pm4::kDispatchTaskStateInit:
    case Pm4::kSetContextRegPairsPacked:
    case Pm4::kSetShRegPairsPacked:
    case Pm4::kSetShRegPairsPackedN:
    case Pm4::kUpdateDbSummarizerTimeout:
      return Done();
    // What a real one reads from memory, or writes to it.
    case Pm4::kOcclusionQuery:
    case Pm4::kIndirectBufferConstant:
    case Pm4::kStreamoutBufferUpdate:
    case Pm4::kLoadUconfigReg:
    case Pm4::kLoadShReg:
    case Pm4::kLoadContextReg:
    case Pm4::kLoadShRegIndex:
    case Pm4::kLoadContextRegIndex:
    case Pm4::kSetShRegOffset:
    case Pm4::kDumpConstRam:
    case Pm4::kEventWriteZpass:
      return Approximate(fmt::format("packet {:#04x} is read over", opcode));
    default:
      return Unknown(fmt::format("packet {:#04x}", opcode));
  }
}

CommandStop AmdPm4::DmaData(const Packet& packet) {
  constexpr uint32_t kAddress = 0, kData = 2, kAddressThroughL2 = 3;  // 1: GDS
  constexpr uint32_t kNowhere = 2;                                    // as a destination
  const uint32_t source = Field(packet[1], 29, 30);
  const uint32_t destination = Field(packet[1], 20, 21);
  const uint32_t bytes = Field(packet[6], 0, 25);
  const bool registers = Bit(packet[6], 26) || Bit(packet[6], 27);
  const bool fixed = Bit(packet[6], 28) || Bit(packet[6], 29);
  const bool to_memory = destination == kAddress || destination == kAddressThroughL2;
  if (destination == kNowhere) return Done();  // a prefetch
  if (!to_memory || source == 1 || registers || fixed)
    return Approximate("DMA_DATA with registers, GDS or a fixed address is read over");
  if (const CommandStop stop = Spend(bytes); stop.kind != CommandStop::kDone) return stop;
  const GpuAddress to(packet.Wide(4));
  if (source == kData) return DoneOrFault(memory().Fill(to, bytes, packet[2]));
  return DoneOrFault(memory().Copy(to, GpuAddress(packet.Wide(2)), bytes));
}

CommandStop AmdPm4::WriteData(const Packet& packet) {
  const auto select = static_cast<Pm4Select>(Field(packet[1], 8, 11));
  const bool one_address = Bit(packet[1], 16);
  if (select == Pm4Select::kRegister && !one_address) return SetRegisters(packet, 4, packet[2]);
  if (!IsMemory(select) || one_address)
    return Approximate("WRITE_DATA to GDS, or again and again to one address, is read over");
  return WriteWords(packet, 4, AlignedDown(packet.Wide(2), 4));
}

CommandStop AmdPm4::CopyData(const Packet& packet) {
  const auto from = static_cast<Pm4Select>(Field(packet[1], 0, 3));
  const auto to = static_cast<Pm4Select>(Field(packet[1], 8, 11));
  const bool wide = Bit(packet[1], 16);
  const uint64_t unit = wide ? 8 : 4;
  uint64_t value = 0;
  if (from == Pm4Select::kRegister) {
    value = registers().Read64(packet[2]);
  } else if (from == Pm4Select::kMemorySynchronously || from == Pm4Select::kMemoryThroughL2) {
    if (!memory().Read(AlignedDown(packet.Wide(2), unit), &value, unit)) return Fault();
  } else if (from == Pm4Select::kMemory) {
    value = packet.Wide(2);
  } else if (from == Pm4Select::kClock) {
    value = environment().Timestamp();
  } else {
    return Approximate("COPY_DATA from GDS or a counter is read over");
  }
  if (to == Pm4Select::kRegister) {
    registers().Write(packet[4], static_cast<uint32_t>(value));
    if (wide) registers().Write(packet[4] + 1, static_cast<uint32_t>(value >> 32));
    return Done();
  }
  if (!IsMemory(to)) return Approximate("COPY_DATA to GDS or a counter is read over");
  return DoneOrFault(memory().Write(AlignedDown(packet.Wide(4), unit), &value, unit));
}

// What an event at the end of the pipe writes.
CommandStop AmdPm4::WriteEvent(uint32_t data_select, GpuAddress to, uint64_t data) {
  switch (data_select) {
    case 0:
      return Done();
    case 1:
      return DoneOrFault(memory().Store(AlignedDown(to.value, 4), static_cast<uint32_t>(data)));
    case 2:
      return DoneOrFault(memory().Store(AlignedDown(to.value, 8), data));
    case 3:
    case 4:
      return DoneOrFault(memory().Store(AlignedDown(to.value, 8), environment().Timestamp()));
    default:
      return Approximate("event that stores GDS is read over");
  }
}

CommandStop AmdPm4::ReleaseMem(const Packet& packet) {
  return WriteEvent(Field(packet[2], 29, 31), GpuAddress(packet.Wide(3)), packet.Wide(5));
}

CommandStop AmdPm4::EventWriteEop(const Packet& packet) {
  const GpuAddress to(uint64_t{Field(packet[3], 0, 15)} << 32 | packet[2]);
  return WriteEvent(Field(packet[3], 29, 31), to, packet.Wide(4));
}

CommandStop AmdPm4::EventWriteEos(const Packet& packet) {
  constexpr uint32_t kValue = 2;
  if (Field(packet[3], 29, 31) != kValue) return Approximate("event that stores a counter is read over");
  const GpuAddress to(uint64_t{Field(packet[3], 0, 15)} << 32 | packet[2]);
  return WriteEvent(1, to, packet[4]);
}

// Only those that sample a counter have an address.
CommandStop AmdPm4::EventWrite(const Packet& packet) {
  return packet.words <= 2 ? Done() : Approximate("event that samples a counter is read over");
}

CommandStop AmdPm4::WaitRegMem(const Packet& packet) {
  const bool in_memory = Field(packet[1], 4, 5) == 1 && Field(packet[1], 6, 7) == 0;
  if (!in_memory) return Approximate("wait for a register is over at once");
  uint32_t value = 0;
  if (!memory().Load(AlignedDown(packet.Wide(2), 4), &value)) return Fault();
  return Compares(Field(packet[1], 0, 2), value & packet[5], packet[4]) ? Done() : Wait();
}

CommandStop AmdPm4::WaitRegMem64(const Packet& packet) {
  const bool in_memory = Field(packet[1], 4, 5) == 1 && Field(packet[1], 6, 7) == 0;
  if (!in_memory) return Approximate("wait for a register is over at once");
  uint64_t value = 0;
  if (!memory().Load(AlignedDown(packet.Wide(2), 8), &value)) return Fault();
  return Compares(Field(packet[1], 0, 2), value & packet.Wide(6), packet.Wide(4)) ? Done() : Wait();
}

CommandStop AmdPm4::AtomicMem(const Packet& packet) {
  constexpr uint32_t kLoop = 1, kCompareAndSwap = 0x08;
  const auto atomic = AmdAtomicOf(Field(packet[1], 0, 6), packet.Wide(4), packet.Wide(6));
  if (!atomic) return Unknown(fmt::format("atomic operation {:#04x}", Field(packet[1], 0, 6)));
  uint64_t old = 0;
  const GpuAddress at = AlignedDown(packet.Wide(2), atomic->bytes);
  if (!memory().Update(at, atomic->bytes, atomic->change, &old)) return Fault();
  // A loop is for a comparison that did not hold.
  if (Field(packet[1], 8, 11) != kLoop || Field(packet[1], 0, 4) != kCompareAndSwap) return Done();
  const uint64_t compared = atomic->bytes == 8 ? packet.Wide(6) : packet[6];
  return old == compared ? Done() : Wait();
}

CommandStop AmdPm4::CondExec(const Packet& packet) {
  uint32_t value = 0;
  if (!memory().Load(AlignedDown(packet.Wide(1), 4), &value)) return Fault();
  if (value == 0) Skip(Field(packet[4], 0, 13));
  return Done();
}

CommandStop AmdPm4::CondWrite(const Packet& packet) {
  uint32_t value = 0;
  if (!Bit(packet[1], 4)) {
    value = registers().Read(packet[2]);
  } else if (!memory().Load(AlignedDown(packet.Wide(2), 4), &value)) {
    return Fault();
  }
  if (!Compares(Field(packet[1], 0, 2), value & packet[5], packet[4])) return Done();
  if (Bit(packet[1], 8)) return DoneOrFault(memory().Store(AlignedDown(packet.Wide(6), 4), packet[8]));
  registers().Write(packet[6], packet[8]);
  return Done();
}

CommandStop AmdPm4::SetPredication(const Packet& packet) {
  constexpr uint32_t kClear = 0, kWide = 3, kNarrow = 4;
  const uint32_t operation = Field(packet[1], 16, 18);
  predicate_ = true;
  if (operation == kClear) return Done();
  if (operation != kWide && operation != kNarrow)
    return Approximate("predicate from a query is taken for true");
  uint64_t value = 0;
  const uint64_t bytes = operation == kWide ? 8 : 4;
  if (!memory().Read(AlignedDown(packet.Wide(2), bytes), &value, bytes)) return Fault();
  const bool if_set = Bit(packet[1], 8);
  predicate_ = (value != 0) == if_set;
  return Done();
}

CommandStop AmdPm4::IndirectBuffer(const Packet& packet) {
  const GpuAddress address(uint64_t{Field(packet[2], 0, 15)} << 32 | (packet[1] & ~3u));
  const uint32_t words = Field(packet[3], 0, 19);
  return Bit(packet[3], 20) ? GoOnIn(address, words) : Call(address, words);
}

CommandStop AmdPm4::SetRegisterSpace(const Packet& packet, uint32_t first) {
  return packet.words < 3 ? Done() : SetRegisters(packet, 2, first + Field(packet[1], 0, 15));
}

CommandStop AmdPm4::SetRegisterPairs(const Packet& packet, uint32_t first) {
  const uint32_t words = std::min(packet.words, Packet::kWordsAtHand);
  for (uint32_t i = 1; i + 1 < words; i += 2)
    registers().Write(first + Field(packet[i], 0, 15), packet[i + 1]);
  return packet.words <= words ? Done() : Approximate("long list of registers is cut off");
}

CommandStop AmdPm4::DispatchDirect(const Packet& packet) {
  return Dispatch(uint64_t{packet[1]} * packet[2] * packet[3]);
}

// How many groups is in memory, which the engine reads when it gets there.
CommandStop AmdPm4::DispatchIndirect(const Packet&) { return Dispatch(0); }

CommandStop AmdPm4::Dispatch(uint64_t groups) {
  GpuDispatch dispatch;
  dispatch.kernel = GpuAddress(registers().Read64(kAmdComputeProgram) * kProgramUnit);
  dispatch.groups = groups;
  return LeaveOut(dispatch, EndsAmdProgram, sizeof(uint32_t));
}

CommandStop AmdPm4::Draw(const Packet&) {
  GpuDispatch dispatch;
  dispatch.kernel = GpuAddress(registers().Read64(kAmdPixelProgram) * kProgramUnit);
  return LeaveOut(dispatch, EndsAmdProgram, sizeof(uint32_t));
}

}  // namespace dxg::hostsim
