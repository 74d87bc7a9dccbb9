#include <algorithm>
#include <cfenv>
#include <cmath>

#include "tests/eu/vectors.h"

namespace dxg::hostsim::eu {
namespace {

using In = const Lane&;

uint64_t Bits(float value) {
  if (std::isnan(value)) return 0x7fc00000;
  return __builtin_bit_cast(uint32_t, value);
}

// The value of a half, by its definition.
double Half(uint16_t bits) {
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  const double sign = bits >> 15 ? -1 : 1;
  if (exponent == 31) return fraction ? NAN : sign * INFINITY;
  return sign * (exponent ? std::ldexp(1024 + fraction, exponent - 25) : std::ldexp(fraction, -24));
}

// The half nearest to a value, even at a tie, by a search through all of one sign.
uint64_t HalfBits(double value) {
  if (std::isnan(value)) return 0x7e00;
  const uint64_t sign = std::signbit(value) ? 0x8000 : 0;
  const double size = std::fabs(value);
  if (size >= 65520) return sign | 0x7c00;
  uint32_t low = 0, high = 0x7c00;  // Half(low) <= size < Half(high)
  while (high - low > 1) {
    const uint32_t middle = (low + high) / 2;
    (Half(static_cast<uint16_t>(middle)) <= size ? low : high) = middle;
  }
  const double below = size - Half(static_cast<uint16_t>(low));
  const double above = (high == 0x7c00 ? 65536 : Half(static_cast<uint16_t>(high))) - size;
  return sign | (below < above || (below == above && low % 2 == 0) ? low : high);
}

template <int kMode, typename F>
float Rounded(F operation) {
  const int before = std::fegetround();
  std::fesetround(kMode);
  const volatile float result = operation();
  std::fesetround(before);
  return result;
}

float Sum(float a, float b) {
  const volatile float x = a, y = b;
  return x + y;
}

float Flushed(float value) {
  return std::fpclassify(value) == FP_SUBNORMAL ? std::copysign(0.0f, value) : value;
}

float Product(float a, float b) {
  const volatile float x = a, y = b;
  return x * y;
}

uint64_t Integer(double value, double least, double most) {
  if (std::isnan(value)) return 0;
  return static_cast<uint64_t>(static_cast<int64_t>(std::min(std::max(std::trunc(value), least), most)));
}

uint64_t Saturated(float value) {
  return Bits(std::isnan(value) ? 0 : value <= 0 ? 0 : std::min(value, 1.0f));
}

uint64_t Smaller(float a, float b) {
  if (std::isnan(b)) return __builtin_bit_cast(uint32_t, a);
  return __builtin_bit_cast(uint32_t, a < b ? a : b);
}

}  // namespace

const std::vector<Vector>& FloatVectors() {
  constexpr uint32_t kZero = 0x4c0 | 3 << 4, kUp = 0x4c0 | 1 << 4, kDown = 0x4c0 | 2 << 4;
  constexpr uint32_t kFlush = 0;  // denormals are not kept
  static const std::vector<Vector> vectors = {
      {"mov (16|M0) r40.0<1>:f r10.0<8;8,1>:f", [](In in) -> uint64_t { return in.ud(10); }},
      {"mov (16|M0) r40.0<1>:f -r10.0<8;8,1>:f", [](In in) -> uint64_t { return in.ud(10) ^ 0x80000000; }},
      {"mov (16|M0) r40.0<1>:f -(abs)r10.0<8;8,1>:f",
       [](In in) -> uint64_t { return in.ud(10) | 0x80000000; }},
      {"mov (16|M0) r40.0<1>:f 0x3FC00000:f", [](In) -> uint64_t { return 0x3fc00000; }},
      {"mov (16|M0) (sat)r40.0<1>:f r10.0<8;8,1>:f", [](In in) { return Saturated(in.f(10)); }},
      {"mov (16|M0) r40.0<1>:f r10.0<8;8,1>:d", [](In in) { return Bits(static_cast<float>(in.d(10))); }},
      {"mov (16|M0) r40.0<1>:f r10.0<8;8,1>:ud", [](In in) { return Bits(static_cast<float>(in.ud(10))); }},
      {"mov (16|M0) r40.0<1>:f r10.0<16;16,1>:w", [](In in) { return Bits(in.w(10)); }},
      {"mov (16|M0) r40.0<1>:d r10.0<8;8,1>:f",
       [](In in) { return Integer(in.f(10), INT32_MIN, INT32_MAX); }},
      {"mov (16|M0) r40.0<1>:ud r10.0<8;8,1>:f", [](In in) { return Integer(in.f(10), 0, UINT32_MAX); }},
      {"mov (16|M0) (sat)r40.0<4>:ub r10.0<8;8,1>:f", [](In in) { return Integer(in.f(10), 0, 255); }},
      {"mov (16|M0) (sat)r40.0<2>:w r10.0<8;8,1>:f", [](In in) { return Integer(in.f(10), -32768, 32767); }},
      {"mov (8|M0) r40.0<1>:f r10.0<8;8,1>:hf",
       [](In in) { return Bits(static_cast<float>(Half(in.hf(10)))); }},
      {"mov (8|M0) r40.0<1>:hf r10.0<8;8,1>:f", [](In in) { return HalfBits(in.f(10)); }},
      {"mov (8|M0) r40.0<1>:hf r10.0<8;8,1>:ud", [](In in) { return HalfBits(in.ud(10)); }},
      {"mov (8|M0) r40.0<1>:hf 0x3555:hf", [](In) -> uint64_t { return 0x3555; }},
      {"mov (16|M0) r40.0<1>:f r10.0<8;8,1>:d",
       [](In in) {
         return Bits(Rounded<FE_TOWARDZERO>([&] {
           const volatile int32_t x = in.d(10);
           return static_cast<float>(x);
         }));
       },
       nullptr, nullptr, kZero},
      {"add (16|M0) r40.0<1>:f r10.0<8;8,1>:f r20.0<8;8,1>:f",
       [](In in) { return Bits(in.f(10) + in.f(20)); }},
      {"add (16|M0) r40.0<1>:f r10.0<8;8,1>:f -r8.2<0;1,0>:f",
       [](In in) { return Bits(in.f(10) - in.At<float>(8, 2)); }},
      {"add (16|M0) (sat)r40.0<1>:f r10.0<8;8,1>:f (abs)r20.0<8;8,1>:f",
       [](In in) { return Saturated(in.f(10) + std::fabs(in.f(20))); }},
      {"add (16|M0) r40.0<1>:f r10.0<8;8,1>:f r20.0<8;8,1>:f",
       [](In in) { return Bits(Rounded<FE_TOWARDZERO>([&] { return Sum(in.f(10), in.f(20)); })); }, nullptr,
       nullptr, kZero},
      {"add (16|M0) r40.0<1>:f r10.0<8;8,1>:f r20.0<8;8,1>:f",
       [](In in) { return Bits(Rounded<FE_UPWARD>([&] { return Sum(in.f(10), in.f(20)); })); }, nullptr,
       nullptr, kUp},
      {"add (16|M0) r40.0<1>:f r10.0<8;8,1>:f r20.0<8;8,1>:f",
       [](In in) { return Bits(Rounded<FE_DOWNWARD>([&] { return Sum(in.f(10), in.f(20)); })); }, nullptr,
       nullptr, kDown},
      {"add (8|M0) r40.0<1>:hf r10.0<8;8,1>:hf r20.0<8;8,1>:hf",
       [](In in) { return HalfBits(Half(in.hf(10)) + Half(in.hf(20))); }},
      {"add (16|M0) (lt)f0.0 r40.0<1>:f r10.0<8;8,1>:f r20.0<8;8,1>:f",
       [](In in) { return Bits(in.f(10) + in.f(20)); }, [](In in) { return in.f(10) + in.f(20) < 0; }},
      {"mul (16|M0) r40.0<1>:f r10.0<8;8,1>:f r20.0<8;8,1>:f",
       [](In in) { return Bits(in.f(10) * in.f(20)); }},
      {"mul (16|M0) r40.0<1>:f r10.0<8;8,1>:f r20.0<8;8,1>:f",
       [](In in) { return Bits(Rounded<FE_TOWARDZERO>([&] { return Product(in.f(10), in.f(20)); })); },
       nullptr, nullptr, kZero},
      {"mul (16|M0) r40.0<1>:f r10.0<8;8,1>:f r20.0<8;8,1>:f",
       [](In in) { return Bits(Flushed(Flushed(in.f(10)) * Flushed(in.f(20)))); }, nullptr, nullptr, kFlush},
      {"mul (8|M0) r40.0<1>:hf r10.0<8;8,1>:hf r20.0<8;8,1>:hf",
       [](In in) { return HalfBits(Half(in.hf(10)) * Half(in.hf(20))); }},
      {"mul (8|M0) r40.0<1>:f r10.0<8;8,1>:hf 0x3FC00000:f",
       [](In in) { return Bits(static_cast<float>(Half(in.hf(10))) * 1.5f); }},
      {"mad (16|M0) r40.0<1>:f r10.0<8;1>:f r20.0<8;1>:f r30.0<1>:f",
       [](In in) { return Bits(std::fma(in.f(20), in.f(30), in.f(10))); }},
      {"mad (16|M0) r40.0<1>:f -r10.0<8;1>:f (abs)r20.0<8;1>:f -r8.3<0>:f",
       [](In in) { return Bits(std::fma(std::fabs(in.f(20)), -in.At<float>(8, 3), -in.f(10))); }},
      {"mad (8|M0) r40.0<1>:hf r10.0<8;1>:hf r20.0<8;1>:hf r30.0<1>:hf",
       [](In in) {
         const long double sum =
             static_cast<long double>(Half(in.hf(20))) * Half(in.hf(30)) + Half(in.hf(10));
         // Of a product and a sum of halves 64 bits lose something only far below a half's last place.
         const auto nearest = static_cast<double>(sum);
         const bool tie = nearest != sum && HalfBits(std::nextafter(nearest, INFINITY)) !=
                                                HalfBits(std::nextafter(nearest, -INFINITY));
         return HalfBits(tie ? std::nextafter(nearest, sum > nearest ? INFINITY : -INFINITY) : nearest);
       }},
      {"mad (16|M0) acc0.0<1>:f r10.0<8;1>:f r20.0<8;1>:f r30.0<1>:f", nullptr, nullptr,
       [](In in) { return Bits(std::fma(in.f(20), in.f(30), in.f(10))); }},
      {"rndz (16|M0) r40.0<1>:f r10.0<8;8,1>:f", [](In in) { return Bits(std::trunc(in.f(10))); }},
      {"rndd (16|M0) r40.0<1>:f r10.0<8;8,1>:f", [](In in) { return Bits(std::floor(in.f(10))); }},
      {"rndu (16|M0) r40.0<1>:f r10.0<8;8,1>:f", [](In in) { return Bits(std::ceil(in.f(10))); }},
      {"rnde (16|M0) r40.0<1>:f r10.0<8;8,1>:f", [](In in) { return Bits(std::nearbyint(in.f(10))); }},
      {"frc (16|M0) r40.0<1>:f r10.0<8;8,1>:f", [](In in) { return Bits(in.f(10) - std::floor(in.f(10))); }},
      {"cmp (16|M0) (lt)f0.0 null<1>:f r10.0<8;8,1>:f r20.0<8;8,1>:f", nullptr,
       [](In in) { return in.f(10) < in.f(20); }},
      {"cmp (16|M16) (ne)f1.0 null<1>:f r10.0<8;8,1>:f (abs)r20.0<8;8,1>:f", nullptr,
       [](In in) { return in.f(10) != std::fabs(in.f(20)); }},
      {"cmp (16|M0) (eq)f0.1 null<1>:f (abs)r10.0<8;8,1>:f 0x7F800000:f", nullptr,
       [](In in) { return std::isinf(in.f(10)); }},
      {"cmp (16|M0) (ge)f0.0 r40.0<1>:f r10.0<8;8,1>:f r20.0<8;8,1>:f",
       [](In in) -> uint64_t { return in.f(10) >= in.f(20) ? ~0ull : 0; },
       [](In in) { return in.f(10) >= in.f(20); }},
      {"cmp (16|M0) (un)f0.0 null<1>:f r10.0<8;8,1>:f r20.0<8;8,1>:f", nullptr,
       [](In in) { return std::isnan(in.f(10)) || std::isnan(in.f(20)); }},
      {"cmp (8|M0) (gt)f0.0 null<1>:hf r10.0<8;8,1>:hf 0x3C00:hf", nullptr,
       [](In in) { return Half(in.hf(10)) > 1; }},
      {"sel (16|M0) (lt)f0.0 r40.0<1>:f r10.0<8;8,1>:f r20.0<8;8,1>:f",
       [](In in) { return Smaller(in.f(10), in.f(20)); }},
      {"(f0.0) sel (16|M0) r40.0<1>:f r10.0<8;8,1>:f (abs)r20.0<8;8,1>:f",
       [](In in) -> uint64_t { return in.flag(0) ? in.ud(10) : in.ud(20) & 0x7fffffff; }},
      {"csel (8|M0) (ge)f0.0 r40.0<1>:f r10.0<8;1>:f r20.0<8;1>:f r30.0<1>:f",
       [](In in) -> uint64_t { return in.f(30) >= 0 ? in.ud(10) : in.ud(20); }},
      {"math.inv (8|M0) r40.0<1>:f r10.0<8;8,1>:f", [](In in) { return Bits(1.0f / in.f(10)); }},
      {"math.sqt (8|M0) r40.0<1>:f r10.0<8;8,1>:f", [](In in) { return Bits(std::sqrt(in.f(10))); }},
      {"math.sqt (8|M0) r40.0<1>:f (abs)r10.0<8;8,1>:f",
       [](In in) { return Bits(std::sqrt(std::fabs(in.f(10)))); }},
  };
  return vectors;
}

}  // namespace dxg::hostsim::eu
