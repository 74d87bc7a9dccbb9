// Kernels whose work items know nothing of each other: integers, floats, halves, 64 bits.
#include <math.h>
#include <string.h>

#include <algorithm>
#include <bit>

#include "tests/stacks/opencl_kit.h"

namespace stacks {
namespace {

using Floats = std::vector<float>;
using Ints = std::vector<int32_t>;
using Words = std::vector<uint32_t>;
using Longs = std::vector<int64_t>;

Words RandomWords(size_t count, uint64_t seed) {
  Random random(seed);
  Words words(count);
  for (uint32_t& word : words) {
    word = random.Next();
    // Small numbers and the ends of the range, too.
    if (random.Below(4) == 0) word >>= random.Below(32);
    if (random.Below(16) == 0) word = 0x80000000u - random.Below(3);
  }
  return words;
}

Floats RandomFloats(size_t count, uint64_t seed, float low, float high) {
  Random random(seed);
  Floats floats(count);
  for (float& each : floats) each = low + (high - low) * random.Unit();
  return floats;
}

constexpr const char* kAdd = R"(
kernel void add(global const int* a, global const int* b, global int* sum, int n) {
  const int i = get_global_id(0);
  if (i < n) sum[i] = a[i] + b[i];
})";

void RunAdd(const Session& session, Kernel& kernel, const Shape& shape) {
  const size_t n = shape.items;
  const Words a = RandomWords(n, n), b = RandomWords(n, n + 1);
  Words wanted(n + 64, 7);  // what is behind the last one stays
  const Array<uint32_t> at_a(session, a), at_b(session, b), sum(session, wanted);
  for (size_t i = 0; i < n; ++i) wanted[i] = a[i] + b[i];
  kernel.Set(at_a, at_b, sum, static_cast<cl_int>(n));
  kernel.Run(shape);
  CHECK(sum.Read() == wanted);
}

constexpr const char* kSaxpy = R"(
kernel void saxpy(float a, global const float* x, global float* y, int n) {
  const int i = get_global_id(0);
  if (i < n) y[i] = fma(a, x[i], y[i]);
})";

void RunSaxpy(const Session& session, Kernel& kernel, const Shape& shape) {
  const size_t n = shape.items;
  const Floats x = RandomFloats(n, n, -1e3f, 1e3f);
  Floats y = RandomFloats(n, n + 1, -1.f, 1.f);
  const float a = 1.2345678f;
  const Array<float> at_x(session, x), at_y(session, y);
  for (size_t i = 0; i < n; ++i) y[i] = fmaf(a, x[i], y[i]);
  kernel.Set(static_cast<cl_float>(a), at_x, at_y, static_cast<cl_int>(n));
  kernel.Run(shape);
  const Floats found = at_y.Read();
  CHECK(memcmp(found.data(), y.data(), n * sizeof(float)) == 0);
}

constexpr const char* kInts = R"(
kernel void ints(global const int* a, global const int* b, global int* out, int n) {
  const int i = get_global_id(0);
  if (i >= n) return;
  const int x = a[i], y = b[i];
  const uint ux = as_uint(x), uy = as_uint(y);
  const int safe = (y == 0 || y == -1) ? 3 : y;
  global int* to = out + i * 16;
  to[0] = x << (y & 31);
  to[1] = x >> (y & 31);
  to[2] = as_int(ux >> (uy & 31));
  to[3] = (x < y) + 2 * (ux < uy) + 4 * (x == y) + 8 * (x >= y) + 16 * (ux > uy);
  to[4] = popcount(x);
  to[5] = convert_int_sat((long)x * (long)y >> 7);
  const ulong product = (ulong)ux * uy;
  to[6] = as_int((uint)(product >> 32));
  to[7] = as_int((uint)product);
  to[8] = x / safe;
  to[9] = x % safe;
  to[10] = as_int(ux / (uy | 1u));
  to[11] = as_int(ux % (uy | 1u));
  to[12] = clz(x) + 64 * (int)rotate(ux, uy & 31);
  to[13] = as_int(mul_hi(x, y) ^ as_int(mul_hi(ux, uy)));
  to[14] = max(x, y) ^ as_int(min(ux, uy));
  to[15] = as_int((ux & ~uy) | (ux ^ 0x5a5a5a5au)) - abs_diff(x, y);
})";

void RunInts(const Session& session, Kernel& kernel, const Shape& shape) {
  const size_t n = shape.items;
  const Words a = RandomWords(n, n), b = RandomWords(n, n + 1);
  const Array<uint32_t> at_a(session, a), at_b(session, b);
  Words wanted(16 * n);
  const Array<uint32_t> out(session, wanted);
  for (size_t i = 0; i < n; ++i) {
    const uint32_t ux = a[i], uy = b[i];
    const auto x = static_cast<int32_t>(ux), y = static_cast<int32_t>(uy);
    const int32_t safe = y == 0 || y == -1 ? 3 : y;
    const int64_t scaled = (int64_t{x} * y) >> 7;
    const uint64_t product = uint64_t{ux} * uy;
    const auto is = [](bool holds, uint32_t bit) { return holds ? bit : 0u; };
    const uint32_t difference = x > y ? ux - uy : uy - ux;
    uint32_t* const to = &wanted[16 * i];
    to[0] = ux << (uy & 31);
    to[1] = static_cast<uint32_t>(x >> (uy & 31));
    to[2] = ux >> (uy & 31);
    to[3] = is(x < y, 1) + is(ux < uy, 2) + is(x == y, 4) + is(x >= y, 8) + is(ux > uy, 16);
    to[4] = static_cast<uint32_t>(std::popcount(ux));
    to[5] = static_cast<uint32_t>(std::clamp<int64_t>(scaled, INT32_MIN, INT32_MAX));
    to[6] = static_cast<uint32_t>(product >> 32);
    to[7] = static_cast<uint32_t>(product);
    to[8] = static_cast<uint32_t>(x / safe);
    to[9] = static_cast<uint32_t>(x % safe);
    to[10] = ux / (uy | 1);
    to[11] = ux % (uy | 1);
    to[12] = static_cast<uint32_t>(std::countl_zero(ux)) + 64 * std::rotl(ux, static_cast<int>(uy & 31));
    to[13] = static_cast<uint32_t>((int64_t{x} * y) >> 32) ^ static_cast<uint32_t>(product >> 32);
    to[14] = static_cast<uint32_t>(std::max(x, y)) ^ std::min(ux, uy);
    to[15] = ((ux & ~uy) | (ux ^ 0x5a5a5a5au)) - difference;
  }
  kernel.Set(at_a, at_b, out, static_cast<cl_int>(n));
  kernel.Run(shape);
  CHECK(out.Read() == wanted);
}

constexpr const char* kMixed = R"(
kernel void mixed(global const float4* in, global float4* out, global half* halves, global uchar* bytes,
                  global long* longs, global int* picked, int n) {
  const int i = get_global_id(0);
  if (i >= n) return;
  const float4 v = in[i];
  out[i] = sin(v) * exp(v * 0.5f) + sqrt(fabs(v));
  vstore_half(v.x + v.y, i, halves);
  bytes[i] = convert_uchar_sat(v.z * 300.0f);
  longs[i] = (long)(v.w * 1000.0f) * 4294967297L;
  int table[16];
  for (int k = 0; k < 16; ++k) table[k] = k * k + i;
  int at = i & 15;
  for (int k = 0; k < 5; ++k) {
    table[(at + k) & 15] += k;
    at = table[at] & 15;
  }
  picked[i] = table[at] * 100 + at;
})";

// To nearest, ties to even; the numbers here are neither too large nor too small for a half.
uint16_t HalfOf(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = bits >> 16 & 0x8000, magnitude = bits & 0x7FFFFFFF;
  const int exponent = static_cast<int>(magnitude >> 23) - 127;
  if (magnitude == 0) return static_cast<uint16_t>(sign);
  if (exponent < -14) {
    const float scaled = std::bit_cast<float>(magnitude) * 0x1p24f;
    return static_cast<uint16_t>(sign | static_cast<uint32_t>(nearbyintf(scaled)));
  }
  const uint32_t rounded = magnitude + 0xFFF + (magnitude >> 13 & 1);
  return static_cast<uint16_t>(sign | ((rounded >> 13) - ((127 - 15) << 10)));
}

void RunMixed(const Session& session, Kernel& kernel, const Shape& shape) {
  const size_t n = shape.items;
  const Floats in = RandomFloats(4 * n, n, -2.f, 2.f);
  const Array<float> at_in(session, in), out(session, Floats(4 * n));
  const Array<uint16_t> halves(session, std::vector<uint16_t>(n));
  const Array<uint8_t> bytes(session, std::vector<uint8_t>(n));
  const Array<int64_t> longs(session, Longs(n));
  const Array<int32_t> picked(session, Ints(n));
  kernel.Set(at_in, out, halves, bytes, longs, picked, static_cast<cl_int>(n));
  kernel.Run(shape);
  const Floats floats = out.Read();
  const auto found_halves = halves.Read();
  const auto found_bytes = bytes.Read();
  const Longs found_longs = longs.Read();
  const Ints found_picked = picked.Read();
  for (size_t i = 0; i < n; ++i) {
    const float* const v = &in[4 * i];
    for (size_t k = 0; k < 4; ++k) {
      const double wanted = sin(double{v[k]}) * exp(double{v[k]} * 0.5) + sqrt(fabs(double{v[k]}));
      CHECK(fabs(floats[4 * i + k] - wanted) <= 1e-4 * std::max(1.0, fabs(wanted)));
    }
    CHECK(found_halves[i] == HalfOf(v[0] + v[1]));
    CHECK(found_bytes[i] == static_cast<uint8_t>(std::clamp(v[2] * 300.f, 0.f, 255.f)));
    CHECK(found_longs[i] == static_cast<int64_t>(v[3] * 1000.f) * 4294967297);
    int32_t table[16];
    for (int32_t k = 0; k < 16; ++k) table[k] = k * k + static_cast<int32_t>(i);
    int32_t at = static_cast<int32_t>(i) & 15;
    for (int32_t k = 0; k < 5; ++k) {
      table[(at + k) & 15] += k;
      at = table[at] & 15;
    }
    CHECK(found_picked[i] == table[at] * 100 + at);
  }
}

constexpr const char* kLongs = R"(
kernel void longs(global const long* a, global const long* b, global long* out, int n) {
  const int i = get_global_id(0);
  if (i >= n) return;
  const long x = a[i], y = b[i];
  const ulong ux = as_ulong(x), uy = as_ulong(y);
  const long safe = (y == 0 || y == -1) ? 5 : y;
  global long* to = out + i * 12;
  to[0] = x * y;
  to[1] = x / safe;
  to[2] = x % safe;
  to[3] = as_long(ux / (uy | 1));
  to[4] = as_long(ux % (uy | 1));
  to[5] = x << (y & 63);
  to[6] = x >> (y & 63);
  to[7] = as_long(ux >> (uy & 63));
  to[8] = mul_hi(x, y);
  to[9] = as_long(mul_hi(ux, uy));
  to[10] = convert_int_sat(x) + (long)(x < y) + 2 * (long)(ux < uy);
  to[11] = convert_long((float)(int)(x >> 40)) + (long)popcount(ux) + (long)clz(ux);
})";

void RunLongs(const Session& session, Kernel& kernel, const Shape& shape) {
  const size_t n = shape.items;
  Random random(n);
  Longs a(n), b(n);
  for (size_t i = 0; i < n; ++i) {
    a[i] = static_cast<int64_t>(uint64_t{random.Next()} << 32 | random.Next()) >> random.Below(64);
    b[i] = static_cast<int64_t>(uint64_t{random.Next()} << 32 | random.Next()) >> random.Below(64);
  }
  const Array<int64_t> at_a(session, a), at_b(session, b);
  Longs wanted(12 * n);
  const Array<int64_t> out(session, wanted);
  for (size_t i = 0; i < n; ++i) {
    const int64_t x = a[i], y = b[i], safe = y == 0 || y == -1 ? 5 : y;
    const auto ux = static_cast<uint64_t>(x), uy = static_cast<uint64_t>(y);
    int64_t* const to = &wanted[12 * i];
    to[0] = static_cast<int64_t>(ux * uy);
    to[1] = x / safe;
    to[2] = x % safe;
    to[3] = static_cast<int64_t>(ux / (uy | 1));
    to[4] = static_cast<int64_t>(ux % (uy | 1));
    to[5] = static_cast<int64_t>(ux << (uy & 63));
    to[6] = x >> (uy & 63);
    to[7] = static_cast<int64_t>(ux >> (uy & 63));
    to[8] = static_cast<int64_t>((static_cast<__int128>(x) * y) >> 64);
    to[9] = static_cast<int64_t>((static_cast<unsigned __int128>(ux) * uy) >> 64);
    to[10] = std::clamp<int64_t>(x, INT32_MIN, INT32_MAX) + (x < y ? 1 : 0) + (ux < uy ? 2 : 0);
    to[11] = static_cast<int64_t>(static_cast<float>(static_cast<int32_t>(x >> 40))) + std::popcount(ux) +
             std::countl_zero(ux);
  }
  kernel.Set(at_a, at_b, out, static_cast<cl_int>(n));
  kernel.Run(shape);
  CHECK(out.Read() == wanted);
}

// More values at a time than a thread has registers for.
constexpr const char* kSpill = R"(
kernel void spill(global const int* in, global int* out, int n) {
  const int i = get_global_id(0);
  if (i >= n) return;
  int16 a[12];
  #pragma unroll
  for (int k = 0; k < 12; ++k)
    a[k] = (int16)(in[i]) * (int16)(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31) + k;
  for (int round = 0; round < 3; ++round) {
    #pragma unroll
    for (int k = 0; k < 12; ++k) a[k] = a[k] * a[(k + 5) % 12] + (a[(k + 7) % 12] ^ round);
  }
  int16 all = 0;
  #pragma unroll
  for (int k = 0; k < 12; ++k) all ^= a[k] + k;
  const int8 half_of = all.lo + all.hi;
  const int4 quarter = half_of.lo ^ half_of.hi;
  out[i] = quarter.x + 3 * quarter.y + 5 * quarter.z + 7 * quarter.w;
})";

void RunSpill(const Session& session, Kernel& kernel, const Shape& shape) {
  const size_t n = shape.items;
  const Words in = RandomWords(n, n);
  const Array<uint32_t> at_in(session, in);
  Words wanted(n);
  const Array<uint32_t> out(session, wanted);
  for (size_t i = 0; i < n; ++i) {
    uint32_t a[12][16], all[16] = {}, half_of[8], quarter[4];
    for (uint32_t k = 0; k < 12; ++k)
      for (uint32_t c = 0; c < 16; ++c) a[k][c] = in[i] * (2 * c + 1) + k;
    for (uint32_t round = 0; round < 3; ++round)
      for (uint32_t k = 0; k < 12; ++k)
        for (uint32_t c = 0; c < 16; ++c)
          a[k][c] = a[k][c] * a[(k + 5) % 12][c] + (a[(k + 7) % 12][c] ^ round);
    for (uint32_t k = 0; k < 12; ++k)
      for (uint32_t c = 0; c < 16; ++c) all[c] ^= a[k][c] + k;
    for (uint32_t c = 0; c < 8; ++c) half_of[c] = all[c] + all[c + 8];
    for (uint32_t c = 0; c < 4; ++c) quarter[c] = half_of[c] ^ half_of[c + 4];
    wanted[i] = quarter[0] + 3 * quarter[1] + 5 * quarter[2] + 7 * quarter[3];
  }
  kernel.Set(at_in, out, static_cast<cl_int>(n));
  kernel.Run(shape);
  CHECK(out.Read() == wanted);
}

}  // namespace

std::vector<Proof> ArithmeticProofs() {
  return {
      {"add", "add", kAdd, "", RunAdd},         {"saxpy", "saxpy", kSaxpy, "", RunSaxpy},
      {"ints", "ints", kInts, "", RunInts},     {"mixed", "mixed", kMixed, "", RunMixed},
      {"longs", "longs", kLongs, "", RunLongs}, {"spill", "spill", kSpill, "", RunSpill},
  };
}

}  // namespace stacks
