#pragma once

#include <cstdint>

#include "hostsim/work/streamers/packet_words.h"

// Headers of commands of Intel's Gen9 to Gen12, as the programmer's reference manuals ("Command Reference:
// Instructions") and the MIT-licensed headers of the compute runtime have them.

namespace dxg::hostsim::intel {

// Bits 31:29 of each header say how to read the rest of it.
enum class Client : uint32_t { kMi = 0, k2d = 2, kGfxPipe = 3 };

constexpr Client ClientOf(uint32_t header) { return static_cast<Client>(header >> 29); }
constexpr uint64_t Qword(const uint32_t* words) { return words[0] | uint64_t{words[1]} << 32; }
// Of GPU addresses 48 bits count; the ones above repeat the last of them.
constexpr uint64_t AddressAt(const uint32_t* words) { return Qword(words) & ((1ull << 48) - 1); }

// Bits 28:23 of a memory interface command. Those below kMiHasLength are one dword long, all others say their
// length in bits 7:0 (kMiStoreDataImm 9:0), less 2.
enum Mi : uint32_t {
  kMiNoop = 0x00,
  kMiSetPredicate = 0x01,
  kMiUserInterrupt = 0x02,
  kMiWaitForEvent = 0x03,
  kMiArbCheck = 0x05,
  kMiReportHead = 0x07,
  kMiArbOnOff = 0x08,
  kMiBatchBufferEnd = 0x0A,
  kMiSuspendFlush = 0x0B,
  kMiPredicate = 0x0C,
  kMiTopologyFilter = 0x0D,
  kMiHasLength = 0x10,
  kMiMath = 0x1A,
  kMiSemaphoreSignal = 0x1B,
  kMiSemaphoreWait = 0x1C,
  kMiForceWakeup = 0x1D,
  kMiStoreDataImm = 0x20,
  kMiLoadRegisterImm = 0x22,
  kMiStoreRegisterMem = 0x24,
  kMiFlushDw = 0x26,
  kMiReportPerfCount = 0x28,
  kMiLoadRegisterMem = 0x29,
  kMiLoadRegisterReg = 0x2A,
  kMiCopyMemMem = 0x2E,
  kMiAtomic = 0x2F,
  kMiBatchBufferStart = 0x31,
  kMiConditionalBatchBufferEnd = 0x36,
};

// Bits 28:22 of a 2D command. The length is in bits 7:0, less 2.
enum Blit : uint32_t {
  kXyBlockCopy = 0x41,
  kXyFastCopy = 0x42,
  kXyFastColor = 0x44,
  kXyColor = 0x50,
  kXySrcCopy = 0x53,
};

// Bits 28:16 of a command of the graphics pipe: subtype, opcode, subopcode.
constexpr uint32_t Pipe(uint32_t subtype, uint32_t opcode, uint32_t subopcode) {
  return subtype << 11 | opcode << 8 | subopcode;
}
constexpr uint32_t kPipeCommon = 0, kPipeSingleDword = 1, kPipeMedia = 2, kPipe3d = 3;

constexpr uint32_t kStateBaseAddress = Pipe(kPipeCommon, 1, 0x01);
constexpr uint32_t kMediaVfeState = Pipe(kPipeMedia, 0, 0x00);
constexpr uint32_t kMediaInterfaceDescriptorLoad = Pipe(kPipeMedia, 0, 0x02);
constexpr uint32_t kMediaObject = Pipe(kPipeMedia, 1, 0x00);
constexpr uint32_t kMediaObjectPrt = Pipe(kPipeMedia, 1, 0x02);
constexpr uint32_t kMediaObjectWalker = Pipe(kPipeMedia, 1, 0x03);
constexpr uint32_t kGpgpuWalker = Pipe(kPipeMedia, 1, 0x05);
constexpr uint32_t kPipeControl = Pipe(kPipe3d, 2, 0x00);
constexpr uint32_t kPrimitive3d = Pipe(kPipe3d, 3, 0x00);

// Offsets of registers in the range of an engine, which begins at a multiple of 4 KiB.
constexpr uint32_t kEngineRegisterBytes = 0x1000;
constexpr uint32_t kTimestampLow = 0x358, kTimestampHigh = 0x35C;
// Of the render engine: registers for arithmetic, 8 bytes each, and the result of predicates.
constexpr uint32_t kGpr0 = 0x2600, kGprs = 16;
constexpr uint32_t kPredicateResult = 0x2418;

// What PIPE_CONTROL and MI_FLUSH_DW write when everything before them has ended.
enum PostSync : uint32_t {
  kPostSyncNone = 0,
  kPostSyncImmediate = 1,
  kPostSyncDepthCount = 2,
  kPostSyncTimestamp = 3,
};

// The low five bits of MI_ATOMIC's operation; bits 6:5 are 0 for 4 bytes, 1 for 8 and 2 for 16.
enum Atomic : uint32_t {
  kAtomicNone = 0x00,
  kAtomicAnd = 0x01,
  kAtomicOr = 0x02,
  kAtomicXor = 0x03,
  kAtomicMove = 0x04,
  kAtomicIncrement = 0x05,
  kAtomicDecrement = 0x06,
  kAtomicAdd = 0x07,
  kAtomicSubtract = 0x08,
  kAtomicReverseSubtract = 0x09,
  kAtomicSignedMax = 0x0A,
  kAtomicSignedMin = 0x0B,
  kAtomicMax = 0x0C,
  kAtomicMin = 0x0D,
  kAtomicCompareWrite = 0x0E,
};

// An instruction of MI_MATH: operation in bits 31:20, operands in 19:10 and 9:0.
enum Alu : uint32_t {
  kAluNoop = 0x000,
  kAluLoad = 0x080,
  kAluLoad0 = 0x081,
  kAluLoad1 = 0x481,
  kAluLoadInverted = 0x480,
  kAluAdd = 0x100,
  kAluSubtract = 0x101,
  kAluAnd = 0x102,
  kAluOr = 0x103,
  kAluXor = 0x104,
  kAluStore = 0x180,
  kAluStoreInverted = 0x580,
};
enum AluOperand : uint32_t { kSourceA = 0x20, kSourceB = 0x21, kResult = 0x31, kZero = 0x32, kCarry = 0x33 };

}  // namespace dxg::hostsim::intel
