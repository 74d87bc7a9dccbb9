#include "hostsim/work/streamers/adreno.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>

#include "hostsim/work/streamers/packet_words.h"

namespace dxg::hostsim {
namespace {

// The submitted buffer, and two that are called.
constexpr uint32_t kAdrenoBuffersMax = 3;

enum class AdrenoPacket : uint32_t {
  kNop = 0x10,
  kRecordPfpTimestamp = 0x11,
  kWaitMemWrites = 0x12,
  kWaitForMe = 0x13,
  kWaitMemory = 0x14,  // CP_WAIT_MEM_GTE, CP_WAIT_TIMESTAMP
  kGlobalTimestamp = 0x15,
  kLocalTimestamp = 0x16,
  kThreadControl = 0x17,
  kResourceList = 0x18,
  kDrawPredEnableGlobal = 0x19,
  kDrawPredEnableLocal = 0x1A,
  kBvBrCountOps = 0x1B,
  kModifyTimestamp = 0x1C,
  kSkipIb2EnableGlobal = 0x1D,
  kResetContextState = 0x1F,
  kRegRmw = 0x21,
  kDrawIndx = 0x22,
  kSkipIb2EnableLocal = 0x23,
  kDrawAuto = 0x24,
  kSetState = 0x25,
  kWaitForIdle = 0x26,
  kSkipIbMode = 0x27,
  kDrawIndirect = 0x28,
  kDrawIndxIndirect = 0x29,
  kDrawIndirectMulti = 0x2A,
  kBlit = 0x2C,
  kSetUnknownBinData = 0x2D,
  kSetBinData5Offset = 0x2E,
  kSetBinData5 = 0x2F,
  kRunOpencl = 0x31,
  kLoadState6Geom = 0x32,
  kExecCs = 0x33,
  kLoadState6Frag = 0x34,
  kSetSubdrawSize = 0x35,
  kLoadState6 = 0x36,
  kIndirectBufferPfd = 0x37,
  kDrawIndxOffset = 0x38,
  kRegTest = 0x39,
  kCcheInvalidate = 0x3A,
  kInvalidateState = 0x3B,
  kWaitRegMem = 0x3C,
  kMemWrite = 0x3D,
  kRegToMem = 0x3E,
  kIndirectBuffer = 0x3F,
  kInterrupt = 0x40,
  kExecCsIndirect = 0x41,
  kMemToReg = 0x42,
  kSetDrawState = 0x43,
  kCondExec = 0x44,
  kCondWrite5 = 0x45,
  kEventWrite = 0x46,
  kCondRegExec = 0x47,
  kMeInit = 0x48,
  kMemToScratchMem = 0x49,
  kRegToScratch = 0x4A,
  kSetDrawInitFlags = 0x4B,
  kScratchWrite = 0x4C,
  kScratchToReg = 0x4D,
  kDrawPredSet = 0x4E,
  kSetAmble = 0x55,
  kSetPseudoReg = 0x56,
  kIndirectBufferChain = 0x57,
  kBarrier = 0x59,
  kContextRegBunch = 0x5C,
  kNonContextRegBunch = 0x5D,
  kContextUpdate = 0x5E,
  kSetProtectedMode = 0x5F,
  kWhereAmI = 0x62,
  kSetMode = 0x63,
  kSetVisibilityOverride = 0x64,
  kSetMarker = 0x65,
  kContextSwitchYield = 0x6B,
  kScopeControl = 0x6C,  // CP_PREEMPT_DISABLE on a6xx
  kRegWrite = 0x6D,
  kMemToMem = 0x73,
  kMemcpy = 0x75,
  kRegWriteNoContext = 0x78,
  kFixedStrideDrawTable = 0x7F,
};

enum class AdrenoEvent : uint32_t {
  kCacheFlushTs = 0x04,
  kRbDoneTs = 0x16,
  kCcuResolveTs = 0x1A,
  kCcuFlushDepthTs = 0x1C,
  kCcuFlushColorTs = 0x1D,
  kCcuResolve = 0x1E,
};

constexpr uint32_t kAlwaysOnCounter = 0x0980;       // and the next one: the clock
constexpr uint32_t kAdrenoComputeProgram = 0xA9B4;  // SP_CS_BASE, 64 bits

// What a field is polled in.
constexpr uint32_t kPollRegister = 0, kPollMemory = 1;

constexpr uint32_t AdrenoParity(uint32_t value) { return std::popcount(value) % 2 == 0 ? 1 : 0; }

// The instruction `end`, whatever it waits for.
bool EndsAdrenoProgram(uint64_t instruction) { return (instruction >> 32 & 0xE7800000) == 0x03000000; }

bool AdrenoHolds(const Packet& packet, uint32_t value, uint32_t reference, uint32_t mask) {
  const uint32_t function = Field(packet[1], 0, 2);
  const bool is_signed = Bit(packet[1], 3);
  return is_signed ? Compares(function, static_cast<int32_t>(value & mask), static_cast<int32_t>(reference))
                   : Compares(function, value & mask, reference);
}

}  // namespace

Adreno::Adreno(const GpuBuffer& buffer, std::unique_ptr<StreamerState>* state)
    : PacketStreamer(buffer, state, kAdrenoBuffersMax, "Adreno") {}

uint32_t Adreno::Measure(uint32_t header) {
  switch (header >> 28) {
    case 4: {
      const uint32_t count = Field(header, 0, 6), first = Field(header, 8, 25);
      if (Field(header, 7, 7) == AdrenoParity(count) && Field(header, 27, 27) == AdrenoParity(first) &&
          !Bit(header, 26))
        return 1 + count;
      (void)Unknown("register write with a wrong parity");
      return 0;
    }
    case 7: {
      const uint32_t count = Field(header, 0, 13), opcode = Field(header, 16, 22);
      if (Field(header, 15, 15) == AdrenoParity(count) && Field(header, 23, 23) == AdrenoParity(opcode) &&
          !Bit(header, 14) && Field(header, 24, 27) == 0)
        return 1 + count;
      (void)Unknown("packet with a wrong parity");
      return 0;
    }
    default:
      (void)Unknown(fmt::format("packet of type {}", header >> 28));
      return 0;
  }
}

CommandStop Adreno::Execute(const Packet& packet) {
  if (packet.header() >> 28 == 4) return SetRegisters(packet, 1, Field(packet.header(), 8, 25));
  return ExecuteType7(packet, Field(packet.header(), 16, 22));
}

// A shorter packet is none.
CommandStop Adreno::WithWords(const Packet& packet, uint32_t least,
                              CommandStop (Adreno::*execute)(const Packet&)) {
  if (packet.words < least)
    return Unknown(fmt::format("packet {:#04x} that is too short", Field(packet.header(), 16, 22)));
  return (this->*execute)(packet);
}

CommandStop Adreno::ExecuteType7(const Packet& packet, uint32_t opcode) {
  switch (static_cast<AdrenoPacket>(opcode)) {
    case AdrenoPacket::kNop:
      return Done();
    case AdrenoPacket::kMemWrite:
      return WithWords(packet, 3, &Adreno::MemWrite);
    case AdrenoPacket::kMemToMem:
      return WithWords(packet, 6, &Adreno::MemToMem);
    case AdrenoPacket::kMemcpy:
      return WithWords(packet, 6, &Adreno::Memcpy);
    case AdrenoPacket::kEventWrite:
      return WithWords(packet, 2, &Adreno::EventWrite);
    case AdrenoPacket::kWaitRegMem:
      return WithWords(packet, 7, &Adreno::WaitRegMem);
    case AdrenoPacket::kWaitMemory:
      return WithWords(packet, 5, &Adreno::WaitMemory);
    case AdrenoPacket::kCondWrite5:
      return WithWords(packet, 9, &Adreno::CondWrite);
    case AdrenoPacket::kRegToMem:
      return WithWords(packet, 4, &Adreno::RegToMem);
    case AdrenoPacket::kMemToReg:
      return WithWords(packet, 4, &Adreno::MemToReg);
    case AdrenoPacket::kRegRmw:
      return WithWords(packet, 4, &Adreno::RegRmw);
    case AdrenoPacket::kRegTest:
      return WithWords(packet, 2, &Adreno::RegTest);
    case AdrenoPacket::kCondRegExec:
      return WithWords(packet, 3, &Adreno::CondRegExec);
    case AdrenoPacket::kCondExec:
      return WithWords(packet, 7, &Adreno::CondExec);
    case AdrenoPacket::kSetMarker:
      return WithWords(packet, 2, &Adreno::SetMarker);
    case AdrenoPacket::kIndirectBuffer:
    case AdrenoPacket::kIndirectBufferPfd:
      return WithWords(packet, 4, &Adreno::IndirectBuffer);
    case AdrenoPacket::kIndirectBufferChain:
      return WithWords(packet, 4, &Adreno::IndirectBufferChain);
    case AdrenoPacket::kExecCs:
      return WithWords(packet, 5, &Adreno::ExecCs);
    case AdrenoPacket::kExecCsIndirect:
    case AdrenoPacket::kRunOpencl:
      return Dispatch(0);
    case AdrenoPacket::kDrawIndx:
    case AdrenoPacket::kDrawAuto:
    case AdrenoPacket::kDrawIndirect:
    case AdrenoPacket::kDrawIndxIndirect:
    case AdrenoPacket::kDrawIndirectMulti:
    case AdrenoPacket::kDrawIndxOffset:
    case AdrenoPacket::kBlit:
    case AdrenoPacket::kFixedStrideDrawTable:
      return Draw();
    // What was written before is there already, but what was fetched may be stale.
    case AdrenoPacket::kWaitMemWrites:
    case AdrenoPacket::kWaitForMe:
    case AdrenoPacket::kWaitForIdle:
    case AdrenoPacket::kBarrier:
      Refetch();
      return Done();
    // State of draws, of binning and of the processor itself.
    case AdrenoPacket::kRecordPfpTimestamp:
    case AdrenoPacket::kGlobalTimestamp:
    case AdrenoPacket::kLocalTimestamp:
    case AdrenoPacket::kThreadControl:
    case AdrenoPacket::kResourceList:
    case AdrenoPacket::kDrawPredEnableGlobal:
    case AdrenoPacket::kDrawPredEnableLocal:
    case AdrenoPacket::kBvBrCountOps:
    case AdrenoPacket::kModifyTimestamp:
    case AdrenoPacket::kSkipIb2EnableGlobal:
    case AdrenoPacket::kResetContextState:
    case AdrenoPacket::kSkipIb2EnableLocal:
    case AdrenoPacket::kSetState:
    case AdrenoPacket::kSkipIbMode:
    case AdrenoPacket::kSetUnknownBinData:
    case AdrenoPacket::kSetBinData5Offset:
    case AdrenoPacket::kSetBinData5:
    case AdrenoPacket::kLoadState6Geom:
    case AdrenoPacket::kLoadState6Frag:
    case AdrenoPacket::kSetSubdrawSize:
    case AdrenoPacket::kLoadState6:
    case AdrenoPacket::kCcheInvalidate:
    case AdrenoPacket::kInvalidateState:
    case AdrenoPacket::kInterrupt:
    case AdrenoPacket::kSetDrawState:
    case AdrenoPacket::kMeInit:
    case AdrenoPacket::kSetDrawInitFlags:
    case AdrenoPacket::kDrawPredSet:
    case AdrenoPacket::kSetAmble:
    case AdrenoPacket::kSetPseudoReg:
    case AdrenoPacket::kContextUpdate:
    case AdrenoPacket::kSetProtectedMode:
    case AdrenoPacket::kSetMode:
    case AdrenoPacket::kSetVisibilityOverride:
    case AdrenoPacket::kContextSwitchYield:
    case AdrenoPacket::kScopeControl:
      return Done();
    // Registers that are not written here, and what a real one writes to memory.
    case AdrenoPacket::kMemToScratchMem:
    case AdrenoPacket::kRegToScratch:
    case AdrenoPacket::kScratchWrite:
    case AdrenoPacket::kScratchToReg:
    case AdrenoPacket::kContextRegBunch:
    case AdrenoPacket::kNonContextRegBunch:
    case AdrenoPacket::kWhereAmI:
    case AdrenoPacket::kRegWrite:
    case AdrenoPacket::kRegWriteNoContext:
      return Approximate(fmt::format("packet {:#04x} is read over", opcode));
    default:
      return Unknown(fmt::format("packet {:#04x}", opcode));
  }
}

CommandStop Adreno::MemWrite(const Packet& packet) {
  return WriteWords(packet, 3, AlignedDown(packet.Wide(1), 4));
}

// destination = +-a +-b +-c, as many as there are.
CommandStop Adreno::MemToMem(const Packet& packet) {
  const uint64_t bytes = Bit(packet[1], 29) ? 8 : 4;
  const uint32_t words = std::min(packet.words, Packet::kWordsAtHand);
  uint64_t sum = 0;
  for (uint32_t source = 0, at = 4; at + 1 < words; ++source, at += 2) {
    uint64_t value = 0;
    if (!memory().Read(AlignedDown(packet.Wide(at), bytes), &value, bytes)) return Fault();
    sum += source < 3 && Bit(packet[1], source) ? 0 - value : value;
  }
  return DoneOrFault(memory().Write(AlignedDown(packet.Wide(2), bytes), &sum, bytes));
}

CommandStop Adreno::Memcpy(const Packet& packet) {
  const uint64_t bytes = uint64_t{packet[1]} * sizeof(uint32_t);
  if (const CommandStop stop = Spend(bytes); stop.kind != CommandStop::kDone) return stop;
  return DoneOrFault(memory().Copy(AlignedDown(packet.Wide(4), 4), AlignedDown(packet.Wide(2), 4), bytes));
}

// a7xx says what it writes. a6xx writes with the events that have an address: the clock, or the word.
CommandStop Adreno::EventWrite(const Packet& packet) {
  constexpr uint32_t kUser32 = 0, kUser64 = 1, kTimestampSum = 2, kAlwaysOn = 3;
  const auto event = static_cast<AdrenoEvent>(Field(packet[1], 0, 7));
  if (event == AdrenoEvent::kCcuResolve) {
    environment().Note(FidelityKind::kNotExecuted, "Adreno: resolve of tiles");
    return Done();
  }
  if (packet.words < 4) return Done();
  const GpuAddress to(packet.Wide(2));
  if (Bit(packet[1], 27)) {
    if (Bit(packet[1], 24)) return Approximate("event that writes on the chip is read over");
    switch (Field(packet[1], 20, 22)) {
      case kUser32:
        if (packet.words < 5) break;
        return DoneOrFault(memory().Store(AlignedDown(to.value, 4), packet[4]));
      case kUser64:
        if (packet.words < 6) break;
        return DoneOrFault(memory().Store(AlignedDown(to.value, 8), packet.Wide(4)));
      case kTimestampSum:
        return Approximate("event that writes a sum of timestamps is read over");
      case kAlwaysOn:
        return DoneOrFault(memory().Store(AlignedDown(to.value, 8), environment().Timestamp()));
      default:
        return Approximate("event that writes registers is read over");
    }
    return Unknown("event that is too short for what it writes");
  }
  const bool writes = event == AdrenoEvent::kCacheFlushTs || event == AdrenoEvent::kRbDoneTs ||
                      event == AdrenoEvent::kCcuResolveTs || event == AdrenoEvent::kCcuFlushDepthTs ||
                      event == AdrenoEvent::kCcuFlushColorTs;
  if (Bit(packet[1], 30))
    return DoneOrFault(memory().Store(AlignedDown(to.value, 8), environment().Timestamp()));
  if (!writes || packet.words < 5) return Done();
  return DoneOrFault(memory().Store(AlignedDown(to.value, 4), packet[4]));
}

bool Adreno::Polled(const Packet& packet, uint32_t index, uint32_t source, uint32_t* value) {
  if (source == kPollMemory) return memory().Load(AlignedDown(packet.Wide(index), 4), value);
  *value = source == kPollRegister ? ReadRegister(packet[index]) : 0;
  return true;
}

CommandStop Adreno::WaitRegMem(const Packet& packet) {
  if (Field(packet[1], 4, 5) != kPollMemory) return Approximate("wait for a register is over at once");
  uint32_t value = 0;
  if (!Polled(packet, 2, kPollMemory, &value)) return Fault();
  return AdrenoHolds(packet, value, packet[4], packet[5]) ? Done() : Wait();
}

// A packet of a6xx that has another meaning on a7xx, where it is one word longer.
CommandStop Adreno::WaitMemory(const Packet& packet) {
  constexpr uint32_t kWide = 1, kTimestampSum = 2;
  const bool is_a7xx = packet.words >= 6;
  const uint32_t source = is_a7xx ? Field(packet[1], 0, 1) : 0;
  if (is_a7xx && (Bit(packet[1], 4) || source >= kTimestampSum))
    return Approximate("wait for a timestamp of the chip is over at once");
  if (source == kWide) {
    uint64_t value = 0;
    if (!memory().Load(AlignedDown(packet.Wide(2), 8), &value)) return Fault();
    return value >= packet.Wide(4) ? Done() : Wait();
  }
  uint32_t value = 0;
  if (!memory().Load(AlignedDown(packet.Wide(2), 4), &value)) return Fault();
  return static_cast<int32_t>(value) >= static_cast<int32_t>(packet[4]) ? Done() : Wait();
}

CommandStop Adreno::CondWrite(const Packet& packet) {
  uint32_t value = 0;
  if (!Polled(packet, 2, Field(packet[1], 4, 5), &value)) return Fault();
  if (!AdrenoHolds(packet, value, packet[4], packet[5])) return Done();
  if (Bit(packet[1], 8)) return DoneOrFault(memory().Store(AlignedDown(packet.Wide(6), 4), packet[8]));
  registers().Write(packet[6], packet[8]);
  return Done();
}

uint32_t Adreno::ReadRegister(uint32_t number) {
  if (number == kAlwaysOnCounter) return static_cast<uint32_t>(environment().Timestamp());
  if (number == kAlwaysOnCounter + 1) return static_cast<uint32_t>(environment().Timestamp() >> 32);
  return registers().Read(number);
}

CommandStop Adreno::RegToMem(const Packet& packet) {
  const uint32_t first = Field(packet[1], 0, 17);
  const bool wide = Bit(packet[1], 30), accumulate = Bit(packet[1], 31);
  uint32_t count = std::max(Field(packet[1], 18, 29), 1u);
  if (wide) count += count % 2;
  if (const CommandStop stop = Spend(count * sizeof(uint32_t)); stop.kind != CommandStop::kDone) return stop;
  std::vector<uint32_t> values(count);
  const uint64_t clock = environment().Timestamp();  // both its halves are of one moment
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t number = first + i;
    values[i] = number == kAlwaysOnCounter       ? static_cast<uint32_t>(clock)
                : number == kAlwaysOnCounter + 1 ? static_cast<uint32_t>(clock >> 32)
                                                 : registers().Read(number);
  }
  const GpuAddress to = AlignedDown(packet.Wide(2), 4);
  if (accumulate) {
    std::vector<uint32_t> before(count);
    if (!memory().Read(to, before.data(), count * sizeof(uint32_t))) return Fault();
    for (uint32_t i = 0; i < count; ++i) {
      const uint64_t sum = uint64_t{before[i]} + values[i];
      values[i] = static_cast<uint32_t>(sum);
      if (wide && i % 2 == 0) values[i + 1] += static_cast<uint32_t>(sum >> 32);
    }
  }
  return DoneOrFault(memory().Write(to, values.data(), count * sizeof(uint32_t)));
}

CommandStop Adreno::MemToReg(const Packet& packet) {
  const uint32_t count = std::max(Field(packet[1], 19, 29), 1u);
  std::vector<uint32_t> values(count);
  if (!memory().Read(AlignedDown(packet.Wide(2), 4), values.data(), count * sizeof(uint32_t))) return Fault();
  if (Bit(packet[1], 30)) {
    for (uint32_t& value : values) value <<= 2;
  }
  registers().Write(Field(packet[1], 0, 17), values.data(), count);
  return Done();
}

CommandStop Adreno::RegRmw(const Packet& packet) {
  const uint32_t number = Field(packet[1], 0, 17);
  const uint32_t kept = Bit(packet[1], 31) ? ReadRegister(packet[2]) : packet[2];
  const uint32_t put = Bit(packet[1], 30) ? ReadRegister(packet[3]) : packet[3];
  const uint32_t turned = std::rotl(ReadRegister(number) & kept, static_cast<int>(Field(packet[1], 24, 28)));
  registers().Write(number, Bit(packet[1], 29) ? turned + put : turned | put);
  return Done();
}

CommandStop Adreno::RegTest(const Packet& packet) {
  if (Bit(packet[1], 31)) {
    if (packet.words < 4) return Unknown("packet 0x39 that is too short");
    predicates_ = (predicates_ & ~packet[2]) | (packet[3] & packet[2]);
    return Done();
  }
  const bool in_scratch = Bit(packet[1], 18);
  const uint32_t value = in_scratch ? 0 : ReadRegister(Field(packet[1], 0, 17));
  const uint32_t predicate = 1u << Field(packet[1], 26, 30);
  predicates_ &= ~predicate;
  if (Bit(value, Field(packet[1], 20, 24))) predicates_ |= predicate;
  return in_scratch ? Approximate("test of scratch memory is false") : Done();
}

// The packets behind it are executed only if the condition holds.
CommandStop Adreno::CondRegExec(const Packet& packet) {
  constexpr uint32_t kPredicate = 1, kCompare = 2, kRenderMode = 3, kCompareImmediate = 4, kThread = 5;
  constexpr uint32_t kDirect = 1, kBinning = 2;  // of CP_SET_MARKER
  const uint32_t condition = Field(packet[1], 28, 31);
  const bool three_words = condition == kCompare || condition == kCompareImmediate;
  if (three_words && packet.words < 4) return Unknown("packet 0x47 that is too short");
  bool holds = false;
  switch (condition) {
    case kPredicate:
      holds = Bit(predicates_, Field(packet[1], 18, 22));
      break;
    case kCompare:
      holds = ReadRegister(Field(packet[1], 0, 17)) == ReadRegister(Field(packet[2], 0, 17));
      break;
    case kRenderMode:
      holds = Bit(packet[1], mode_ == kBinning ? 25 : mode_ == kDirect ? 27 : 26);
      break;
    case kCompareImmediate:
      holds = ReadRegister(Field(packet[1], 0, 17)) == packet[2];
      break;
    case kThread:  // all is done by the one that renders
      holds = Bit(packet[1], 26);
      break;
    default:
      return Unknown(fmt::format("condition {}", condition));
  }
  if (!holds) Skip(Field(packet[three_words ? 3 : 2], 0, 23));
  return Done();
}

CommandStop Adreno::CondExec(const Packet& packet) {
  uint32_t flag = 0, timestamp = 0;
  if (!memory().Load(AlignedDown(packet.Wide(1), 4), &flag) ||
      !memory().Load(AlignedDown(packet.Wide(3), 4), &timestamp)) {
    return Fault();
  }
  if (flag == 0 || packet[5] - timestamp >= 0x80000000u) Skip(packet[6]);
  return Done();
}

CommandStop Adreno::SetMarker(const Packet& packet) {
  if (!Bit(packet[1], 8)) mode_ = Field(packet[1], 0, 3);
  return Done();
}

CommandStop Adreno::IndirectBuffer(const Packet& packet) {
  return Call(AlignedDown(packet.Wide(1), 4), Field(packet[3], 0, 19));
}

CommandStop Adreno::IndirectBufferChain(const Packet& packet) {
  return GoOnIn(AlignedDown(packet.Wide(1), 4), Field(packet[3], 0, 19));
}

CommandStop Adreno::ExecCs(const Packet& packet) {
  return Dispatch(uint64_t{packet[2]} * packet[3] * packet[4]);
}

CommandStop Adreno::Dispatch(uint64_t groups) {
  GpuDispatch dispatch;
  dispatch.kernel = GpuAddress(registers().Read64(kAdrenoComputeProgram));
  dispatch.groups = groups;
  return LeaveOut(dispatch, EndsAdrenoProgram, sizeof(uint64_t));
}

CommandStop Adreno::Draw() { return LeaveOut({}, EndsAdrenoProgram, sizeof(uint64_t)); }

}  // namespace dxg::hostsim
