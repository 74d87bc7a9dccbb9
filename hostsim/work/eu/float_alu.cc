#include <algorithm>
#include <cfenv>
#include <cmath>

#include "hostsim/work/eu/alu.h"
#include "hostsim/work/eu/math.h"

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

}  // namespace

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

}  // namespace dxg::hostsim::eu
