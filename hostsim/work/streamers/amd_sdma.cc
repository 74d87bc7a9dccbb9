#include "hostsim/work/streamers/amd_sdma.h"

#include <fmt/core.h>

#include "hostsim/work/streamers/amd_atomics.h"
#include "hostsim/work/streamers/packet_words.h"

namespace dxg::hostsim {
namespace {

// The submitted buffer, and one that it calls.
constexpr uint32_t kSdmaBuffersMax = 2;

enum class Sdma : uint32_t {
  kNop = 0,
  kCopy = 1,
  kWrite = 2,
  kIndirect = 4,
  kFence = 5,
  kTrap = 6,
  kPollRegMem = 8,
  kCondExe = 9,
  kAtomic = 10,
  kConstantFill = 11,
  kTimestamp = 13,
  kSrbmWrite = 14,
  kPreExe = 15,
  kGpuVmInvalidate = 16,
  kCacheRequest = 17,
  kDummyTrap = 32,
};

constexpr uint32_t kSdmaLinear = 0;  // the sub-operation of a copy or a write

Sdma OperationOf(uint32_t header) { return static_cast<Sdma>(Field(header, 0, 7)); }
uint32_t SubOperationOf(uint32_t header) { return Field(header, 8, 15); }

}  // namespace

AmdSdma::AmdSdma(const GpuBuffer& buffer, std::unique_ptr<StreamerState>* state)
    : PacketStreamer(buffer, state, kSdmaBuffersMax, "AMD SDMA") {}

uint32_t AmdSdma::Measure(uint32_t header) {
  const uint32_t sub_operation = SubOperationOf(header);
  switch (OperationOf(header)) {
    case Sdma::kNop:
      return 1 + Field(header, 16, 29);
    case Sdma::kCopy:
      if (sub_operation != kSdmaLinear) break;
      return Bit(header, 27) ? 9 : 7;  // to two places
    case Sdma::kWrite: {
      constexpr uint32_t kCount = 3;
      if (sub_operation != kSdmaLinear) break;
      const std::optional<uint32_t> count = PeekAt(kCount);
      return kCount + 1 + (count ? Field(*count, 0, 19) + 1 : 0);
    }
    case Sdma::kIndirect:
      return 6;
    case Sdma::kFence:
      return 4;
    case Sdma::kTrap:
    case Sdma::kDummyTrap:
    case Sdma::kPreExe:
      return 2;
    case Sdma::kPollRegMem:
      if (sub_operation != 0) break;
      return 6;
    case Sdma::kCondExe:
      return 5;
    case Sdma::kAtomic:
      return 8;
    case Sdma::kConstantFill:
      if (sub_operation != 0) break;
      return 5;
    case Sdma::kTimestamp:
      if (sub_operation > 2) break;
      return 3;
    case Sdma::kSrbmWrite:
      return 3;
    case Sdma::kGpuVmInvalidate:
      return 4;
    case Sdma::kCacheRequest:
      return 5;
    default:
      break;
  }
  (void)Unknown(fmt::format("operation {}.{}", Field(header, 0, 7), sub_operation));
  return 0;
}

CommandStop AmdSdma::Execute(const Packet& packet) {
  switch (OperationOf(packet.header())) {
    case Sdma::kCopy:
      return Copy(packet);
    case Sdma::kWrite:
      return WriteWords(packet, 4, AlignedDown(packet.Wide(1), 4));
    case Sdma::kIndirect:
      return Call(AlignedDown(packet.Wide(1), 32), Field(packet[3], 0, 19));
    case Sdma::kFence:
      return DoneOrFault(memory().Store(AlignedDown(packet.Wide(1), 4), packet[3]));
    case Sdma::kPollRegMem:
      return PollRegMem(packet);
    case Sdma::kCondExe:
      return CondExe(packet);
    case Sdma::kAtomic:
      return Atomic(packet);
    case Sdma::kConstantFill:
      return ConstantFill(packet);
    case Sdma::kTimestamp:
      return Timestamp(packet);
    case Sdma::kSrbmWrite:
      registers().Write(Field(packet[1], 0, 17), packet[2]);
      return Done();
    default:  // nothing that would be seen here: interrupts, caches
      return Done();
  }
}

CommandStop AmdSdma::Copy(const Packet& packet) {
  const bool broadcast = Bit(packet.header(), 27);
  const bool backwards = Bit(packet.header(), 25);
  const uint64_t bytes = uint64_t{Field(packet[1], 0, 29)} + 1;
  const GpuAddress from(packet.Wide(3));
  if (const CommandStop stop = Spend(broadcast ? 2 * bytes : bytes); stop.kind != CommandStop::kDone)
    return stop;
  const CommandStop stop = DoneOrFault(memory().Copy(GpuAddress(packet.Wide(5)), from, bytes, backwards));
  if (!broadcast || stop.kind != CommandStop::kDone) return stop;
  return DoneOrFault(memory().Copy(GpuAddress(packet.Wide(7)), from, bytes, backwards));
}

// The count is of bytes whatever is repeated, less one of them or less one unit.
CommandStop AmdSdma::ConstantFill(const Packet& packet) {
  const uint32_t size = Field(packet.header(), 30, 31);
  if (size > 2) return Unknown("fill with units of 8 bytes");
  const uint32_t unit = 1u << size;
  const uint64_t count = Field(packet[4], 0, 29);
  const uint64_t bytes = count - count % unit + unit;
  if (const CommandStop stop = Spend(bytes); stop.kind != CommandStop::kDone) return stop;
  return DoneOrFault(memory().Fill(AlignedDown(packet.Wide(1), unit), bytes, packet[3], unit));
}

CommandStop AmdSdma::PollRegMem(const Packet& packet) {
  constexpr uint32_t kForEver = 0xFFF;
  if (!Bit(packet.header(), 31)) return Approximate("wait for a register is over at once");
  uint32_t value = 0;
  if (!memory().Load(AlignedDown(packet.Wide(1), 4), &value)) return Fault();
  const bool holds = Compares(Field(packet.header(), 28, 30), value & packet[4], packet[3]);
  const uint32_t retries = Field(packet[5], 16, 27);
  if (!holds && (retries == kForEver || polls_ < retries)) {
    if (retries != kForEver) ++polls_;
    return Wait();
  }
  polls_ = 0;
  return holds ? Done() : Approximate("wait whose retries are over goes on");
}

CommandStop AmdSdma::Atomic(const Packet& packet) {
  constexpr uint32_t kCompareAndSwap = 0x08;
  const uint32_t operation = Field(packet.header(), 25, 31);
  const auto atomic = AmdAtomicOf(operation, packet.Wide(3), packet.Wide(5));
  if (!atomic) return Unknown(fmt::format("atomic operation {:#04x}", operation));
  uint64_t old = 0;
  if (!memory().Update(AlignedDown(packet.Wide(1), atomic->bytes), atomic->bytes, atomic->change, &old))
    return Fault();
  const bool loop = Bit(packet.header(), 16) && Field(operation, 0, 4) == kCompareAndSwap;
  const uint64_t compared = atomic->bytes == 8 ? packet.Wide(5) : packet[5];
  return loop && old != compared ? Wait() : Done();
}

CommandStop AmdSdma::CondExe(const Packet& packet) {
  uint32_t value = 0;
  if (!memory().Load(AlignedDown(packet.Wide(1), 4), &value)) return Fault();
  if (value != packet[3]) Skip(Field(packet[4], 0, 13));
  return Done();
}

CommandStop AmdSdma::Timestamp(const Packet& packet) {
  constexpr uint32_t kSet = 0;
  if (SubOperationOf(packet.header()) == kSet) return Approximate("local clock is not set");
  return DoneOrFault(memory().Store(AlignedDown(packet.Wide(1), 8), environment().Timestamp()));
}

}  // namespace dxg::hostsim
