#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cfenv>
#include <cmath>
#include <cstddef>

#include "hostsim/work/eu/math.h"
#include "hostsim/work/eu/operands.h"

// The operations, lane by lane, for all types and modifiers of which it is known what the EU does with them.
// Sources: the published manuals of Intel's graphics (volume "Execution Unit", for Ice Lake), and what
// Intel's compiler makes of C.

namespace dxg::hostsim::eu {
namespace {

struct NearestRounding {
  NearestRounding() : before(std::fegetround()) {
    if (before != FE_TONEAREST) std::fesetround(FE_TONEAREST);
  }
  ~NearestRounding() {
    if (before != FE_TONEAREST) std::fesetround(before);
  }
  int before;
};

template <typename T>
bool Holds(Condition condition, T a, T b) {
  switch (condition) {
    case Condition::kEq:
      return a == b;
    case Condition::kNe:
      return a != b;
    case Condition::kGt:
      return a > b;
    case Condition::kGe:
      return a >= b;
    case Condition::kLt:
      return a < b;
    case Condition::kLe:
      return a <= b;
    case Condition::kUnordered:
      return a != a || b != b;
    default:
      return false;
  }
}

template <typename T>
uint32_t CompareAll(const Step& step, const T* a, const T* b) {
  uint32_t bits = 0;
  for (uint32_t lane = 0; lane < step.lanes; ++lane)
    bits |= uint32_t{Holds(step.condition, a[lane], b[lane])} << lane;
  return bits;
}

// The condition of the results, which are compared with 0.
template <typename T>
void SetFlags(Thread& thread, const Step& step, uint32_t lanes, const T* values) {
  if (step.condition == Condition::kNone) return;
  const T zeros[kLanesMax] = {};
  StoreFlags(thread, step, lanes, CompareAll(step, values, zeros));
}

bool IsLogic(Op op) { return op == Op::kNot || op == Op::kAnd || op == Op::kOr || op == Op::kXor; }

// -- Integers in, integers out.

int64_t ShiftRightLogical(const Step& step, int64_t a, int64_t b) {
  // A signed dword is shifted as its bits.
  const uint64_t value = step.from[0].type == Type::kD ? static_cast<uint32_t>(a) : static_cast<uint64_t>(a);
  return static_cast<int64_t>(value >> (b & 31));
}

int64_t Rotate(const Step& step, int64_t a, int64_t b, bool left) {
  if (BytesOf(step.from[0].type) == 2) {
    const auto value = static_cast<uint16_t>(a);
    return left ? std::rotl(value, static_cast<int>(b & 15)) : std::rotr(value, static_cast<int>(b & 15));
  }
  const auto value = static_cast<uint32_t>(a);
  return left ? std::rotl(value, static_cast<int>(b & 31)) : std::rotr(value, static_cast<int>(b & 31));
}

int64_t Product(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
}

int64_t ReverseBits(int64_t a) {
  auto value = static_cast<uint32_t>(a);
  value = (value >> 1 & 0x55555555) | (value & 0x55555555) << 1;
  value = (value >> 2 & 0x33333333) | (value & 0x33333333) << 2;
  value = (value >> 4 & 0x0f0f0f0f) | (value & 0x0f0f0f0f) << 4;
  return __builtin_bswap32(value);
}

// Counts from the highest bit; of a signed number those like its sign.
int64_t FirstFromHigh(const Step& step, int64_t a) {
  auto value = static_cast<uint32_t>(a);
  if (step.from[0].type == Type::kD && a < 0) value = ~value;
  return value == 0 ? 0xffffffff : std::countl_zero(value);
}

int64_t ExtractBits(const Step& step, int64_t width, int64_t offset, int64_t value) {
  const int bits = static_cast<int>(width & 31), low = static_cast<int>(offset & 31);
  if (bits == 0) return 0;
  const bool is_signed = step.from[2].type == Type::kD;
  if (bits + low >= 32)
    return is_signed ? static_cast<int32_t>(value) >> low : static_cast<uint32_t>(value) >> low;
  const uint32_t high = static_cast<uint32_t>(value) << (32 - bits - low);
  return is_signed ? static_cast<int32_t>(high) >> (32 - bits) : high >> (32 - bits);
}

int64_t DotProduct(const Step& step, int64_t sum, int64_t a, int64_t b) {
  for (int byte = 0; byte < 4; ++byte) {
    const auto x = static_cast<uint8_t>(a >> (8 * byte)), y = static_cast<uint8_t>(b >> (8 * byte));
    sum += int64_t{step.from[1].type == Type::kD ? static_cast<int8_t>(x) : x} *
           (step.from[2].type == Type::kD ? static_cast<int8_t>(y) : y);
  }
  return sum;
}

int64_t Integer(const Step& step, int64_t a, int64_t b, int64_t c) {
  switch (step.op) {
    case Op::kMov:
      return a;
    case Op::kNot:
      return ~a;
    case Op::kAnd:
      return a & b;
    case Op::kOr:
      return a | b;
    case Op::kXor:
      return a ^ b;
    case Op::kAdd:
      return a + b;
    case Op::kMul:
      return Product(a, b);
    case Op::kMad:
      return a + Product(b, c);
    case Op::kAvg:
      return (a + b + 1) >> 1;
    case Op::kShl:
      return static_cast<int64_t>(static_cast<uint64_t>(a) << (b & 31));
    case Op::kShr:
      return ShiftRightLogical(step, a, b);
    case Op::kAsr:
      return a >> (b & 31);
    case Op::kRol:
      return Rotate(step, a, b, true);
    case Op::kRor:
      return Rotate(step, a, b, false);
    case Op::kLzd:
      return std::countl_zero(static_cast<uint32_t>(a));
    case Op::kFbh:
      return FirstFromHigh(step, a);
    case Op::kFbl:
      return static_cast<uint32_t>(a) == 0 ? 0xffffffff : std::countr_zero(static_cast<uint32_t>(a));
    case Op::kCbit:
      return std::popcount(static_cast<uint64_t>(a) &
                           (~uint64_t{0} >> (64 - 8 * BytesOf(step.from[0].type))));
    case Op::kBfrev:
      return ReverseBits(a);
    case Op::kBfe:
      return ExtractBits(step, a, b, c);
    case Op::kBfi1:
      return static_cast<uint32_t>(((uint64_t{1} << (a & 31)) - 1) << (b & 31));
    case Op::kBfi2:
      return (b & a) | (c & ~a);
    case Op::kDp4a:
      return DotProduct(step, a, b, c);
    default:
      return 0;
  }
}

const char* ExecuteInteger(Thread& thread, const Step& step, uint32_t lanes) {
  int64_t values[3][kLanesMax] = {};
  for (uint32_t i = 0; i < step.sources; ++i) {
    Place from = step.from[i];
    if (IsLogic(step.op)) from.negate = false;
    if (const char* why = FetchIntegers(thread, step, from, lanes, values[i])) return why;
    if (IsLogic(step.op) && step.from[i].negate)
      for (int64_t& value : values[i]) value = ~value;
  }
  int64_t results[kLanesMax];
  for (uint32_t lane = 0; lane < step.lanes; ++lane)
    results[lane] = Integer(step, values[0][lane], values[1][lane], values[2][lane]);
  if (const char* why = StoreIntegers(thread, step, lanes, results)) return why;
  SetFlags(thread, step, lanes, results);
  return nullptr;
}

// Product of a dword and a word in the accumulator, plus that of the dword and the other word: the whole
// product of 64 bits. With AccWrEn its high half is the result, without its low half (the assembler's macl).
const char* ExecuteMach(Thread& thread, const Step& step, uint32_t lanes) {
  int64_t a[kLanesMax], b[kLanesMax];
  if (const char* why = FetchIntegers(thread, step, step.from[0], lanes, a)) return why;
  if (const char* why = FetchIntegers(thread, step, step.from[1], lanes, b)) return why;
  Step to_destination = step;
  to_destination.writes_accumulator = false;
  int64_t results[kLanesMax] = {};
  for (uint32_t lane = 0; lane < step.lanes; ++lane) {
    uint32_t low;
    std::memcpy(&low, thread.accumulator + 4 * lane, sizeof(low));
    const uint64_t sum =
        (static_cast<uint64_t>(static_cast<uint32_t>(thread.accumulator_high[lane])) << 32 | low) +
        (static_cast<uint64_t>(Product(a[lane], b[lane] >> 16)) << 16);
    results[lane] = static_cast<int64_t>(step.writes_accumulator ? sum >> 32 : sum & 0xffffffff);
    if (!step.writes_accumulator || !(lanes >> lane & 1)) continue;
    low = static_cast<uint32_t>(sum);
    std::memcpy(thread.accumulator + 4 * lane, &low, sizeof(low));
    thread.accumulator_high[lane] = 0;
  }
  return StoreIntegers(thread, to_destination, lanes, results);
}

// The carry, or the borrow, goes to the accumulator.
const char* ExecuteCarry(Thread& thread, const Step& step, uint32_t lanes) {
  int64_t a[kLanesMax], b[kLanesMax], results[kLanesMax], carries[kLanesMax];
  if (const char* why = FetchIntegers(thread, step, step.from[0], lanes, a)) return why;
  if (const char* why = FetchIntegers(thread, step, step.from[1], lanes, b)) return why;
  for (uint32_t lane = 0; lane < step.lanes; ++lane) {
    results[lane] = step.op == Op::kAddc ? a[lane] + b[lane] : a[lane] - b[lane];
    carries[lane] = step.op == Op::kAddc ? results[lane] >> 32 : a[lane] < b[lane];
  }
  Step to_destination = step;
  to_destination.writes_accumulator = false;
  if (const char* why = StoreIntegers(thread, to_destination, lanes, results)) return why;
  Step to_accumulator = step;
  to_accumulator.to.kind = Place::kNone;
  if (const char* why = StoreIntegers(thread, to_accumulator, lanes, carries)) return why;
  SetFlags(thread, step, lanes, results);
  return nullptr;
}

const char* ExecuteIntegerMath(Thread& thread, const Step& step, uint32_t lanes) {
  int64_t a[kLanesMax], b[kLanesMax], results[kLanesMax];
  if (const char* why = FetchIntegers(thread, step, step.from[0], lanes, a)) return why;
  if (const char* why = FetchIntegers(thread, step, step.from[1], lanes, b)) return why;
  for (uint32_t lane = 0; lane < step.lanes; ++lane)
    results[lane] = IntegerMath(step.math, IsSigned(step.from[0].type), a[lane], b[lane]);
  return StoreIntegers(thread, step, lanes, results);
}

// -- Floats in, floats out.

float RoundToEven(float a) {
  if (!(std::fabs(a) < 0x1p23f)) return a;
  float whole = std::trunc(a);
  const float rest = std::fabs(a - whole);
  if (rest > 0.5f || (rest == 0.5f && std::fmod(whole, 2.0f) != 0)) whole += std::copysign(1.0f, a);
  return std::copysign(whole, a);
}

float Float(const Step& step, float a, float b, float c) {
  switch (step.op) {
    case Op::kMov:
      return a;
    case Op::kAdd:
      return a + b;
    case Op::kMul:
      return a * b;
    case Op::kMad:
      return std::fma(b, c, a);
    case Op::kRndu:
      return std::ceil(a);
    case Op::kRndd:
      return std::floor(a);
    case Op::kRnde:
      return RoundToEven(a);
    case Op::kRndz:
      return std::trunc(a);
    case Op::kFrc:
      return a - std::floor(a);
    default:
      return 0;
  }
}

bool IsHalfMad(const Step& step) {
  if (step.op != Op::kMad || step.to.type != Type::kHf) return false;
  return step.from[0].type == Type::kHf && step.from[1].type == Type::kHf && step.from[2].type == Type::kHf;
}

const char* ExecuteFloat(Thread& thread, const Step& step, uint32_t lanes) {
  float values[3][kLanesMax] = {};
  for (uint32_t i = 0; i < step.sources; ++i)
    if (const char* why = FetchFloats(thread, step, step.from[i], lanes, values[i])) return why;
  float results[kLanesMax];
  if (IsHalfMad(step)) {
    const NearestRounding nearest;
    const Modes modes(thread);
    for (uint32_t lane = 0; lane < step.lanes; ++lane)
      results[lane] = FloatOfHalf(HalfMad(values[1][lane], values[2][lane], values[0][lane], modes.rounding));
  } else if (step.op == Op::kMath) {
    for (uint32_t lane = 0; lane < step.lanes; ++lane)
      results[lane] = (lanes >> lane & 1) ? FloatMath(step.math, values[0][lane]) : 0;
  } else {
    for (uint32_t lane = 0; lane < step.lanes; ++lane)
      results[lane] = Float(step, values[0][lane], values[1][lane], values[2][lane]);
  }
  if (const char* why = StoreFloats(thread, step, lanes, results)) return why;
  SetFlags(thread, step, lanes, results);
  return nullptr;
}

// -- From one kind to the other.

const char* ExecuteToFloat(Thread& thread, const Step& step, uint32_t lanes) {
  int64_t values[kLanesMax];
  if (const char* why = FetchIntegers(thread, step, step.from[0], lanes, values)) return why;
  const Modes modes(thread);
  float results[kLanesMax];
  for (uint32_t lane = 0; lane < step.lanes; ++lane)
    results[lane] = step.to.type == Type::kHf
                        ? FloatOfHalf(HalfOfDouble(static_cast<double>(values[lane]), modes.rounding))
                        : static_cast<float>(values[lane]);
  if (const char* why = StoreFloats(thread, step, lanes, results)) return why;
  SetFlags(thread, step, lanes, results);
  return nullptr;
}

const char* ExecuteToInteger(Thread& thread, const Step& step, uint32_t lanes) {
  float values[kLanesMax];
  if (const char* why = FetchFloats(thread, step, step.from[0], lanes, values)) return why;
  int64_t results[kLanesMax];
  for (uint32_t lane = 0; lane < step.lanes; ++lane) {
    const float value = values[lane];
    results[lane] = std::isnan(value) ? 0 : static_cast<int64_t>(std::clamp(value, -0x1p40f, 0x1p40f));
  }
  // Numbers that do not fit become the nearest that does, with and without (sat).
  Step saturating = step;
  saturating.saturate = true;
  if (const char* why = StoreIntegers(thread, saturating, lanes, results)) return why;
  SetFlags(thread, step, lanes, results);
  return nullptr;
}

// -- Comparisons and choices.

const char* StoreComparison(Thread& thread, const Step& step, uint32_t lanes, uint32_t bits) {
  StoreFlags(thread, step, lanes, bits);
  if (step.to.kind == Place::kNone && !step.writes_accumulator) return nullptr;
  uint64_t values[kLanesMax];
  for (uint32_t lane = 0; lane < step.lanes; ++lane) values[lane] = bits >> lane & 1 ? ~uint64_t{0} : 0;
  return StoreBits(thread, step, lanes, values);
}

const char* ExecuteCompareIntegers(Thread& thread, const Step& step, uint32_t lanes) {
  int64_t a[kLanesMax], b[kLanesMax];
  if (const char* why = FetchIntegers(thread, step, step.from[0], lanes, a)) return why;
  if (const char* why = FetchIntegers(thread, step, step.from[1], lanes, b)) return why;
  return StoreComparison(thread, step, lanes, CompareAll(step, a, b));
}

const char* ExecuteCompareFloats(Thread& thread, const Step& step, uint32_t lanes) {
  float a[kLanesMax], b[kLanesMax];
  if (const char* why = FetchFloats(thread, step, step.from[0], lanes, a)) return why;
  if (const char* why = FetchFloats(thread, step, step.from[1], lanes, b)) return why;
  return StoreComparison(thread, step, lanes, CompareAll(step, a, b));
}

template <typename T>
bool IsNan(T value) {
  return value != value;
}

// Which lanes take the first source: by the predicate, by the smaller or larger of the two, or by the third.
// A number is preferred to what is none.
template <typename T>
uint32_t Choice(const Thread& thread, const Step& step, const T* a, const T* b, const T* c) {
  uint32_t first = 0;
  if (step.op == Op::kCsel) {
    const T zeros[kLanesMax] = {};
    return CompareAll(step, c, zeros);
  }
  if (step.condition == Condition::kNone) return PredicateOf(thread, step);
  for (uint32_t lane = 0; lane < step.lanes; ++lane)
    first |= uint32_t{IsNan(b[lane]) || Holds(step.condition, a[lane], b[lane])} << lane;
  return first;
}

const char* ExecuteChooseIntegers(Thread& thread, const Step& step, uint32_t lanes) {
  int64_t values[3][kLanesMax] = {};
  for (uint32_t i = 0; i < step.sources; ++i)
    if (const char* why = FetchIntegers(thread, step, step.from[i], lanes, values[i])) return why;
  const uint32_t first = Choice(thread, step, values[0], values[1], values[2]);
  for (uint32_t lane = 0; lane < step.lanes; ++lane)
    if (!(first >> lane & 1)) values[0][lane] = values[1][lane];
  return StoreIntegers(thread, step, lanes, values[0]);
}

// The bits of floats, with at most the sign changed.
const char* FetchSigned(const Thread& thread, const Step& step, const Place& from, uint32_t lanes,
                        uint64_t* bits) {
  if (const char* why = FetchBits(thread, step, from, lanes, bits)) return why;
  const uint64_t sign = uint64_t{1} << (8 * BytesOf(from.type) - 1);
  for (uint32_t lane = 0; lane < step.lanes; ++lane) {
    if (from.absolute) bits[lane] &= ~sign;
    if (from.negate) bits[lane] ^= sign;
  }
  return nullptr;
}

const char* ExecuteChooseFloats(Thread& thread, const Step& step, uint32_t lanes) {
  float values[3][kLanesMax] = {};
  for (uint32_t i = 0; i < step.sources; ++i)
    if (const char* why = FetchFloats(thread, step, step.from[i], lanes, values[i])) return why;
  const uint32_t first = Choice(thread, step, values[0], values[1], values[2]);
  if (!step.saturate && step.from[0].type == step.to.type && step.from[1].type == step.to.type) {
    uint64_t bits[2][kLanesMax];
    for (int i = 0; i < 2; ++i)
      if (const char* why = FetchSigned(thread, step, step.from[i], lanes, bits[i])) return why;
    for (uint32_t lane = 0; lane < step.lanes; ++lane)
      if (!(first >> lane & 1)) bits[0][lane] = bits[1][lane];
    return StoreBits(thread, step, lanes, bits[0]);
  }
  for (uint32_t lane = 0; lane < step.lanes; ++lane)
    if (!(first >> lane & 1)) values[0][lane] = values[1][lane];
  return StoreFloats(thread, step, lanes, values[0]);
}

// A move between equal types copies bits, and changes at most the sign.
const char* ExecuteCopy(Thread& thread, const Step& step, uint32_t lanes) {
  uint64_t bits[kLanesMax];
  if (const char* why = FetchSigned(thread, step, step.from[0], lanes, bits)) return why;
  return StoreBits(thread, step, lanes, bits);
}

// -- Which of them.

enum class Class { kInteger, kFloat, kMixed };

Class SourceClass(const Step& step) {
  uint32_t floats = 0;
  for (uint32_t i = 0; i < step.sources; ++i) floats += IsFloat(step.from[i].type);
  return floats == 0 ? Class::kInteger : floats == step.sources ? Class::kFloat : Class::kMixed;
}

bool IsDword(Type type) { return type == Type::kD || type == Type::kUd; }

bool IsChoice(Op op) { return op == Op::kSel || op == Op::kCsel; }

// What is known of integers only for some types.
const char* CheckIntegers(const Step& step) {
  const Type a = step.from[0].type, b = step.from[1].type, c = step.from[2].type;
  const bool all_dwords = IsDword(a) && (step.sources < 2 || IsDword(b)) && (step.sources < 3 || IsDword(c));
  switch (step.op) {
    case Op::kMul:
      if (BytesOf(b) > 2) return "a product with a dword as second factor";
      return step.saturate ? "a saturated product of integers" : nullptr;
    case Op::kMad:
      return BytesOf(c) > 2 ? "a product with a dword as second factor" : nullptr;
    case Op::kMach:
      return all_dwords && IsDword(step.to.type) ? nullptr : "of other types than dwords";
    case Op::kAddc:
    case Op::kSubb:
      if (a != Type::kUd || b != Type::kUd || step.to.type != Type::kUd) return "of other types than ud";
      return step.writes_accumulator ? nullptr : "without AccWrEn";
    case Op::kShr:
      if (IsSigned(a) && a != Type::kD) return "of a signed word or byte";
      return step.saturate ? "a saturated shift" : nullptr;
    case Op::kAsr:
      if (!IsSigned(a)) return "of an unsigned number";
      return step.saturate ? "a saturated shift" : nullptr;
    case Op::kShl:
      return step.saturate ? "a saturated shift" : nullptr;
    case Op::kRol:
    case Op::kRor:
      return BytesOf(a) >= 2 && BytesOf(a) == BytesOf(step.to.type) ? nullptr : "of these types";
    case Op::kLzd:
    case Op::kBfrev:
      return a == Type::kUd ? nullptr : "of another type than ud";
    case Op::kFbl:
      return all_dwords || a == Type::kUw ? nullptr : "of other types than dwords";
    case Op::kFbh:
    case Op::kBfe:
    case Op::kBfi1:
    case Op::kBfi2:
    case Op::kDp4a:
      return all_dwords ? nullptr : "of other types than dwords";
    case Op::kMov:
    case Op::kNot:
    case Op::kAnd:
    case Op::kOr:
    case Op::kXor:
    case Op::kAdd:
    case Op::kAvg:
    case Op::kCbit:
      return nullptr;
    default:
      return "of integers";
  }
}

const char* CheckFloats(const Step& step) {
  switch (step.op) {
    case Op::kMov:
    case Op::kAdd:
    case Op::kMul:
    case Op::kMad:
    case Op::kRndu:
    case Op::kRndd:
    case Op::kRnde:
    case Op::kRndz:
    case Op::kFrc:
    case Op::kMath:
      return nullptr;
    default:
      return "of floats";
  }
}

bool IsCopy(const Step& step) {
  return step.op == Op::kMov && step.to.type == step.from[0].type && IsFloat(step.to.type) &&
         !step.saturate && step.condition == Condition::kNone && step.from[0].kind != Place::kPattern;
}

Handler ChoiceHandler(const Step& step, Class kind, std::string* why) {
  const bool ordered = step.condition == Condition::kGe || step.condition == Condition::kLt ||
                       step.condition == Condition::kGt || step.condition == Condition::kLe;
  if (step.op == Op::kSel && step.condition != Condition::kNone && !ordered)
    *why = "a choice by this condition";
  else if (step.op == Op::kSel && step.condition != Condition::kNone && step.is_selector)
    *why = "a choice by condition and predicate";
  else if (step.op == Op::kSel && step.condition == Condition::kNone && !step.is_selector)
    *why = "a choice without condition and predicate";
  else if (step.op == Op::kCsel && step.condition == Condition::kNone)
    *why = "a choice without condition";
  else if ((kind == Class::kFloat) != IsFloat(step.to.type))
    *why = "a choice that changes between floats and integers";
  else
    return kind == Class::kFloat ? ExecuteChooseFloats : ExecuteChooseIntegers;
  return nullptr;
}

}  // namespace

Handler GenericHandler(const Step& step, std::string* why) {
  const Class kind = SourceClass(step);
  if (kind == Class::kMixed) {
    *why = "sources of floats and integers together";
    return nullptr;
  }
  if (step.condition == Condition::kOverflow) {
    *why = "the condition of overflow";
    return nullptr;
  }
  if (IsChoice(step.op)) return ChoiceHandler(step, kind, why);
  if (step.op == Op::kCmp) {
    if (step.condition == Condition::kNone) *why = "a comparison without condition";
    return !why->empty() ? nullptr : kind == Class::kFloat ? ExecuteCompareFloats : ExecuteCompareIntegers;
  }
  if (step.op == Op::kMath && kind == Class::kInteger) {
    const bool divides = step.math == Math::kIqot || step.math == Math::kIrem;
    const bool same = step.from[0].type == step.from[1].type && IsDword(step.from[0].type);
    if (!divides || !same || !IsDword(step.to.type) || step.saturate) *why = "a math function of these types";
    return why->empty() ? ExecuteIntegerMath : nullptr;
  }
  if (step.op == Op::kMath && (step.sources != 1 || !IsFloat(step.to.type))) {
    *why = "a math function of these types";
    return nullptr;
  }
  if (IsCopy(step)) return ExecuteCopy;
  if ((kind == Class::kFloat) != IsFloat(step.to.type)) {
    if (step.op != Op::kMov)
      *why = "a result that changes between floats and integers";
    else if (step.from[0].kind == Place::kPattern && kind == Class::kFloat)
      *why = "a vector of floats";
    return !why->empty() ? nullptr : kind == Class::kFloat ? ExecuteToInteger : ExecuteToFloat;
  }
  if (const char* unknown = kind == Class::kFloat ? CheckFloats(step) : CheckIntegers(step)) {
    *why = unknown;
    return nullptr;
  }
  if (kind == Class::kFloat) return ExecuteFloat;
  if (step.op == Op::kMach) return ExecuteMach;
  if (step.op == Op::kAddc || step.op == Op::kSubb) return ExecuteCarry;
  return ExecuteInteger;
}

}  // namespace dxg::hostsim::eu
