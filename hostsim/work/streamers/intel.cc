#include "hostsim/work/streamers/intel.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/page.h"
#include "hostsim/memory/gpu_memory.h"
#include "hostsim/work/streamers/intel_commands.h"
#include "hostsim/work/streamers/intel_dispatch.h"
#include "hostsim/work/streamers/intel_memory.h"
#include "hostsim/work/streamers/register_file.h"
#include "link/fidelity.h"

namespace dxg::hostsim {
namespace intel {
namespace {

// What a submission may do at most until it counts as one that never ends. Time that passes in a wait begins
// the count of jumps again.
constexpr uint64_t kDwordsMax = 1ull << 28;
constexpr uint32_t kJumpsMax = 1u << 20;
constexpr uint64_t kBlitBytesMax = 64ull << 30;
// Batches in each other: the first one and two nested levels.
constexpr size_t kLevelsMax = 3;
constexpr uint32_t kBodyDwordsMax = 1026;  // of a command that is looked into: the longest MI_STORE_DATA_IMM
constexpr uint64_t kSmallCost = 64;        // in bytes, of a command that touches memory
constexpr uint64_t kKernelBytesMax = 64 * 1024;
// What it costs to look at a kernel for the first time, and of how many it is remembered.
constexpr uint64_t kHashCost = 16 * 1024;
constexpr size_t kHashesMax = 1024;
constexpr uint32_t kLooksEvery = 256;  // commands from one look at whether it was cancelled to the next

class IntelState final : public RegisterFile {
 public:
  // By their offset in bytes.
  uint32_t Register(uint32_t offset) const { return Read(offset / sizeof(uint32_t)); }
  void SetRegister(uint32_t offset, uint32_t value) { Write(offset / sizeof(uint32_t), value); }
  uint64_t Gpr(uint32_t index) const {
    return Register(kGpr0 + 8 * index) | uint64_t{Register(kGpr0 + 8 * index + 4)} << 32;
  }
  void SetGpr(uint32_t index, uint64_t value) {
    SetRegister(kGpr0 + 8 * index, static_cast<uint32_t>(value));
    SetRegister(kGpr0 + 8 * index + 4, static_cast<uint32_t>(value >> 32));
  }

  std::shared_ptr<const eu::Kernel> FindKernel(PageMemory& memory, const std::atomic<bool>& cancelled,
                                               uint64_t address) {
    return kernels_.Find(
        memory, cancelled, address,
        {[this](uint64_t bytes) { return Take(bytes); }, [this](uint64_t bytes) { Give(bytes); }});
  }
  // A dispatch may have so much memory: of a queue it is one at a time, and the largest one counts.
  bool HasRoomForDispatch(uint64_t bytes) {
    if (bytes <= dispatch_bytes_) return true;
    if (!Take(bytes - dispatch_bytes_)) return false;
    dispatch_bytes_ = bytes;
    return true;
  }

  ComputeState compute;

 private:
  KernelCache kernels_;
  uint64_t dispatch_bytes_ = 0;
};

// A command that lies in one piece.
struct Body {
  const uint32_t* words;
  uint32_t count;
  uint32_t operator[](uint32_t at) const { return words[at]; }
};

class IntelStreamer final : public CommandStreamer {
 public:
  IntelStreamer(const GpuBuffer& buffer, IntelState& state) : state_(state), at_(buffer.address.value) {
    over_ = buffer.bytes == 0;
  }

  CommandStop Run(CommandEnvironment& environment, const std::atomic<bool>& cancelled,
                  uint64_t budget) override;

 private:
  struct Step {
    const std::atomic<bool>& cancelled;
    uint64_t budget;
    CommandEnvironment& environment;
    PageMemory memory;

    // Bytes of the budget; false: it has not as many.
    bool Spend(uint64_t bytes) {
      if (budget == kUnlimited) return true;
      if (bytes > budget) return false;
      budget -= bytes;
      return true;
    }
  };

  CommandStop DoCommands(Step& step);
  // Each does the command at at_ and leaves its successor to Run, unless it sets at_ and `jumped_`.
  CommandStop Do(Step& step, uint32_t header, const Body& body);
  CommandStop DoMi(Step& step, uint32_t opcode, const Body& body);
  CommandStop DoPipe(Step& step, uint32_t opcode, const Body& body);
  CommandStop StoreDataImm(Step& step, const Body& body);
  CommandStop LoadRegisterImm(const Body& body);
  CommandStop StoreRegisterMem(Step& step, const Body& body);
  CommandStop LoadRegisterMem(Step& step, const Body& body);
  CommandStop CopyMemMem(Step& step, const Body& body);
  CommandStop PostSync(Step& step, uint32_t operation, uint64_t address, const uint32_t* data);
  CommandStop PipeControl(Step& step, const Body& body);
  CommandStop SemaphoreWait(Step& step, const Body& body);
  CommandStop AtomicOn(Step& step, const Body& body);
  CommandStop Math(const Body& body);
  CommandStop BatchBufferStart(const Body& body);
  CommandStop ConditionalEnd(Step& step, const Body& body);
  CommandStop Walker(Step& step, const Body& body);
  CommandStop Execute(Step& step, const GpuDispatch& walker, const Body& body);
  void End();

  uint32_t ReadRegister(Step& step, uint32_t offset) const;
  CommandStop LeaveOut(Step& step, const GpuDispatch& dispatch) const;
  CommandStop Unknown(Step& step, uint32_t header) const;
  CommandStop Stop(CommandStop::Kind kind) const {
    CommandStop stop;
    stop.kind = kind;
    stop.op_address = GpuAddress(at_);
    return stop;
  }
  CommandStop Invalid() const { return Stop(CommandStop::kInvalid); }
  CommandStop Fault(const GpuFault& fault) const {
    CommandStop stop = Stop(CommandStop::kPageFault);
    stop.fault = fault;
    return stop;
  }
  CommandStop Result(bool done, const Step& step) const {
    return done ? CommandStop() : Fault(step.memory.fault());
  }

  IntelState& state_;
  uint64_t at_;  // of the next command
  bool over_ = false;
  bool jumped_ = false;  // the command set at_
  std::vector<uint64_t> returns_;
  uint64_t dwords_ = 0;
  uint64_t blit_bytes_ = 0;
  uint32_t jumps_ = 0;
  std::unique_ptr<eu::Dispatch> dispatch_;  // that the command at at_ has begun
  std::map<uint64_t, uint64_t> hashes_;     // of kernels that were dispatched, by address
};

// The length of a command in dwords; 0: nobody knows.
uint32_t DwordsOf(uint32_t header) {
  switch (ClientOf(header)) {
    case Client::kMi: {
      const uint32_t opcode = Field(header, 23, 28);
      if (opcode < kMiHasLength) return 1;
      return Field(header, 0, opcode == kMiStoreDataImm ? 9 : 7) + 2;
    }
    case Client::k2d:
      return Field(header, 0, 7) + 2;
    case Client::kGfxPipe: {
      const uint32_t subtype = Field(header, 27, 28);
      if (subtype == kPipeSingleDword) return 1;
      const bool is_long = subtype == kPipeMedia && Field(header, 16, 28) != kGpgpuWalker;
      return Field(header, 0, is_long ? 15 : 7) + 2;
    }
    default:
      return 0;
  }
}

// Whether it is state of media or 3D, or does nothing here: read over by its length.
bool IsReadOver(uint32_t header) {
  if (ClientOf(header) == Client::kGfxPipe) {
    const uint32_t subtype = Field(header, 27, 28), opcode = Field(header, 24, 26);
    switch (Field(header, 16, 28)) {
      case kStateBaseAddress:
      case kMediaVfeState:
      case kMediaInterfaceDescriptorLoad:
      case kMediaObject:
      case kMediaObjectPrt:
      case kMediaObjectWalker:
      case kGpgpuWalker:
        return false;
      default:
        return opcode <= 1 && (subtype != kPipeSingleDword || opcode <= 1);
    }
  }
  if (ClientOf(header) != Client::kMi) return false;
  switch (Field(header, 23, 28)) {
    case kMiNoop:
    case kMiUserInterrupt:
    case kMiWaitForEvent:
    case kMiArbCheck:
    case kMiReportHead:
    case kMiArbOnOff:
    case kMiSuspendFlush:
    case kMiTopologyFilter:
    case kMiForceWakeup:
      return true;
    default:
      return false;
  }
}

bool Compare(uint32_t comparison, uint64_t left, uint64_t right) {
  switch (comparison) {
    case 0:
      return left > right;
    case 1:
      return left >= right;
    case 2:
      return left < right;
    case 3:
      return left <= right;
    case 4:
      return left == right;
    default:
      return left != right;
  }
}
constexpr uint32_t kComparisons = 6;

// `Word` has the size of the operation.
template <class Word>
Word AtomicResult(uint32_t operation, Word old, Word first, Word second) {
  using Signed = std::make_signed_t<Word>;
  switch (operation) {
    case kAtomicAnd:
      return old & first;
    case kAtomicOr:
      return old | first;
    case kAtomicXor:
      return old ^ first;
    case kAtomicMove:
      return first;
    case kAtomicIncrement:
      return old + 1;
    case kAtomicDecrement:
      return old - 1;
    case kAtomicAdd:
      return old + first;
    case kAtomicSubtract:
      return old - first;
    case kAtomicReverseSubtract:
      return first - old;
    case kAtomicSignedMax:
      return static_cast<Signed>(old) > static_cast<Signed>(first) ? old : first;
    case kAtomicSignedMin:
      return static_cast<Signed>(old) < static_cast<Signed>(first) ? old : first;
    case kAtomicMax:
      return std::max(old, first);
    case kAtomicMin:
      return std::min(old, first);
    case kAtomicCompareWrite:
      return old == first ? second : old;
    default:
      return old;
  }
}

// FNV-1a, 64 bits.
uint64_t Hash(const uint8_t* bytes, uint64_t count) {
  uint64_t hash = 0xcbf29ce484222325;
  for (uint64_t i = 0; i < count; ++i) hash = (hash ^ bytes[i]) * 0x100000001b3;
  return hash;
}

// Of the instructions from there to the first that ends a thread, that one included; 0: they cannot be read,
// or there is none in kKernelBytesMax. Instructions have 16 bytes, or 8 if bit 29 is set; a send ends the
// thread by bit 34 (Gen12) or bit 127 (Gen9 and Gen11).
uint64_t KernelHash(PageMemory& memory, const std::atomic<bool>& cancelled, uint64_t address) {
  constexpr uint32_t kSends[] = {0x31, 0x32, 0x33, 0x34};
  std::vector<uint8_t> code;
  // To the end of a page, since the next one may not be there.
  const auto read_to = [&](uint64_t end) {
    while (code.size() < end) {
      const uint64_t at = code.size(), bytes = kPageBytes - (address + at) % kPageBytes;
      code.resize(at + bytes);
      if (cancelled || !memory.Read(address + at, &code[at], bytes)) return false;
    }
    return true;
  };
  for (uint64_t done = 0; done < kKernelBytesMax;) {
    if (!read_to(done + 8)) return 0;
    uint64_t low;
    std::memcpy(&low, &code[done], sizeof low);
    const bool compact = (low >> 29 & 1) != 0;
    const uint64_t length = compact ? 8 : 16;
    if (!read_to(done + length)) return 0;
    const uint8_t* const bytes = &code[done];
    done += length;
    const bool is_send = std::find(std::begin(kSends), std::end(kSends), low & 0x7F) != std::end(kSends);
    if (is_send && !compact && ((low >> 34 & 1) != 0 || (bytes[15] & 0x80) != 0))
      return Hash(code.data(), done);
  }
  return 0;
}

CommandStop IntelStreamer::Run(CommandEnvironment& environment, const std::atomic<bool>& cancelled,
                               uint64_t budget) {
  Step step{cancelled, budget, environment, PageMemory(environment)};
  const CommandStop stop = DoCommands(step);
  if (state_.TakeLost())
    environment.Note(FidelityKind::kApproximated, "Intel: too many registers for a queue");
  return stop;
}

CommandStop IntelStreamer::DoCommands(Step& step) {
  if (at_ % sizeof(uint32_t) != 0) return Invalid();
  std::array<uint32_t, kBodyDwordsMax> straddling;
  for (uint32_t commands = 0; !over_; ++commands) {
    if (commands % kLooksEvery == 0 && step.cancelled) return Stop(CommandStop::kCancelled);
    uint64_t there = 0;  // dwords from at_ on that lie in one piece
    const uint32_t* words = step.memory.Commands(at_, &there);
    if (!words) return Fault(step.memory.fault());
    const uint32_t header = *words;
    const uint32_t dwords = DwordsOf(header);
    if (dwords == 0) return Unknown(step, header);
    const bool read_over = IsReadOver(header);
    const uint64_t cost = dwords * sizeof(uint32_t) + (read_over ? 0 : kSmallCost);
    if (!step.Spend(cost)) return Stop(CommandStop::kBudget);
    dwords_ += dwords;
    if (dwords_ > kDwordsMax || jumps_ > kJumpsMax) return Stop(CommandStop::kHang);
    if (!read_over) {
      if (dwords > kBodyDwordsMax) return Unknown(step, header);
      if (there < dwords) {
        if (!step.memory.Read(at_, straddling.data(), dwords * sizeof(uint32_t)))
          return Fault(step.memory.fault());
        words = straddling.data();
      }
      const CommandStop stop = Do(step, header, {words, dwords});
      if (stop.kind != CommandStop::kDone) return stop;
    }
    if (!jumped_) at_ += dwords * sizeof(uint32_t);
    jumped_ = false;
  }
  return {};
}

CommandStop IntelStreamer::Do(Step& step, uint32_t header, const Body& body) {
  switch (ClientOf(header)) {
    case Client::kMi:
      return DoMi(step, Field(header, 23, 28), body);
    case Client::kGfxPipe:
      return DoPipe(step, Field(header, 16, 28), body);
    case Client::k2d: {
      Blt blt;
      if (!DecodeBlt(Field(header, 22, 28), body.words, body.count, &blt)) return Unknown(step, header);
      const uint64_t bytes = blt.bytes();
      if (!step.Spend(bytes)) return Stop(CommandStop::kBudget);
      blit_bytes_ += bytes;
      if (blit_bytes_ > kBlitBytesMax) return Stop(CommandStop::kHang);
      GpuFault fault;
      switch (DoBlt(step.environment, step.cancelled, blt, &fault)) {
        case BltEnd::kDone:
          step.memory.Forget();
          return {};
        case BltEnd::kCancelled:
          return Stop(CommandStop::kCancelled);
        default:
          return Fault(fault);
      }
    }
  }
  return Unknown(step, header);
}

CommandStop IntelStreamer::DoMi(Step& step, uint32_t opcode, const Body& body) {
  switch (opcode) {
    case kMiBatchBufferEnd:
      End();
      return {};
    case kMiBatchBufferStart:
      return BatchBufferStart(body);
    case kMiConditionalBatchBufferEnd:
      return ConditionalEnd(step, body);
    case kMiStoreDataImm:
      return StoreDataImm(step, body);
    case kMiLoadRegisterImm:
      return LoadRegisterImm(body);
    case kMiStoreRegisterMem:
      return StoreRegisterMem(step, body);
    case kMiLoadRegisterMem:
      return LoadRegisterMem(step, body);
    case kMiLoadRegisterReg:
      if (body.count < 3) return Invalid();
      state_.SetRegister(Field(body[2], 0, 22), ReadRegister(step, Field(body[1], 0, 22)));
      return {};
    case kMiCopyMemMem:
      return CopyMemMem(step, body);
    case kMiFlushDw:
      if (Field(body[0], 14, 15) == kPostSyncNone) return {};
      if (body.count < 5) return Invalid();
      return PostSync(step, Field(body[0], 14, 15), AddressAt(&body.words[1]) & ~7ull, &body.words[3]);
    case kMiSemaphoreWait:
      return SemaphoreWait(step, body);
    case kMiAtomic:
      return AtomicOn(step, body);
    case kMiMath:
      return Math(body);
    case kMiPredicate:
    case kMiSetPredicate:
      step.environment.Note(FidelityKind::kNotExecuted, "Intel command MI_PREDICATE");
      return {};
    case kMiSemaphoreSignal:
      step.environment.Note(FidelityKind::kApproximated, "Intel command MI_SEMAPHORE_SIGNAL");
      return {};
    case kMiReportPerfCount:
      step.environment.Note(FidelityKind::kApproximated, "Intel command MI_REPORT_PERF_COUNT");
      return {};
    default:
      return Unknown(step, body[0]);
  }
}

CommandStop IntelStreamer::DoPipe(Step& step, uint32_t opcode, const Body& body) {
  switch (opcode) {
    case kPipeControl:
      return PipeControl(step, body);
    case kStateBaseAddress:
      if (body.count < 12) return Invalid();
      state_.compute.SetBases(body.words, body.count);
      return {};
    case kMediaVfeState:
      if (body.count < 3) return Invalid();
      state_.compute.SetFrontEnd(body.words);
      return {};
    case kMediaInterfaceDescriptorLoad:
      if (body.count < 4) return Invalid();
      state_.compute.descriptors = body[3];
      return {};
    case kGpgpuWalker:
      return Walker(step, body);
    case kMediaObject:
    case kMediaObjectPrt:
    case kMediaObjectWalker:
      return LeaveOut(step, {});
    case kPrimitive3d: {
      GpuDispatch dispatch;
      if (body.count >= 5) dispatch.groups = uint64_t{body[2]} * body[4];  // vertices and instances
      return LeaveOut(step, dispatch);
    }
    default:
      return Unknown(step, body[0]);
  }
}

// -- Memory and registers.

CommandStop IntelStreamer::StoreDataImm(Step& step, const Body& body) {
  if (body.count < 4 || Field(body[0], 22, 22) != 0) return Invalid();
  const uint64_t address = AddressAt(&body.words[1]) & ~3ull;
  const bool qwords = Field(body[0], 21, 21) != 0 && address % sizeof(uint64_t) == 0 && body.count % 2 == 1;
  bool stored = true;
  if (qwords) {
    for (uint32_t i = 3; stored && i < body.count; i += 2)
      stored = step.memory.Store64(address + (i - 3) * sizeof(uint32_t), Qword(&body.words[i]));
  } else {
    for (uint32_t i = 3; stored && i < body.count; ++i)
      stored = step.memory.Store32(address + (i - 3) * sizeof(uint32_t), body[i]);
  }
  return Result(stored, step);
}

CommandStop IntelStreamer::LoadRegisterImm(const Body& body) {
  if (body.count % 2 == 0) return Invalid();
  for (uint32_t i = 1; i + 1 < body.count; i += 2) state_.SetRegister(Field(body[i], 0, 22), body[i + 1]);
  return {};
}

CommandStop IntelStreamer::StoreRegisterMem(Step& step, const Body& body) {
  if (body.count < 4 || Field(body[0], 22, 22) != 0) return Invalid();
  const uint32_t value = ReadRegister(step, Field(body[1], 0, 22));
  return Result(step.memory.Store32(AddressAt(&body.words[2]) & ~3ull, value), step);
}

CommandStop IntelStreamer::LoadRegisterMem(Step& step, const Body& body) {
  if (body.count < 4 || Field(body[0], 22, 22) != 0) return Invalid();
  const std::optional<uint32_t> value = step.memory.Load32(AddressAt(&body.words[2]) & ~3ull);
  if (!value) return Fault(step.memory.fault());
  state_.SetRegister(Field(body[1], 0, 22), *value);
  return {};
}

CommandStop IntelStreamer::CopyMemMem(Step& step, const Body& body) {
  if (body.count < 5 || Field(body[0], 21, 22) != 0) return Invalid();
  const std::optional<uint32_t> value = step.memory.Load32(AddressAt(&body.words[3]) & ~3ull);
  return Result(value && step.memory.Store32(AddressAt(&body.words[1]) & ~3ull, *value), step);
}

CommandStop IntelStreamer::PostSync(Step& step, uint32_t operation, uint64_t address, const uint32_t* data) {
  switch (operation) {
    case kPostSyncNone:
      return {};
    case kPostSyncImmediate:
      return Result(step.memory.Store64(address, Qword(data)), step);
    case kPostSyncTimestamp:
      return Result(step.memory.Store64(address, step.environment.Timestamp()), step);
    default:
      step.environment.Note(FidelityKind::kApproximated, "Intel post-sync depth count: 0");
      return Result(step.memory.Store64(address, 0), step);
  }
}

CommandStop IntelStreamer::PipeControl(Step& step, const Body& body) {
  if (body.count < 6) return Invalid();
  if (Field(body[1], 23, 23) != 0) {  // the post-sync operation is a register
    state_.SetRegister(Field(body[2], 0, 22), body[4]);
    return {};
  }
  if (Field(body[1], 14, 15) == kPostSyncNone) return {};
  if (Field(body[1], 24, 24) != 0 || Field(body[1], 21, 21) != 0)
    return Invalid();  // not the program's memory
  return PostSync(step, Field(body[1], 14, 15), AddressAt(&body.words[2]) & ~7ull, &body.words[4]);
}

CommandStop IntelStreamer::SemaphoreWait(Step& step, const Body& body) {
  const uint32_t comparison = Field(body[0], 12, 14);
  if (body.count < 4 || comparison >= kComparisons || Field(body[0], 22, 22) != 0) return Invalid();
  std::optional<uint32_t> value;
  if (Field(body[0], 16, 16) != 0) {
    value = ReadRegister(step, Field(body[2], 0, 22));
  } else {
    value = step.memory.Load32(AddressAt(&body.words[2]) & ~3ull);
  }
  if (!value) return Fault(step.memory.fault());
  if (!Compare(comparison, *value, body[1])) {
    jumps_ = 0;
    return Stop(CommandStop::kWaiting);
  }
  step.memory.Forget();  // whoever let it pass may have written the commands that follow
  return {};
}

CommandStop IntelStreamer::AtomicOn(Step& step, const Body& body) {
  const uint32_t operation = Field(body[0], 8, 12), size = Field(body[0], 13, 15);
  const bool has_operands = Field(body[0], 18, 18) != 0;
  const uint64_t address = AddressAt(&body.words[1]) & ~3ull;
  if (body.count < (has_operands ? 11u : 3u) || operation > kAtomicCompareWrite || size > 1 ||
      Field(body[0], 22, 22) != 0 || (size == 1 && address % sizeof(uint64_t) != 0)) {
    return Invalid();
  }
  const uint64_t first = has_operands ? body[3] | uint64_t{body[5]} << 32 : state_.Gpr(0);
  const uint64_t second = has_operands ? body[4] | uint64_t{body[6]} << 32 : state_.Gpr(1);
  const uint32_t shift = size == 1 || address % sizeof(uint64_t) == 0 ? 0 : 32;
  const auto old = step.memory.Change64(address & ~7ull, [=](uint64_t word) -> uint64_t {
    if (size == 1) return AtomicResult<uint64_t>(operation, word, first, second);
    const auto result = AtomicResult<uint32_t>(operation, static_cast<uint32_t>(word >> shift),
                                               static_cast<uint32_t>(first), static_cast<uint32_t>(second));
    return (word & ~(0xFFFFFFFFull << shift)) | uint64_t{result} << shift;
  });
  if (!old) return Fault(step.memory.fault());
  if (Field(body[0], 16, 16) != 0) state_.SetGpr(2, size == 1 ? *old : *old >> shift & 0xFFFFFFFF);
  return {};
}

CommandStop IntelStreamer::Math(const Body& body) {
  uint64_t a = 0, b = 0, result = 0;
  bool zero = false, carry = false;
  for (uint32_t i = 1; i < body.count; ++i) {
    const uint32_t operation = Field(body[i], 20, 31);
    const uint32_t left = Field(body[i], 10, 19), right = Field(body[i], 0, 9);
    switch (operation) {
      case kAluNoop:
        continue;
      case kAluLoad:
      case kAluLoadInverted:
      case kAluLoad0:
      case kAluLoad1: {
        const bool of_register = operation == kAluLoad || operation == kAluLoadInverted;
        if ((left != kSourceA && left != kSourceB) || (of_register && right >= kGprs)) return Invalid();
        uint64_t value = of_register ? state_.Gpr(right) : operation == kAluLoad1 ? 1 : 0;
        if (operation == kAluLoadInverted) value = ~value;
        (left == kSourceA ? a : b) = value;
        continue;
      }
      case kAluAdd:
        result = a + b;
        carry = result < a;
        break;
      case kAluSubtract:
        result = a - b;
        carry = a < b;
        break;
      case kAluAnd:
        result = a & b;
        break;
      case kAluOr:
        result = a | b;
        break;
      case kAluXor:
        result = a ^ b;
        break;
      case kAluStore:
      case kAluStoreInverted: {
        if (left >= kGprs || (right != kResult && right != kZero && right != kCarry)) return Invalid();
        const auto flag = [](bool set) { return set ? ~0ull : 0ull; };
        const uint64_t value = right == kResult ? result : flag(right == kZero ? zero : carry);
        state_.SetGpr(left, operation == kAluStore ? value : ~value);
        continue;
      }
      default:
        return Invalid();
    }
    zero = result == 0;
  }
  return {};
}

uint32_t IntelStreamer::ReadRegister(Step& step, uint32_t offset) const {
  const uint32_t in_engine = offset % kEngineRegisterBytes;
  if (in_engine == kTimestampLow) return static_cast<uint32_t>(step.environment.Timestamp());
  if (in_engine == kTimestampHigh) return static_cast<uint32_t>(step.environment.Timestamp() >> 32);
  return state_.Register(offset);
}

// -- Flow.

CommandStop IntelStreamer::BatchBufferStart(const Body& body) {
  // Only a privileged batch may use the global table.
  if (body.count < 3 || Field(body[0], 8, 8) == 0) return Invalid();
  if (Field(body[0], 15, 15) != 0 && (state_.Register(kPredicateResult) & 1) == 0) return {};
  if (Field(body[0], 22, 22) != 0) {
    if (returns_.size() + 1 >= kLevelsMax) return Invalid();
    returns_.push_back(at_ + body.count * sizeof(uint32_t));
  }
  ++jumps_;
  at_ = AddressAt(&body.words[1]) & ~3ull;
  jumped_ = true;
  return {};
}

void IntelStreamer::End() {
  jumped_ = true;
  if (returns_.empty()) {
    over_ = true;
  } else {
    at_ = returns_.back();
    returns_.pop_back();
  }
}

// Ends the batch, whatever its level, unless the comparison holds.
CommandStop IntelStreamer::ConditionalEnd(Step& step, const Body& body) {
  const uint32_t comparison = Field(body[0], 12, 14);
  if (body.count < 4 || comparison >= kComparisons || Field(body[0], 22, 22) != 0) return Invalid();
  const std::optional<uint32_t> value = step.memory.Load32(AddressAt(&body.words[2]) & ~3ull);
  if (!value) return Fault(step.memory.fault());
  over_ = !Compare(comparison, *value, body[1]);
  return {};
}

// -- What is left out.

CommandStop IntelStreamer::Walker(Step& step, const Body& body) {
  if (body.count < 15) return Invalid();
  const auto extent = [&](uint32_t first, uint32_t end) -> uint64_t {
    return body[end] > body[first] ? body[end] - body[first] : 0;
  };
  GpuDispatch dispatch;
  dispatch.simd = 8u << Field(body[4], 30, 31);
  dispatch.groups = extent(5, 7) * std::min<uint64_t>(extent(8, 10) * extent(11, 12), 1ull << 31);
  if (dispatch_ || step.environment.Execution().executes) return Execute(step, dispatch, body);
  constexpr uint64_t kDescriptorBytes = 32;
  uint32_t descriptor[8];
  const uint64_t address =
      state_.compute.dynamic + state_.compute.descriptors + Field(body[1], 0, 5) * kDescriptorBytes;
  if (!step.memory.Read(address, descriptor, sizeof descriptor)) return Fault(step.memory.fault());
  const uint64_t kernel =
      state_.compute.instruction + ((descriptor[0] & ~63u) | uint64_t{Field(descriptor[1], 0, 15)} << 32);
  dispatch.kernel = GpuAddress(kernel);
  if (const auto known = hashes_.find(kernel); known != hashes_.end()) {
    dispatch.kernel_hash = known->second;
  } else {
    if (!step.Spend(kHashCost)) return Stop(CommandStop::kBudget);
    dispatch.kernel_hash = KernelHash(step.memory, step.cancelled, kernel);
    if (step.cancelled) return Stop(CommandStop::kCancelled);
    if (hashes_.size() < kHashesMax) hashes_.emplace(kernel, dispatch.kernel_hash);
  }
  return LeaveOut(step, dispatch);
}

// Begins a dispatch, or goes on with it.
CommandStop IntelStreamer::Execute(Step& step, const GpuDispatch& walker, const Body& body) {
  GpuDispatch dispatch = walker;
  const ExecutionRules rules = step.environment.Execution();
  if (step.budget != kUnlimited) return Stop(CommandStop::kBudget);  // this takes long
  if (!dispatch_) {
    eu::DispatchOrder order;
    std::string refusal;
    if (!ReadOrder(step.memory, state_.compute, body.words, &order, &refusal))
      return Fault(step.memory.fault());
    dispatch.kernel = GpuAddress(order.kernel);
    std::shared_ptr<const eu::Kernel> kernel = state_.FindKernel(step.memory, step.cancelled, order.kernel);
    if (step.cancelled) return Stop(CommandStop::kCancelled);
    if (!refusal.empty()) {
      dispatch.kernel_hash = kernel->hash();
      dispatch.why = refusal;
      return LeaveOut(step, dispatch);
    }
    dispatch_ = std::make_unique<eu::Dispatch>(
        std::move(order), std::move(kernel), rules.instructions_max,
        [state = &state_](uint64_t bytes) { return state->HasRoomForDispatch(bytes); });
  }
  const eu::Dispatch::Stop stop = dispatch_->Run(step.environment, step.cancelled);
  step.memory.Forget();
  dispatch.kernel = GpuAddress(dispatch_->order().kernel);
  dispatch.kernel_hash = dispatch_->kernel().hash();
  const std::string where = fmt::format("at {:#x}, {}", stop.offset, stop.why);
  CommandStop result;
  switch (stop.kind) {
    case eu::Dispatch::Stop::kSlice:
      result = Stop(CommandStop::kSlice);
      result.delay_ns = dispatch_->TakeTimeNs(rules.frequency_hz);
      return result;
    case eu::Dispatch::Stop::kCancelled:
      return Stop(CommandStop::kCancelled);
    case eu::Dispatch::Stop::kHang:
      return Stop(CommandStop::kHung);
    case eu::Dispatch::Stop::kPageFault:
      dispatch.why = where;
      dispatch_ = nullptr;
      (void)step.environment.LeaveOut(dispatch);
      return Fault(stop.fault);
    case eu::Dispatch::Stop::kRefused:
      dispatch.why = where;
      dispatch_ = nullptr;
      return LeaveOut(step, dispatch);
    case eu::Dispatch::Stop::kDone:
      break;
  }
  if (const uint64_t took_ns = dispatch_->TakeTimeNs(rules.frequency_hz); took_ns != 0) {
    result = Stop(CommandStop::kSlice);
    result.delay_ns = took_ns;
    return result;
  }
  step.environment.Executed(dispatch, dispatch_->instructions());
  dispatch_ = nullptr;
  return {};
}

CommandStop IntelStreamer::LeaveOut(Step& step, const GpuDispatch& dispatch) const {
  return step.environment.LeaveOut(dispatch) ? CommandStop() : Stop(CommandStop::kDeviceFault);
}

CommandStop IntelStreamer::Unknown(Step& step, uint32_t header) const {
  uint32_t shift = 16;
  if (ClientOf(header) == Client::kMi) shift = 23;
  if (ClientOf(header) == Client::k2d) shift = 22;
  step.environment.Note(FidelityKind::kUnknown,
                        fmt::format("Intel command 0x{:08x}", header >> shift << shift));
  return Invalid();
}

}  // namespace
}  // namespace intel

std::unique_ptr<CommandStreamer> MakeIntelStreamer(const GpuBuffer& buffer,
                                                   std::unique_ptr<StreamerState>* state) {
  if (!*state) *state = std::make_unique<intel::IntelState>();
  // A queue's format never changes, so its state is of this class.
  return std::make_unique<intel::IntelStreamer>(buffer, static_cast<intel::IntelState&>(**state));
}

}  // namespace dxg::hostsim
