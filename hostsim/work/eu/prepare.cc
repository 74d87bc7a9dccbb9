#include <fmt/format.h>

#include <bit>
#include <cstddef>

#include "hostsim/work/eu/operands.h"

namespace dxg::hostsim::eu {
namespace {

// A range of bytes of the Thread in which an operand must lie.
struct Storage {
  uint32_t begin = 0, bytes = 0;
};

template <size_t kBegin, typename Member>
constexpr Storage StorageOf() {
  return {static_cast<uint32_t>(kBegin), static_cast<uint32_t>(sizeof(Member))};
}

// Nothing: no instruction may use it so.
Storage StorageOf(File file, uint8_t reg, bool is_destination) {
  if (file == File::kGrf) return StorageOf<offsetof(Thread, grf), decltype(Thread::grf)>();
  switch (static_cast<Arf>(reg >> 4)) {
    case Arf::kAddress:
      return StorageOf<offsetof(Thread, address), decltype(Thread::address)>();
    case Arf::kAccumulator:
      return StorageOf<offsetof(Thread, accumulator), decltype(Thread::accumulator)>();
    case Arf::kFlag:
      return StorageOf<offsetof(Thread, flag), decltype(Thread::flag)>();
    case Arf::kControl:
      return StorageOf<offsetof(Thread, control), decltype(Thread::control)>();
    case Arf::kState:
      if (is_destination || (reg & 15) != 0) return {};
      return StorageOf<offsetof(Thread, state), decltype(Thread::state)>();
    default:
      return {};
  }
}

uint32_t RegisterOffset(File file, uint8_t reg) {
  if (file == File::kGrf) return reg * kRegisterBytes;
  switch (static_cast<Arf>(reg >> 4)) {
    case Arf::kAccumulator:
      return (reg & 15) * kRegisterBytes;
    case Arf::kFlag:
      return (reg & 15) * static_cast<uint32_t>(sizeof(uint32_t));
    default:
      return 0;
  }
}

bool IsNull(File file, uint8_t reg) {
  return file == File::kNone || (file == File::kArf && reg >> 4 == static_cast<uint8_t>(Arf::kNull));
}

bool IsAccumulator(File file, uint8_t reg) {
  return file == File::kArf && reg >> 4 == static_cast<uint8_t>(Arf::kAccumulator);
}

// Whether the accumulator's bytes are known to have elements of this type where a register has them.
bool FitsAccumulator(Type type) { return BytesOf(type) == 4 || BytesOf(type) == 2; }

const char* CheckType(Type type) {
  return BytesOf(type) == 8 ? "a type of 64 bits" : type == Type::kVf ? "a vector of floats" : nullptr;
}

const char* PlaceRegion(const Storage& storage, uint32_t offset, uint32_t lanes, Place* place) {
  if (storage.bytes == 0) return "this architecture register";
  const uint32_t rows = (lanes - 1) >> place->width_log2;
  const uint32_t columns = std::min(lanes, 1u << place->width_log2) - 1;
  const uint32_t end =
      offset + rows * place->row_bytes + columns * place->column_bytes + BytesOf(place->type);
  if (end > storage.bytes) return "a region beyond its registers";
  place->kind = Place::kRegion;
  place->base = storage.begin + offset;
  place->is_linear =
      rows == 0 || place->width_log2 == 0 || place->row_bytes == place->column_bytes << place->width_log2;
  place->lane_bytes = place->width_log2 == 0 ? place->row_bytes : place->column_bytes;
  return nullptr;
}

const char* PlaceSource(const Source& source, uint32_t lanes, Place* place) {
  if (const char* why = CheckType(source.type)) return why;
  const uint32_t bytes = BytesOf(source.type);
  place->type = source.type;
  place->negate = source.negate;
  place->absolute = source.absolute;
  if (source.file == File::kImmediate) {
    place->kind = source.type == Type::kV || source.type == Type::kUv ? Place::kPattern : Place::kImmediate;
    place->value = bytes == 2 ? source.immediate & 0xffff : source.immediate;
    place->dword = source.type == Type::kW ? static_cast<uint32_t>(static_cast<int16_t>(place->value))
                                           : static_cast<uint32_t>(place->value);
    return nullptr;
  }
  place->width_log2 = static_cast<uint8_t>(std::countr_zero(source.width));
  place->column_bytes = static_cast<uint16_t>(source.stride * bytes);
  place->row_bytes =
      static_cast<uint16_t>(source.vertical_stride == Source::kVxH ? 0 : source.vertical_stride * bytes);
  if (source.indirect) {
    const bool rows = source.vertical_stride == Source::kVxH;
    const uint32_t last = source.address_subreg + (rows ? (lanes - 1) >> place->width_log2 : 0);
    if (last >= std::size(decltype(Thread::address){})) return "address registers beyond a0.15";
    place->kind = rows ? Place::kIndirectRows : Place::kIndirect;
    place->address_subreg = source.address_subreg;
    place->address_offset = source.address_offset;
    return nullptr;
  }
  if (IsNull(source.file, source.reg)) return "a null source";
  if (source.file == File::kArf && source.reg >> 4 == static_cast<uint8_t>(Arf::kChannelEnable)) {
    if (source.type != Type::kUd) return "a lane mask of another type than ud";
    place->kind = Place::kLaneMask;
    return nullptr;
  }
  if (IsAccumulator(source.file, source.reg) && !FitsAccumulator(source.type))
    return "an accumulator of this type";
  return PlaceRegion(StorageOf(source.file, source.reg, false),
                     RegisterOffset(source.file, source.reg) + source.subreg_bytes, lanes, place);
}

const char* PlaceDestination(const Destination& to, uint32_t lanes, Place* place) {
  if (const char* why = CheckType(to.type)) return why;
  place->type = to.type;
  if (IsNull(to.file, to.reg) && !to.indirect) return nullptr;
  place->width_log2 = 5;
  place->column_bytes = static_cast<uint16_t>(to.stride * BytesOf(to.type));
  if (to.indirect) {
    place->kind = Place::kIndirect;
    place->address_subreg = to.address_subreg;
    place->address_offset = to.address_offset;
    return nullptr;
  }
  if (IsAccumulator(to.file, to.reg) && !FitsAccumulator(to.type)) return "an accumulator of this type";
  return PlaceRegion(StorageOf(to.file, to.reg, true), RegisterOffset(to.file, to.reg) + to.subreg_bytes,
                     lanes, place);
}

// The flag bits of the lanes have to be in one register.
const char* PlaceFlag(const Instruction& in, Step* step) {
  step->flag_register = in.flag / 2;
  const uint32_t half = in.flag % 2 * 16u;
  step->flag_bit = static_cast<uint8_t>(half + in.first_lane);
  const bool per_lane = in.predicate == Predicate::kLane || in.condition != Condition::kNone;
  if (per_lane && step->flag_bit + in.lanes > 32) return "flag bits beyond their register";
  if (in.predicate == Predicate::kAnyV || in.predicate == Predicate::kAllV)
    return "a predicate of two registers";
  return nullptr;
}

const char* PrepareBranch(const Instruction& in, Step* step) {
  if (in.first_lane != 0) return "a branch of a part of the lanes";
  if (in.jip_in_register) return "a branch to an address in a register";
  switch (in.op) {
    case Op::kIf:
      step->kind = Step::kIf;
      break;
    case Op::kElse:
      step->kind = Step::kElse;
      break;
    case Op::kEndif:
      step->kind = Step::kEndif;
      break;
    case Op::kJoin:
      if (in.predicate != Predicate::kNone) return "a join with a predicate";
      step->kind = Step::kEndif;
      break;
    case Op::kWhile:
      step->kind = Step::kWhile;
      break;
    case Op::kBreak:
      step->kind = Step::kBreak;
      break;
    case Op::kGoto:
      step->kind = in.branch_control ? Step::kGotoBack : Step::kGoto;
      return nullptr;
    case Op::kCall:
    case Op::kCalla:
    case Op::kRet:
      return "a call (recursion, or a function's address)";
    default:
      return "this kind of branch";
  }
  return in.branch_control ? "this kind of branch control" : nullptr;
}

const char* PrepareSync(const Instruction& in, Step* step) {
  if (in.sync == Sync::kHost) return "a wait for the host";
  step->kind = in.sync == Sync::kBarrier ? Step::kBarrier : Step::kNothing;
  return nullptr;
}

// The compiler puts these before branches.
bool ChoosesItself(const Step& step) {
  if (step.op != Op::kCsel || step.saturate || step.writes_accumulator || step.to.kind != Place::kRegion)
    return false;
  for (int i = 0; i < 2; ++i) {
    const Place& from = step.from[i];
    const uint32_t row = from.column_bytes << from.width_log2;
    if (from.kind != Place::kRegion || from.base != step.to.base || from.type != step.to.type ||
        from.negate || from.absolute || from.column_bytes != step.to.column_bytes ||
        (from.row_bytes != row && 1 << from.width_log2 < step.lanes))
      return false;
  }
  return true;
}

// For how many cycles the thread would like to be left alone, while it waits for a lock: nothing depends on
// it.
bool IsPause(const Instruction& in) {
  const Destination& to = in.destination;
  return in.op == Op::kMov && to.file == File::kArf && !to.indirect && to.type == Type::kUd &&
         to.reg == static_cast<uint8_t>(Arf::kTimestamp) << 4 && to.subreg_bytes == 16 && in.lanes == 1 &&
         in.source[0].file == File::kImmediate && in.condition == Condition::kNone && !in.writes_accumulator;
}

// A vector of eight elements stands for eight words. A lane has the one at the place of its result: of
// dwords, every other.
const char* PlacePattern(const Destination& to, uint32_t lanes, Place* place) {
  const uint32_t step = to.stride * BytesOf(to.type);
  if (step < 2) return "a vector of elements for bytes";
  if ((lanes - 1) * step / 2 > 7) return "a vector with elements for some of the lanes";
  place->column_bytes = static_cast<uint16_t>(step);
  return nullptr;
}

std::string PrepareOperation(const Instruction& in, Handlers handlers, Step* step) {
  if (IsPause(in)) {
    step->kind = Step::kNothing;
    return "";
  }
  step->is_selector = in.op == Op::kSel && in.predicate != Predicate::kNone;
  if (const char* why = PlaceDestination(in.destination, in.lanes, &step->to)) return why;
  for (int i = 0; i < in.sources; ++i) {
    Place& from = step->from[i];
    if (const char* why = PlaceSource(in.source[i], in.lanes, &from)) return why;
    if (from.kind != Place::kPattern) continue;
    if (const char* why = PlacePattern(in.destination, in.lanes, &from)) return why;
  }
  if (step->writes_accumulator) {
    const uint32_t bytes = BytesOf(step->to.type) * step->lanes;
    if (!FitsAccumulator(step->to.type) || bytes > sizeof(Thread::accumulator))
      return "an accumulator of this type";
    if (in.op == Op::kCmp || IsAccumulator(in.destination.file, in.destination.reg)) return "AccWrEn here";
  }
  if (in.op == Op::kMach && in.lanes * 4u > sizeof(Thread::accumulator))
    return "more lanes than the accumulator";
  step->writes_state =
      in.destination.file == File::kArf && in.destination.reg >> 4 == static_cast<uint8_t>(Arf::kControl);
  if (step->writes_state && step->to.type != Type::kUd) return "a control register of another type than ud";
  step->kind = Step::kOperation;
  std::string why;
  step->any = GenericHandler(*step, &why);
  if (!step->any) return why.empty() ? "this operation" : why;
  step->plain = step->any;
  if (ChoosesItself(*step)) {
    step->kind = Step::kNothing;
    return "";
  }
  if (handlers != Handlers::kGeneric)
    if (const Handler fast = FastHandler(*step, handlers)) step->plain = fast;
  return "";
}

}  // namespace

uint32_t PredicateOf(const Thread& thread, const Step& step) {
  const uint32_t flag = thread.flag[step.flag_register];
  const uint32_t all = step.lanes == 32 ? ~0u : (1u << step.lanes) - 1;
  if (step.predicate == Predicate::kNone) return all;
  uint32_t holds = 0;
  if (step.predicate == Predicate::kLane) {
    holds = flag >> step.flag_bit;
  } else {
    // Groups of lanes, counted from the flag's begin.
    const uint32_t kind = static_cast<uint32_t>(step.predicate) - static_cast<uint32_t>(Predicate::kAny2h);
    const uint32_t group = 2u << (kind / 2);
    const uint32_t begin = step.flag_bit - step.first_lane;
    for (uint32_t lane = 0; lane < step.lanes; lane += group) {
      const uint32_t ones = group == 32 ? ~0u : (1u << group) - 1;
      const uint32_t bits = begin + lane < 32 ? flag >> (begin + lane) & ones : 0;
      const bool value = kind % 2 ? bits == ones : bits != 0;
      if (value) holds |= ones << lane;
    }
  }
  return (step.predicate_inverted ? ~holds : holds) & all;
}

std::string Prepare(const Instruction& in, Handlers handlers, Step* step) {
  step->op = in.op;
  step->lanes = in.lanes;
  step->first_lane = in.first_lane;
  step->write_all = in.write_all;
  step->predicate = in.predicate;
  step->predicate_inverted = in.predicate_inverted;
  step->math = in.math;
  step->condition = in.condition;
  step->saturate = in.saturate;
  step->writes_accumulator = in.writes_accumulator;
  step->sources = in.sources;
  if (in.first_lane + in.lanes > kLanesMax) return "lanes beyond the 32nd";
  if (in.atomic) return "an atomic instruction";
  if (const char* why = PlaceFlag(in, step)) return why;
  const char* why = nullptr;
  switch (in.op) {
    case Op::kIllegal:
      return "an illegal instruction";
    case Op::kNop:
      step->kind = Step::kNothing;
      return "";
    case Op::kSync:
      why = PrepareSync(in, step);
      break;
    case Op::kSend:
    case Op::kSendc:
      step->kind = Step::kSend;
      return "";
    case Op::kJmpi:
    case Op::kBrd:
    case Op::kBrc:
    case Op::kIf:
    case Op::kElse:
    case Op::kEndif:
    case Op::kWhile:
    case Op::kBreak:
    case Op::kCont:
    case Op::kHalt:
    case Op::kCalla:
    case Op::kCall:
    case Op::kRet:
    case Op::kGoto:
    case Op::kJoin:
      why = PrepareBranch(in, step);
      break;
    default:
      return PrepareOperation(in, handlers, step);
  }
  return why ? why : "";
}

}  // namespace dxg::hostsim::eu
