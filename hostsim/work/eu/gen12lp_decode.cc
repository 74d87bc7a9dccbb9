#include <array>
#include <cerrno>
#include <cstring>

#include "hostsim/work/eu/gen12lp.h"

// The fields of an instruction (Mesa, src/intel/compiler/brw_eu_inst.h, columns for Gen12; each field was
// compared with Intel's assembler).

namespace dxg::hostsim::eu {
namespace {

using gen12lp::Form;
using gen12lp::OpRow;
using gen12lp::Word;

constexpr int kRefused = EINVAL;

Result<Type> RegisterType(uint32_t bits) {
  constexpr Type kTypes[] = {Type::kUb,   Type::kUw,   Type::kUd,   Type::kUq,  Type::kB, Type::kW,
                             Type::kD,    Type::kQ,    Type::kNone, Type::kHf,  Type::kF, Type::kDf,
                             Type::kNone, Type::kNone, Type::kNone, Type::kNone};
  if (kTypes[bits & 15] == Type::kNone) return Status::Refuse(kRefused, "type {} is not known", bits);
  return kTypes[bits & 15];
}

Result<Type> ImmediateType(uint32_t bits) {
  if (bits == 0) return Type::kUv;
  if (bits == 4) return Type::kV;
  if (bits == 8) return Type::kVf;
  return RegisterType(bits);
}

// Which registers there are of each kind. Of those of a 0 nothing is known that a program could want.
Status CheckArf(uint8_t reg, uint32_t subreg_bytes) {
  constexpr uint8_t kCounts[16] = {1, 1, 2, 2, 1, 0, 0, 2, 1, 0, 1, 0, 1, 0, 0, 0};
  if ((reg & 15) >= kCounts[reg >> 4])
    return Status::Refuse(kRefused, "architecture register {:#x} is not known", reg);
  constexpr uint32_t kWithoutParts = 0b0000010000010001;
  if (kWithoutParts >> (reg >> 4) & 1 && subreg_bytes != 0)
    return Status::Refuse(kRefused, "byte {} of architecture register {:#x} is not known", subreg_bytes, reg);
  return Status::Ok();
}

Status CheckSubregister(File file, Type type, uint32_t subreg_bytes) {
  if (file == File::kGrf && subreg_bytes % BytesOf(type) != 0)
    return Status::Refuse(kRefused, "subregister at byte {} is not aligned to its type of {} bytes",
                          subreg_bytes, BytesOf(type));
  return Status::Ok();
}

int16_t SignedOffset(uint32_t bits) { return static_cast<int16_t>(static_cast<int16_t>(bits << 6) >> 6); }

Status DecodeDestination(const Word& word, Destination* out) {
  DXG_ASSIGN(out->type, RegisterType(word.Get(39, 36)));
  constexpr uint8_t kStrides[] = {0, 1, 2, 4};
  out->stride = kStrides[word.Get(49, 48)];
  if (out->stride == 0) return Status::Refuse(kRefused, "a destination stride of 0 is not known");
  if (word.Bit(35)) {
    out->indirect = true;
    out->file = File::kGrf;
    out->address_subreg = static_cast<uint8_t>(word.Get(63, 60));
    out->address_offset = SignedOffset(word.Get(59, 50));
    return Status::Ok();
  }
  out->file = word.Bit(50) ? File::kGrf : File::kArf;
  out->reg = static_cast<uint8_t>(word.Get(63, 56));
  out->subreg_bytes = static_cast<uint8_t>(word.Get(55, 51));
  if (out->file == File::kArf) return CheckArf(out->reg, out->subreg_bytes);
  if (out->reg >= kRegisters) return Status::Refuse(kRefused, "there is no register r{}", out->reg);
  return CheckSubregister(out->file, out->type, out->subreg_bytes);
}

// The region of a source of an operation of one or two: `low` is where its 24 bits begin.
Status DecodeRegion(const Word& word, uint32_t low, Source* out) {
  const uint32_t vertical = word.Get(low + 23, low + 20), width = word.Get(low + 19, low + 17);
  constexpr uint8_t kVertical[] = {0, 1, 2, 4, 8, 16, 32};
  constexpr uint8_t kStrides[] = {0, 1, 2, 4};
  if (width > 4) return Status::Refuse(kRefused, "region width {} is not known", width);
  out->width = static_cast<uint8_t>(1u << width);
  out->stride = kStrides[word.Get(low + 1, low)];
  out->indirect = word.Bit(low + 16);
  if (vertical == 15) {
    if (!out->indirect) return Status::Refuse(kRefused, "a region by rows of a direct source is not known");
    out->vertical_stride = Source::kVxH;
  } else if (vertical > 6) {
    return Status::Refuse(kRefused, "vertical stride {} is not known", vertical);
  } else {
    out->vertical_stride = kVertical[vertical];
  }
  if (out->indirect) {
    out->file = File::kGrf;
    out->address_subreg = static_cast<uint8_t>(word.Get(low + 15, low + 12));
    out->address_offset = SignedOffset(word.Get(low + 11, low + 2));
    return Status::Ok();
  }
  out->file = word.Bit(low + 2) ? File::kGrf : File::kArf;
  out->reg = static_cast<uint8_t>(word.Get(low + 15, low + 8));
  out->subreg_bytes = static_cast<uint8_t>(word.Get(low + 7, low + 3));
  if (out->file == File::kArf) return CheckArf(out->reg, out->subreg_bytes);
  if (out->reg >= kRegisters) return Status::Refuse(kRefused, "there is no register r{}", out->reg);
  return CheckSubregister(out->file, out->type, out->subreg_bytes);
}

Status DecodeImmediate(const Word& word, uint32_t type_bits, bool may_be_wide, Source* out) {
  out->file = File::kImmediate;
  DXG_ASSIGN(out->type, ImmediateType(type_bits));
  if (BytesOf(out->type) == 1) return Status::Refuse(kRefused, "an immediate of one byte is not known");
  out->immediate = word.Get(127, 96);
  if (BytesOf(out->type) == 8) {
    if (!may_be_wide) return Status::Refuse(kRefused, "a second source of 64 immediate bits is not known");
    // The halves are swapped.
    out->immediate = out->immediate | uint64_t{word.Get(95, 64)} << 32;
    out->immediate = word.half[1] >> 32 | word.half[1] << 32;
  }
  return Status::Ok();
}

Status DecodeSource0(const Word& word, const OpRow& row, Source* out) {
  if (word.Bit(46)) {
    if (row.form != Form::kOne)
      return Status::Refuse(kRefused, "an immediate first source of {} is not known", row.name);
    return DecodeImmediate(word, word.Get(43, 40), true, out);
  }
  DXG_ASSIGN(out->type, RegisterType(word.Get(43, 40)));
  out->absolute = word.Bit(44);
  out->negate = word.Bit(45);
  return DecodeRegion(word, 64, out);
}

Status DecodeSource1(const Word& word, Source* out) {
  if (word.Bit(47)) return DecodeImmediate(word, word.Get(91, 88), false, out);
  DXG_ASSIGN(out->type, RegisterType(word.Get(91, 88)));
  out->absolute = word.Bit(120);
  out->negate = word.Bit(121);
  return DecodeRegion(word, 96, out);
}

// Sources of an operation of three have shorter fields. `stride_low` is of the bits of stride and register;
// `vertical` says which bits have the vertical stride, its low one first.
Status DecodeShortSource(const Word& word, uint32_t low, const uint8_t* vertical, Source* out) {
  constexpr uint8_t kStrides[] = {0, 1, 2, 4};
  constexpr uint8_t kVertical[] = {0, 1, 4, 8};
  out->stride = kStrides[word.Get(low + 1, low)];
  out->file = word.Bit(low + 2) ? File::kGrf : File::kArf;
  out->reg = static_cast<uint8_t>(word.Get(low + 15, low + 8));
  out->subreg_bytes = static_cast<uint8_t>(word.Get(low + 7, low + 3));
  if (vertical) {
    out->vertical_stride =
        kVertical[word.Get(vertical[0], vertical[0]) | word.Get(vertical[1], vertical[1]) << 1];
    if (out->stride == 0) {
      // <V;0>: rows of one element; V of them apart.
      out->width = 1;
    } else if (out->vertical_stride < out->stride) {
      return Status::Refuse(kRefused, "a region <{};{}> is not known", out->vertical_stride, out->stride);
    } else {
      out->width = static_cast<uint8_t>(out->vertical_stride / out->stride);
    }
  } else {  // <H>: one row
    out->width = 1;
    out->vertical_stride = out->stride;
    out->stride = 0;
  }
  if (out->file == File::kArf) return CheckArf(out->reg, out->subreg_bytes);
  if (out->reg >= kRegisters) return Status::Refuse(kRefused, "there is no register r{}", out->reg);
  return CheckSubregister(out->file, out->type, out->subreg_bytes);
}

Status DecodeThree(const Word& word, Instruction* out) {
  const uint32_t is_float = word.Get(39, 39) << 3;
  Destination& to = out->destination;
  DXG_ASSIGN(to.type, RegisterType(is_float | word.Get(38, 36)));
  constexpr uint8_t kTypeLow[] = {40, 88, 80};
  for (int i = 0; i < 3; ++i) {
    DXG_ASSIGN(out->source[i].type, RegisterType(is_float | word.Get(kTypeLow[i] + 2u, kTypeLow[i])));
  }
  to.file = word.Bit(50) ? File::kGrf : File::kArf;
  to.stride = word.Bit(48) ? 2 : 1;
  to.reg = static_cast<uint8_t>(word.Get(63, 56));
  to.subreg_bytes = static_cast<uint8_t>(word.Get(55, 51));
  if (to.subreg_bytes % 8 != 0)
    return Status::Refuse(kRefused, "a result of three sources at byte {} is not known", to.subreg_bytes);
  if (to.file == File::kArf) {
    DXG_TRY(CheckArf(to.reg, to.subreg_bytes));
  } else {
    if (to.reg >= kRegisters) return Status::Refuse(kRefused, "there is no register r{}", to.reg);
    DXG_TRY(CheckSubregister(to.file, to.type, to.subreg_bytes));
  }
  static constexpr uint8_t kVertical0[] = {35, 43}, kVertical1[] = {83, 91};
  constexpr uint8_t kImmediateBit[] = {46, 0, 47};
  constexpr uint8_t kLow[] = {64, 96, 112};
  constexpr const uint8_t* kVertical[] = {kVertical0, kVertical1, nullptr};
  constexpr uint8_t kAbsolute[] = {44, 86, 84};
  for (int i = 0; i < 3; ++i) {
    Source& source = out->source[i];
    if (i != 1 && word.Bit(kImmediateBit[i])) {
      if (BytesOf(source.type) != 2)
        return Status::Refuse(kRefused, "an immediate of {} bytes among three sources is not known",
                              BytesOf(source.type));
      source.file = File::kImmediate;
      source.immediate = word.Get(kLow[i] + 15u, kLow[i]);
      source.immediate |= source.immediate << 16;
      continue;
    }
    source.absolute = word.Bit(kAbsolute[i]);
    source.negate = word.Bit(kAbsolute[i] + 1u);
    DXG_TRY(DecodeShortSource(word, kLow[i], kVertical[i], &source));
  }
  return Status::Ok();
}

Result<Condition> DecodeCondition(uint32_t bits) {
  constexpr Condition kConditions[] = {Condition::kNone, Condition::kEq, Condition::kNe, Condition::kGt,
                                       Condition::kGe,   Condition::kLt, Condition::kLe};
  if (bits < std::size(kConditions)) return kConditions[bits];
  if (bits == 8) return Condition::kOverflow;
  if (bits == 9) return Condition::kUnordered;
  return Status::Refuse(kRefused, "condition {} is not known", bits);
}

Status DecodeMath(const Word& word, Instruction* out) {
  constexpr Math kFunctions[] = {Math::kNone, Math::kInv,  Math::kLog,  Math::kExp,  Math::kSqt, Math::kRsqt,
                                 Math::kSin,  Math::kCos,  Math::kNone, Math::kFdiv, Math::kPow, Math::kIdiv,
                                 Math::kIqot, Math::kIrem, Math::kInvm, Math::kRsqtm};
  out->math = kFunctions[word.Get(95, 92)];
  switch (out->math) {
    case Math::kNone:
      return Status::Refuse(kRefused, "math function {} is not known", word.Get(95, 92));
    case Math::kInvm:
    case Math::kRsqtm:
    case Math::kPow:
    case Math::kFdiv:
      // The assembler has no form of these for this platform, or one with accumulators of its own.
      return Status::Refuse(kRefused, "math function {} is not known on this platform", word.Get(95, 92));
    case Math::kIdiv:
    case Math::kIqot:
    case Math::kIrem:
      out->sources = 2;
      break;
    default:
      out->sources = 1;
  }
  return Status::Ok();
}

Status DecodeSync(const Word& word, Instruction* out) {
  switch (word.Get(95, 92)) {
    case 0:
      out->sync = Sync::kNop;
      break;
    case 2:
      out->sync = Sync::kAllRead;
      break;
    case 3:
      out->sync = Sync::kAllWrite;
      break;
    case 14:
      out->sync = Sync::kBarrier;
      break;
    case 15:
      out->sync = Sync::kHost;
      break;
    default:
      return Status::Refuse(kRefused, "sync function {} is not known", word.Get(95, 92));
  }
  Source& source = out->source[0];
  if (word.Bit(46)) {
    if (out->sync != Sync::kAllRead && out->sync != Sync::kAllWrite)
      return Status::Refuse(kRefused, "a sync of this kind with an immediate is not known");
    DXG_TRY(DecodeImmediate(word, word.Get(43, 40), false, &source));
    if (source.type != Type::kUd)
      return Status::Refuse(kRefused, "a sync with an immediate of another type than ud");
    return Status::Ok();
  }
  source.file = File::kArf;
  if (word.Get(63, 50) != 0 || word.Get(39, 35) != 0 || word.Get(87, 64) != 0)
    return Status::Refuse(kRefused, "a sync of a register is not known");
  return Status::Ok();
}

Status DecodeSend(const Word& word, Instruction* out) {
  SendFields& send = out->send;
  send.sfid = static_cast<uint8_t>(word.Get(95, 92));
  if (send.sfid == 1 || send.sfid >= 14)
    return Status::Refuse(kRefused, "shared function {} is not known", send.sfid);
  send.eot = word.Bit(34);
  send.fused = word.Bit(33);
  send.descriptor_in_a0 = word.Bit(48);
  send.extended_in_a0 = word.Bit(49);
  if (!send.descriptor_in_a0)
    send.descriptor = word.Get(123, 122) << 30 | word.Get(71, 67) << 25 | word.Get(55, 51) << 20 |
                      word.Get(121, 113) << 11 | word.Get(91, 81);
  if (send.extended_in_a0) {
    send.extended_subreg = static_cast<uint8_t>(word.Get(42, 40));
  } else {
    send.src1_registers = static_cast<uint8_t>(word.Get(103, 99));
    send.extended_descriptor = word.Get(127, 124) << 28 | word.Get(97, 96) << 26 | word.Get(65, 64) << 24 |
                               word.Get(47, 40) << 16 | word.Get(39, 35) << 11;
  }
  out->destination.file = word.Bit(50) ? File::kGrf : File::kArf;
  out->destination.reg = static_cast<uint8_t>(word.Get(63, 56));
  out->source[0].file = word.Bit(66) ? File::kGrf : File::kArf;
  out->source[0].reg = static_cast<uint8_t>(word.Get(79, 72));
  out->source[1].file = word.Bit(98) ? File::kGrf : File::kArf;
  out->source[1].reg = static_cast<uint8_t>(word.Get(111, 104));
  for (const auto& [file, reg] : {std::pair(out->destination.file, out->destination.reg),
                                  std::pair(out->source[0].file, out->source[0].reg),
                                  std::pair(out->source[1].file, out->source[1].reg)}) {
    if (file == File::kGrf && reg >= kRegisters)
      return Status::Refuse(kRefused, "there is no register r{}", reg);
    if (file == File::kArf && reg != 0)
      return Status::Refuse(kRefused, "a message of architecture register {:#x} is not known", reg);
  }
  return Status::Ok();
}

Status DecodeBranch(const Word& word, const OpRow& row, Instruction* out) {
  if (row.can & gen12lp::kBranchControl) out->branch_control = word.Bit(33);
  if (row.form == Form::kCall) {
    out->destination.file = word.Bit(50) ? File::kGrf : File::kArf;
    out->destination.reg = static_cast<uint8_t>(word.Get(63, 56));
    out->destination.subreg_bytes = static_cast<uint8_t>(word.Get(55, 51));
    out->destination.type = Type::kD;
    if (out->destination.file == File::kArf || out->destination.reg >= kRegisters)
      return Status::Refuse(kRefused, "a return address in register {:#x} is not known",
                            out->destination.reg);
  }
  if (row.form == Form::kReturn && word.Bit(46))
    return Status::Refuse(kRefused, "a return to an immediate is not known");
  if (row.form == Form::kJump && out->lanes != 1)
    return Status::Refuse(kRefused, "{} of {} lanes is not known", row.name, out->lanes);
  if (row.form == Form::kReturn || !word.Bit(46)) {
    if (row.form == Form::kBranch && out->op != Op::kBrd && out->op != Op::kBrc)
      return Status::Refuse(kRefused, "a target in a register is not known");
    Source& source = out->source[0];
    out->jip_in_register = true;
    source.type = Type::kD;
    source.file = word.Bit(66) ? File::kGrf : File::kArf;
    source.reg = static_cast<uint8_t>(word.Get(79, 72));
    source.subreg_bytes = static_cast<uint8_t>(word.Get(71, 67));
    if (source.file == File::kArf)
      return Status::Refuse(kRefused, "a target in architecture register {:#x} is not known", source.reg);
    if (source.reg >= kRegisters) return Status::Refuse(kRefused, "there is no register r{}", source.reg);
    return CheckSubregister(source.file, source.type, source.subreg_bytes);
  }
  out->jip = static_cast<int32_t>(word.Get(127, 96));
  if (row.can & gen12lp::kUip) {
    if (!word.Bit(47)) return Status::Refuse(kRefused, "a second target in a register is not known");
    out->uip = static_cast<int32_t>(word.Get(95, 64));
  }
  return Status::Ok();
}

Status DecodeCommon(const Word& word, const OpRow& row, Instruction* out) {
  out->swsb = static_cast<uint8_t>(word.Get(15, 8));
  if (out->op == Op::kIllegal) return Status::Ok();
  const uint32_t wait = out->swsb >> 4;
  if (wait == 1 || (wait >= 5 && wait < 8))
    return Status::Refuse(kRefused, "wait {:#x} is not known", out->swsb);
  if (row.form == Form::kNone) return Status::Ok();
  const uint32_t size = word.Get(18, 16);
  if (size > 5) return Status::Refuse(kRefused, "execution size {} is not known", size);
  out->lanes = static_cast<uint8_t>(1u << size);
  out->first_lane = static_cast<uint8_t>(word.Get(21, 19) * 4);
  out->flag = static_cast<uint8_t>(word.Get(23, 22));
  const uint32_t predicate = word.Get(27, 24);
  if (predicate > static_cast<uint32_t>(Predicate::kAll32h))
    return Status::Refuse(kRefused, "predicate {} is not known", predicate);
  out->predicate = static_cast<Predicate>(predicate);
  out->predicate_inverted = word.Bit(28);
  if (predicate != 0 &&
      (out->op == Op::kElse || out->op == Op::kEndif || out->op == Op::kCsel || out->op == Op::kSync))
    return Status::Refuse(kRefused, "{} has no predicate", row.name);
  out->write_all = word.Bit(31);
  out->atomic = word.Bit(32);
  return Status::Ok();
}

Status DecodeOperation(const Word& word, const OpRow& row, Instruction* out) {
  out->writes_accumulator = word.Bit(33);
  out->saturate = word.Bit(34);
  if (out->saturate && !(row.can & gen12lp::kSaturate))
    return Status::Refuse(kRefused, "{} does not saturate", row.name);
  // A wide immediate covers the condition's bits.
  const bool is_wide = row.form == Form::kOne && word.Bit(46) && (word.Get(43, 40) & 3) == 3;
  if (row.form == Form::kMath) {
    DXG_TRY(DecodeMath(word, out));
  } else if (!is_wide) {
    DXG_ASSIGN(out->condition, DecodeCondition(word.Get(95, 92)));
    if (out->condition != Condition::kNone && !(row.can & gen12lp::kCondition))
      return Status::Refuse(kRefused, "{} has no condition", row.name);
  }
  if (row.form == Form::kThree) {
    out->sources = 3;
    DXG_TRY(DecodeThree(word, out));
  } else {
    if (row.form != Form::kMath) out->sources = row.form == Form::kTwo ? 2 : 1;
    DXG_TRY(DecodeDestination(word, &out->destination));
    if (row.form == Form::kMath && out->destination.indirect)
      return Status::Refuse(kRefused, "an indirect result of math is not known");
    DXG_TRY(DecodeSource0(word, row, &out->source[0]));
    if (out->sources == 2) DXG_TRY(DecodeSource1(word, &out->source[1]));
  }
  for (const Source& source : out->source) {
    if (row.form == Form::kMath && source.indirect)
      return Status::Refuse(kRefused, "an indirect source of math is not known");
    if (source.absolute && (row.can & gen12lp::kLogic))
      return Status::Refuse(kRefused, "an absolute source of {} is not known", row.name);
    if ((source.negate || source.absolute) && !(row.can & gen12lp::kSourceModifiers))
      return Status::Refuse(kRefused, "{} has no modifiers of sources", row.name);
  }
  return Status::Ok();
}

}  // namespace

Result<Instruction> Decode(std::span<const std::byte> bytes) {
  Word word;
  if (bytes.size() < kCompactInstructionBytes)
    return Status::Refuse(kRefused, "{} bytes; expected an instruction of 8 or 16", bytes.size());
  std::memcpy(word.half, bytes.data(), kCompactInstructionBytes);
  Instruction out;
  const OpRow* row = gen12lp::FindOp(word.Get(6, 0));
  if (!row) return Status::Refuse(kRefused, "there is no operation {:#x}", word.Get(6, 0));
  out.op = row->op;
  if (word.Bit(gen12lp::kCompactBit)) {
    const std::optional<Word> whole = gen12lp::Uncompact(word.half[0], *row);
    if (!whole) return Status::Refuse(kRefused, "{} has no compact form", row->name);
    word = *whole;
    out.size_bytes = kCompactInstructionBytes;
  } else {
    if (bytes.size() < kInstructionBytes)
      return Status::Refuse(kRefused, "{} bytes; expected an instruction of 16", bytes.size());
    std::memcpy(word.half, bytes.data(), kInstructionBytes);
  }
  std::memcpy(out.word, word.half, sizeof(out.word));
  DXG_TRY(DecodeCommon(word, *row, &out));
  switch (row->form) {
    case Form::kNone:
      break;
    case Form::kSync:
      DXG_TRY(DecodeSync(word, &out));
      break;
    case Form::kOne:
    case Form::kTwo:
    case Form::kThree:
    case Form::kMath:
      DXG_TRY(DecodeOperation(word, *row, &out));
      break;
    case Form::kSend:
      DXG_TRY(DecodeSend(word, &out));
      break;
    case Form::kBranch:
    case Form::kCall:
    case Form::kReturn:
    case Form::kJump:
      DXG_TRY(DecodeBranch(word, *row, &out));
      break;
  }
  return out;
}

}  // namespace dxg::hostsim::eu
