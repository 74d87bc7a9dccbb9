#include <bit>
#include <cstring>

#include "hostsim/work/eu/alu.h"
#include "hostsim/work/eu/math.h"

namespace dxg::hostsim::eu {
namespace {

bool IsLogic(Op op) { return op == Op::kNot || op == Op::kAnd || op == Op::kOr || op == Op::kXor; }

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

}  // namespace

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
    // Whether it counts as its 32 bits, or has no carry, nobody says.
    if ((lanes >> lane & 1) && (a[lane] < 0 || b[lane] < 0)) return "a carry of a negative number";
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

}  // namespace dxg::hostsim::eu
