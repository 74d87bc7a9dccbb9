#include "hostsim/work/eu/math.h"

#include <cmath>

namespace dxg::hostsim::eu {

float FloatMath(Math function, float a) {
  const double x = a;
  switch (function) {
    case Math::kInv:
      return static_cast<float>(1.0 / x);
    case Math::kLog:
      return static_cast<float>(std::log2(x));
    case Math::kExp:
      return static_cast<float>(std::exp2(x));
    case Math::kSqt:
      return static_cast<float>(std::sqrt(x));
    case Math::kRsqt:
      return static_cast<float>(1.0 / std::sqrt(x));
    case Math::kSin:
      return static_cast<float>(std::sin(x));
    case Math::kCos:
      return static_cast<float>(std::cos(x));
    default:
      return std::nanf("");
  }
}

int64_t IntegerMath(Math function, bool is_signed, int64_t a, int64_t b) {
  if (b == 0) return !is_signed ? 0xffffffff : a < 0 ? INT32_MIN : INT32_MAX;
  return function == Math::kIqot ? a / b : a % b;
}

}  // namespace dxg::hostsim::eu
