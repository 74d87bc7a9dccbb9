#pragma once

#include <cstdint>

#include "hostsim/work/eu/operands.h"

// The generic handlers: operations lane by lane, for all types and modifiers of which it is known what the EU
// does with them.
// Sources: the published manuals of Intel's graphics (volume "Execution Unit", for Ice Lake), and what
// Intel's compiler makes of C.

namespace dxg::hostsim::eu {

// integer_alu.cc: integers in, integers out.
const char* ExecuteInteger(Thread& thread, const Step& step, uint32_t lanes);
const char* ExecuteMach(Thread& thread, const Step& step, uint32_t lanes);
const char* ExecuteCarry(Thread& thread, const Step& step, uint32_t lanes);
const char* ExecuteIntegerMath(Thread& thread, const Step& step, uint32_t lanes);

// float_alu.cc: floats in, or out, or both.
const char* ExecuteFloat(Thread& thread, const Step& step, uint32_t lanes);
const char* ExecuteToFloat(Thread& thread, const Step& step, uint32_t lanes);
const char* ExecuteToInteger(Thread& thread, const Step& step, uint32_t lanes);

// choices.cc: comparisons, choices between two sources, and copies of bits.
const char* ExecuteCompareIntegers(Thread& thread, const Step& step, uint32_t lanes);
const char* ExecuteCompareFloats(Thread& thread, const Step& step, uint32_t lanes);
const char* ExecuteChooseIntegers(Thread& thread, const Step& step, uint32_t lanes);
const char* ExecuteChooseFloats(Thread& thread, const Step& step, uint32_t lanes);
const char* ExecuteCopy(Thread& thread, const Step& step, uint32_t lanes);

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

}  // namespace dxg::hostsim::eu
