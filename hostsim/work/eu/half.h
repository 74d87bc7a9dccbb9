#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

namespace dxg::hostsim::eu {

// As control register 0 has them in bits 5:4.
enum class Rounding : uint8_t { kNearest, kUp, kDown, kZero };

inline float FloatOfHalf(uint16_t half) {
  const uint32_t sign = uint32_t{half & 0x8000u} << 16;
  const uint32_t exponent = half >> 10 & 31, fraction = half & 0x3ff;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | fraction << 13);
  if (exponent != 0) return std::bit_cast<float>(sign | (exponent + 112) << 23 | fraction << 13);
  const float tiny = static_cast<float>(fraction) * 0x1p-24f;  // exact
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(tiny));
}

// A double holds every sum and product of halves and every float exactly. Rounds once.
inline uint16_t HalfOfDouble(double value, Rounding rounding) {
  const uint64_t bits = std::bit_cast<uint64_t>(value);
  const uint16_t sign = static_cast<uint16_t>(bits >> 48 & 0x8000);
  const int exponent = static_cast<int>(bits >> 52 & 0x7ff);
  const uint64_t fraction = bits & 0xfffffffffffffull;
  if (exponent == 0x7ff) {
    if (fraction == 0) return sign | 0x7c00;
    return static_cast<uint16_t>(sign | 0x7e00 | (fraction >> 42 & 0x1ff));
  }
  const bool away = (rounding == Rounding::kUp && !sign) || (rounding == Rounding::kDown && sign);
  if (exponent == 0) return fraction == 0 || !away ? sign : sign | 1;  // far below the smallest half
  // The value in units of the last place of its half, with the bits below that.
  const uint64_t whole = fraction | 1ull << 52;
  int half_exponent = exponent - 1023 + 15;
  int shift = 42;
  if (half_exponent < 1) {
    shift += 1 - half_exponent;
    half_exponent = 0;
  }
  uint64_t kept = 0, lost = 0, middle = 0;
  if (shift < 64) {
    kept = whole >> shift;
    lost = whole & ((1ull << shift) - 1);
    middle = 1ull << (shift - 1);
  } else {
    lost = 1;
    middle = 2;
  }
  if (rounding == Rounding::kNearest ? lost > middle || (lost == middle && (kept & 1)) : away && lost != 0)
    ++kept;
  // A carry goes into the exponent by itself.
  const uint64_t out = half_exponent == 0 ? kept : (static_cast<uint64_t>(half_exponent - 1) << 10) + kept;
  if (out >= 0x7c00)
    return sign | (rounding == Rounding::kNearest || away ? uint16_t{0x7c00} : uint16_t{0x7bff});
  return sign | static_cast<uint16_t>(out);
}

// a * b + c of halves, rounded once.
inline uint16_t HalfMad(float a, float b, float c, Rounding rounding) {
  const double product = static_cast<double>(a) * static_cast<double>(b);  // exact: 22 bits
  const double addend = c;
  double sum = product + addend;
  if (!std::isfinite(sum)) return HalfOfDouble(sum, rounding);
  // What the sum lost makes its last bit odd, so that the second rounding sees on which side it was. Only
  // terms far apart lose something; in the larger one's direction a part of a unit is left.
  const double big = std::fabs(product) >= std::fabs(addend) ? product : addend;
  const double small = std::fabs(product) >= std::fabs(addend) ? addend : product;
  const double lost = small - (sum - big);
  if (lost != 0) {
    uint64_t bits = std::bit_cast<uint64_t>(sum);
    if (!(bits & 1)) bits += (lost > 0) == (sum > 0) ? 1 : ~uint64_t{0};
    sum = std::bit_cast<double>(bits);
  }
  return HalfOfDouble(sum, rounding);
}

}  // namespace dxg::hostsim::eu
