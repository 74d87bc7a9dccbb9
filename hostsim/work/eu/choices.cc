#include "hostsim/work/eu/alu.h"

namespace dxg::hostsim::eu {
namespace {

const char* StoreComparison(Thread& thread, const Step& step, uint32_t lanes, uint32_t bits) {
  StoreFlags(thread, step, lanes, bits);
  if (step.to.kind == Place::kNone && !step.writes_accumulator) return nullptr;
  uint64_t values[kLanesMax];
  for (uint32_t lane = 0; lane < step.lanes; ++lane) values[lane] = bits >> lane & 1 ? ~uint64_t{0} : 0;
  return StoreBits(thread, step, lanes, values);
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

}  // namespace

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

const char* ExecuteChooseIntegers(Thread& thread, const Step& step, uint32_t lanes) {
  int64_t values[3][kLanesMax] = {};
  for (uint32_t i = 0; i < step.sources; ++i)
    if (const char* why = FetchIntegers(thread, step, step.from[i], lanes, values[i])) return why;
  const uint32_t first = Choice(thread, step, values[0], values[1], values[2]);
  for (uint32_t lane = 0; lane < step.lanes; ++lane)
    if (!(first >> lane & 1)) values[0][lane] = values[1][lane];
  return StoreIntegers(thread, step, lanes, values[0]);
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

}  // namespace dxg::hostsim::eu
