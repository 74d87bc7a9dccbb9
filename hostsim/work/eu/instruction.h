#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/status.h"

// One instruction of an execution unit (EU) of Intel's GPUs, as this room understands it. What a platform has
// alone (bits, opcodes, compaction tables) is in gen12lp.h and gen12lp_*.cc.
//
// Sources: the instruction encodings of the published user-space driver (Mesa, src/intel/compiler) and of
// Intel's assembler, with which tests compare every field.

namespace dxg::hostsim::eu {

// A register has so many bytes.
inline constexpr uint32_t kRegisterBytes = 32;
inline constexpr uint32_t kRegisters = 128;
inline constexpr uint32_t kLanesMax = 32;
inline constexpr uint32_t kInstructionBytes = 16;
inline constexpr uint32_t kCompactInstructionBytes = 8;

// What an instruction does. The numbers are of this enum alone.
enum class Op : uint8_t {
  kIllegal,
  kSync,
  kMov,
  kSel,
  kMovi,
  kNot,
  kAnd,
  kOr,
  kXor,
  kShr,
  kShl,
  kSmov,
  kAsr,
  kRor,
  kRol,
  kCmp,
  kCmpn,
  kCsel,
  kBfrev,
  kBfe,
  kBfi1,
  kBfi2,
  kJmpi,
  kBrd,
  kIf,
  kBrc,
  kElse,
  kEndif,
  kWhile,
  kBreak,
  kCont,
  kHalt,
  kCalla,
  kCall,
  kRet,
  kGoto,
  kJoin,
  kWait,
  kSend,
  kSendc,
  kMath,
  kAdd,
  kMul,
  kAvg,
  kFrc,
  kRndu,
  kRndd,
  kRnde,
  kRndz,
  kMac,
  kMach,
  kLzd,
  kFbh,
  kFbl,
  kCbit,
  kAddc,
  kSubb,
  kSad2,
  kSada2,
  kDp4,
  kDph,
  kDp3,
  kDp2,
  kDp4a,
  kLine,
  kPln,
  kMad,
  kLrp,
  kMadm,
  kNop,
};

enum class Type : uint8_t { kUb, kB, kUw, kW, kUd, kD, kUq, kQ, kHf, kF, kDf, kUv, kV, kVf, kNone };

// Of one element; of the vector immediates that of the whole.
constexpr uint32_t BytesOf(Type type) {
  constexpr uint8_t kBytes[] = {1, 1, 2, 2, 4, 4, 8, 8, 2, 4, 8, 4, 4, 4, 0};
  return kBytes[static_cast<uint8_t>(type)];
}
constexpr bool IsFloat(Type type) { return type == Type::kHf || type == Type::kF || type == Type::kDf; }
constexpr bool IsSigned(Type type) {
  return type == Type::kB || type == Type::kW || type == Type::kD || type == Type::kQ;
}

enum class File : uint8_t { kNone, kArf, kGrf, kImmediate };

// Architecture registers: the high half of their number; the low half counts registers of a kind.
enum class Arf : uint8_t {
  kNull = 0,
  kAddress = 1,
  kAccumulator = 2,
  kFlag = 3,
  kChannelEnable = 4,
  kMessage = 5,
  kStackPointer = 6,
  kState = 7,
  kControl = 8,
  kNotification = 9,
  kIp = 10,
  kThreadDependency = 11,
  kTimestamp = 12,
  kFlowControl = 13,
  kDebug = 15,
};

struct Source {
  // As a vertical stride: each lane (width 1), or each row, has an address register of its own.
  static constexpr uint8_t kVxH = 0xff;

  File file = File::kNone;
  Type type = Type::kNone;
  bool negate = false;  // of logic operations: inverts the bits
  bool absolute = false;
  bool indirect = false;
  uint8_t reg = 0;  // of kArf: Arf << 4 | index
  uint8_t subreg_bytes = 0;
  // <vertical_stride; width, stride>, in elements. A lane i has the element
  // (i / width) * vertical_stride + (i % width) * stride.
  uint8_t vertical_stride = 0, width = 1, stride = 0;
  uint8_t address_subreg = 0;  // of indirect: which word of a0
  int16_t address_offset = 0;  // bytes
  uint64_t immediate = 0;      // as many bits as the type has; of words, the word twice
};

struct Destination {
  File file = File::kNone;
  Type type = Type::kNone;
  bool indirect = false;
  uint8_t reg = 0;
  uint8_t subreg_bytes = 0;
  uint8_t stride = 1;  // elements
  uint8_t address_subreg = 0;
  int16_t address_offset = 0;
};

enum class Predicate : uint8_t {
  kNone,
  kLane,  // each lane its own bit
  kAnyV,
  kAllV,
  kAny2h,
  kAll2h,
  kAny4h,
  kAll4h,
  kAny8h,
  kAll8h,
  kAny16h,
  kAll16h,
  kAny32h,
  kAll32h,
};

enum class Condition : uint8_t { kNone, kEq, kNe, kGt, kGe, kLt, kLe, kOverflow, kUnordered };

enum class Math : uint8_t {
  kNone,
  kInv,
  kLog,
  kExp,
  kSqt,
  kRsqt,
  kSin,
  kCos,
  kFdiv,
  kPow,
  kIdiv,  // quotient and remainder
  kIqot,
  kIrem,
  kInvm,
  kRsqtm,
};

enum class Sync : uint8_t { kNop, kAllRead, kAllWrite, kBarrier, kHost };

// What a send carries beside its registers.
struct SendFields {
  bool descriptor_in_a0 = false;
  bool extended_in_a0 = false;
  uint8_t sfid = 0;
  uint8_t src1_registers = 0;   // of an immediate extended descriptor
  uint8_t extended_subreg = 0;  // of a0, in dwords
  uint32_t descriptor = 0;
  uint32_t extended_descriptor = 0;  // without function and length
  bool eot = false;
  bool fused = false;
};

struct Instruction {
  Op op = Op::kIllegal;
  uint8_t size_bytes = kInstructionBytes;
  uint8_t lanes = 1;       // execution size
  uint8_t first_lane = 0;  // channel offset: M0, M4, ... M28
  bool write_all = false;  // WrEn: masks of dispatch and flow do not count
  bool predicate_inverted = false;
  bool saturate = false;
  bool writes_accumulator = false;
  bool atomic = false;
  bool branch_control = false;
  Predicate predicate = Predicate::kNone;
  Condition condition = Condition::kNone;
  uint8_t flag = 0;  // 2 * register + half: f0.0, f0.1, f1.0, f1.1
  uint8_t swsb = 0;  // what it waits for; instructions are executed in order here
  Math math = Math::kNone;
  Sync sync = Sync::kNop;
  uint8_t sources = 0;
  bool jip_in_register = false;
  int32_t jip = 0, uip = 0;  // bytes from this instruction
  Destination destination;
  Source source[3];
  SendFields send;
  uint64_t word[2] = {};  // the 16 bytes, uncompacted
};

// The instruction at the beginning of `bytes`, of which there may be more than are needed; its size_bytes is
// 8 or 16. Refuses what is cut off, and what has an opcode, type, region, register or reserved bit of which
// this room does not know what the EU does with it. The refusal names it.
Result<Instruction> Decode(std::span<const std::byte> bytes);

// As Intel's assembler writes it, with spaces where that has columns.
std::string Disassemble(const Instruction& instruction);

}  // namespace dxg::hostsim::eu
