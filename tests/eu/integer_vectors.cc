#include <algorithm>
#include <cstdlib>

#include "tests/eu/vectors.h"

namespace dxg::hostsim::eu {
namespace {

using In = const Lane&;

uint64_t Clamp(int64_t value, int64_t least, int64_t most) {
  return static_cast<uint64_t>(std::min(std::max(value, least), most));
}

uint64_t LeadingZeros(uint32_t value) {
  uint64_t count = 0;
  while (count < 32 && !(value & 0x80000000u >> count)) ++count;
  return count;
}

uint64_t Reversed(uint32_t value) {
  uint64_t out = 0;
  for (int bit = 0; bit < 32; ++bit)
    if (value >> bit & 1) out |= 1ull << (31 - bit);
  return out;
}

uint64_t Ones(uint64_t value) {
  uint64_t count = 0;
  for (; value; value &= value - 1) ++count;
  return count;
}

int64_t Dot(uint32_t a, uint32_t b, bool is_signed) {
  int64_t sum = 0;
  for (int byte = 0; byte < 4; ++byte) {
    const int x = a >> (8 * byte) & 255, y = b >> (8 * byte) & 255;
    sum += is_signed ? (x ^ 128) * (y ^ 128) - 128 * (x ^ 128) - 128 * (y ^ 128) + 128 * 128 : x * y;
  }
  return sum;
}

uint64_t AccumulatorOf(In in) {
  const auto high = static_cast<uint32_t>(in.thread().accumulator_high[in.lane()]);
  uint32_t low;
  __builtin_memcpy(&low, in.thread().accumulator + 4 * in.lane(), sizeof(low));
  return uint64_t{high} << 32 | low;
}

}  // namespace

const std::vector<Vector>& IntegerVectors() {
  static const std::vector<Vector> vectors = {
      // Moves, and how types change.
      {"mov (16|M0) r40.0<1>:d r10.0<8;8,1>:d", [](In in) -> uint64_t { return in.ud(10); }},
      {"mov (16|M0) r40.0<1>:ud -r10.0<8;8,1>:ud", [](In in) -> uint64_t { return 0u - in.ud(10); }},
      {"mov (16|M0) r40.0<1>:d (abs)r10.0<8;8,1>:d",
       [](In in) -> uint64_t { return in.d(10) < 0 ? 0u - in.ud(10) : in.ud(10); }},
      {"mov (16|M0) r40.0<1>:d -(abs)r10.0<8;8,1>:d",
       [](In in) -> uint64_t { return in.d(10) < 0 ? in.ud(10) : 0u - in.ud(10); }},
      {"mov (16|M0) r40.0<1>:d r10.0<16;16,1>:w",
       [](In in) -> uint64_t { return static_cast<uint64_t>(int64_t{in.w(10)}); }},
      {"mov (16|M0) r40.0<1>:ud r10.0<16;16,1>:uw", [](In in) -> uint64_t { return in.uw(10); }},
      {"mov (8|M8) r40.0<1>:d r10.0<8;8,1>:b",
       [](In in) -> uint64_t { return static_cast<uint64_t>(int64_t{in.b(10)}); }},
      {"mov (16|M0) r40.0<2>:w r10.0<8;8,1>:d", [](In in) -> uint64_t { return in.ud(10); }},
      {"mov (16|M16) r40.0<4>:ub r10.0<8;8,1>:ud", [](In in) -> uint64_t { return in.ud(10); }},
      {"mov (16|M0) (sat)r40.0<4>:ub r10.0<8;8,1>:d", [](In in) { return Clamp(in.d(10), 0, 255); }},
      {"mov (16|M0) (sat)r40.0<4>:b r10.0<8;8,1>:d", [](In in) { return Clamp(in.d(10), -128, 127); }},
      {"mov (16|M0) (sat)r40.0<2>:w r10.0<8;8,1>:d", [](In in) { return Clamp(in.d(10), -32768, 32767); }},
      {"mov (16|M0) (sat)r40.0<2>:uw r10.0<8;8,1>:ud", [](In in) { return Clamp(in.ud(10), 0, 65535); }},
      {"mov (16|M0) (sat)r40.0<1>:d r10.0<8;8,1>:ud", [](In in) { return Clamp(in.ud(10), 0, INT32_MAX); }},
      {"mov (8|M0) r40.0<1>:w 0x76543210:v",
       [](In in) -> uint64_t { return static_cast<uint64_t>(in.lane() < 8 ? in.lane() : in.lane() - 16); }},
      {"mov (8|M0) r40.0<1>:uw 0xFEDCBA98:uv",
       [](In in) -> uint64_t { return static_cast<uint64_t>(in.lane() + 8); }},
      {"mov (8|M0) r40.0<1>:w 0xFEDCBA98:v",
       [](In in) -> uint64_t { return static_cast<uint64_t>(in.lane() - 8); }},
      // A vector stands for eight words, of which dwords have every other.
      {"mov (4|M0) r40.0<1>:d 0xF5E4D3C2:v",
       [](In in) -> uint64_t { return static_cast<uint64_t>(in.lane() + 2); }},
      {"mov (4|M0) r40.0<2>:uw 0xF8F9FAFB:uv",
       [](In in) -> uint64_t { return static_cast<uint64_t>(11 - in.lane()); }},
      {"(W) add (4|M0) r40.0<1>:ud r10.3<0;1,0>:uw 0xC080400:uv",
       [](In in) -> uint64_t { return in.At<uint16_t>(10, 3) + 4u * static_cast<uint32_t>(in.lane()); }},
      {"mov (16|M0) r40.0<1>:d r10.3<0;1,0>:d", [](In in) -> uint64_t { return in.At<uint32_t>(10, 3); }},
      {"mov (8|M0) r40.0<1>:d r10.1<2;1,0>:d",
       [](In in) -> uint64_t { return in.At<uint32_t>(10, 1 + 2 * in.lane()); }},
      {"mov (8|M0) r40.0<1>:d r10.0<4;4,0>:d",
       [](In in) -> uint64_t { return in.At<uint32_t>(10, in.lane() / 4 * 4); }},
      {"mov (16|M0) r40.0<1>:uw r10.1<16;8,2>:uw",
       [](In in) -> uint64_t { return in.At<uint16_t>(10, 1 + 2 * in.lane()); }},
      {"mov (4|M4) r40.5<1>:d r10.0<4;4,1>:d", [](In in) -> uint64_t { return in.ud(10); }},
      {"mov (1|M0) r40.2<1>:ud f0.0<0;1,0>:ud", [](In in) -> uint64_t { return in.thread().flag[0]; }},
      {"mov (1|M0) r40.0<1>:uw f1.1<0;1,0>:uw", [](In in) -> uint64_t { return in.thread().flag[1] >> 16; }},
      {"mov (1|M0) r40.0<1>:ud cr0.0<0;1,0>:ud", [](In in) -> uint64_t { return in.thread().control[0]; }},
      {"mov (8|M0) r40.0<1>:ud acc0.0<8;8,1>:ud",
       [](In in) -> uint64_t { return AccumulatorOf(in) & 0xffffffff; }},
      {"mov (16|M0) r40.0<1>:w acc0.0<16;16,1>:w",
       [](In in) -> uint64_t {
         uint16_t value;
         __builtin_memcpy(&value, in.thread().accumulator + 2 * in.lane(), sizeof(value));
         return value;
       }},
      {"add (16|M0) r40.0<1>:w r10.0<16;16,1>:w -acc0.0<16;16,1>:w",
       [](In in) -> uint64_t {
         uint16_t value;
         __builtin_memcpy(&value, in.thread().accumulator + 2 * in.lane(), sizeof(value));
         return static_cast<uint64_t>(in.uw(10)) - value;
       }},
      // A pause changes nothing.
      {"(W) mov (1|M0) tm0.4<1>:ud 0x3E0:uw", nullptr},
      {"mov (1|M0) r40.0<1>:ud ce<0;1,0>:ud", [](In in) -> uint64_t { return in.thread().active_mask; }},
      {"mov (16|M0) r40.0<1>:ud r[a0.0]<1,0>:ud",
       [](In in) -> uint64_t {
         uint32_t value;
         __builtin_memcpy(&value, in.thread().grf + in.thread().address[in.lane()], sizeof(value));
         return value;
       }},
      {"mov (8|M0) r40.0<1>:ud r[a0.2,64]<8;8,1>:ud",
       [](In in) -> uint64_t {
         uint32_t value;
         __builtin_memcpy(&value, in.thread().grf + in.thread().address[2] + 64 + 4 * in.lane(),
                          sizeof(value));
         return value;
       }},
      // Logic.
      {"not (16|M0) r40.0<1>:d r10.0<8;8,1>:d", [](In in) -> uint64_t { return ~in.ud(10); }},
      {"and (16|M0) r40.0<1>:d r10.0<8;8,1>:d r20.0<8;8,1>:d",
       [](In in) -> uint64_t { return in.ud(10) & in.ud(20); }},
      {"and (16|M0) r40.0<1>:d ~r10.0<8;8,1>:d r20.0<8;8,1>:d",
       [](In in) -> uint64_t { return ~in.ud(10) & in.ud(20); }},
      {"and (16|M0) r40.0<1>:d r10.0<8;8,1>:d -8:w",
       [](In in) -> uint64_t { return in.ud(10) & 0xfffffff8; }},
      {"or (16|M0) r40.0<1>:d r10.0<8;8,1>:d ~r20.0<8;8,1>:d",
       [](In in) -> uint64_t { return in.ud(10) | ~in.ud(20); }},
      {"xor (16|M0) r40.0<1>:uw r10.0<16;16,1>:uw r20.0<16;16,1>:uw",
       [](In in) -> uint64_t { return in.uw(10) ^ in.uw(20); }},
      {"and (16|M0) (ne)f0.0 null<1>:d r10.0<8;8,1>:d r20.0<8;8,1>:d", nullptr,
       [](In in) { return (in.ud(10) & in.ud(20)) != 0; }},
      {"and (16|M0) (lt)f1.0 null<1>:d ~r10.0<8;8,1>:d r20.0<8;8,1>:d", nullptr,
       [](In in) { return (~in.ud(10) & in.ud(20)) >> 31 != 0; }},
      // Shifts.
      {"shl (16|M0) r40.0<1>:d r10.0<8;8,1>:d 5:w", [](In in) -> uint64_t { return in.ud(10) << 5; }},
      {"shl (16|M0) r40.0<1>:d r10.0<8;8,1>:d r20.0<8;8,1>:d",
       [](In in) -> uint64_t { return in.ud(10) << in.ud(20) % 32; }},
      {"shr (16|M0) r40.0<1>:d r10.0<8;8,1>:ud r20.0<8;8,1>:d",
       [](In in) -> uint64_t { return in.ud(10) >> in.ud(20) % 32; }},
      {"shr (16|M0) r40.0<1>:d r10.0<16;16,1>:uw 3:w", [](In in) -> uint64_t { return in.uw(10) >> 3; }},
      {"asr (16|M0) r40.0<1>:d r10.0<8;8,1>:d r20.0<8;8,1>:d",
       [](In in) -> uint64_t { return static_cast<uint64_t>(int64_t{in.d(10)} >> in.ud(20) % 32); }},
      {"rol (16|M0) r40.0<1>:ud r10.0<8;8,1>:ud r20.0<8;8,1>:d",
       [](In in) -> uint64_t { return (uint64_t{in.ud(10)} * 0x100000001ull << in.ud(20) % 32) >> 32; }},
      {"ror (16|M0) r40.0<1>:ud r10.0<8;8,1>:ud 7:w",
       [](In in) -> uint64_t { return in.ud(10) >> 7 | in.ud(10) << 25; }},
      // Sums.
      {"add (16|M0) r40.0<1>:d r10.0<8;8,1>:d r20.0<8;8,1>:d",
       [](In in) -> uint64_t { return in.ud(10) + in.ud(20); }},
      {"add (16|M0) r40.0<1>:d r10.0<8;8,1>:d -r20.0<16;16,1>:uw",
       [](In in) -> uint64_t { return in.ud(10) - in.uw(20); }},
      {"add (16|M16) r40.0<1>:d r10.0<8;8,1>:d r8.1<0;1,0>:d",
       [](In in) -> uint64_t { return in.ud(10) + in.At<uint32_t>(8, 1); }},
      {"add (32|M0) r40.0<1>:uw r10.0<16;16,1>:uw r20.0<16;16,1>:uw",
       [](In in) -> uint64_t { return in.uw(10) + in.uw(20); }},
      {"add (16|M0) (sat)r40.0<1>:d r10.0<8;8,1>:d r20.0<8;8,1>:d",
       [](In in) { return Clamp(int64_t{in.d(10)} + in.d(20), INT32_MIN, INT32_MAX); }},
      {"add (16|M0) (sat)r40.0<1>:ud r10.0<8;8,1>:ud -r20.0<16;16,1>:uw",
       [](In in) { return Clamp(int64_t{in.ud(10)} - in.uw(20), 0, UINT32_MAX); }},
      {"(f0.0) add (16|M0) r40.0<1>:d r10.0<8;8,1>:d 1:w", [](In in) -> uint64_t { return in.ud(10) + 1; }},
      {"(~f1.1) add (16|M0) r40.0<1>:d r10.0<8;8,1>:d 1:w", [](In in) -> uint64_t { return in.ud(10) + 1; }},
      {"(W&f0.1) add (16|M0) r40.0<1>:d r10.0<8;8,1>:d 1:w", [](In in) -> uint64_t { return in.ud(10) + 1; }},
      {"(W) add (8|M8) r40.0<1>:d r10.0<8;8,1>:d 1:w", [](In in) -> uint64_t { return in.ud(10) + 1; }},
      {"add (16|M0) (eq)f0.1 r40.0<1>:d r10.0<8;8,1>:d r20.0<8;8,1>:d",
       [](In in) -> uint64_t { return in.ud(10) + in.ud(20); },
       [](In in) { return in.ud(10) + in.ud(20) == 0; }},
      {"avg (16|M0) r40.0<1>:d r10.0<8;8,1>:d r20.0<8;8,1>:d",
       [](In in) -> uint64_t { return static_cast<uint64_t>((int64_t{in.d(10)} + in.d(20) + 1) >> 1); }},
      {"addc (8|M0) r40.0<1>:ud r10.0<8;8,1>:ud r20.0<8;8,1>:ud {AccWrEn}",
       [](In in) -> uint64_t { return in.ud(10) + in.ud(20); }, nullptr,
       [](In in) { return (uint64_t{in.ud(10)} + in.ud(20)) >> 32; }},
      {"addc (8|M0) r40.0<1>:ud r10.0<8;8,1>:ud r20.0<8;8,1>:uw {AccWrEn}",
       [](In in) -> uint64_t { return in.ud(10) + in.uw(20); }, nullptr,
       [](In in) { return (uint64_t{in.ud(10)} + in.uw(20)) >> 32; }},
      {"addc (8|M0) r40.0<1>:ud r10.0<8;8,1>:ud 7:w {AccWrEn}",
       [](In in) -> uint64_t { return in.ud(10) + 7; }, nullptr,
       [](In in) -> uint64_t { return in.ud(10) >= 0xfffffff9; }},
      {"subb (8|M8) r40.0<1>:ud r10.0<8;8,1>:ud r20.0<8;8,1>:ud {AccWrEn}",
       [](In in) -> uint64_t { return in.ud(10) - in.ud(20); }, nullptr,
       [](In in) -> uint64_t { return in.ud(10) < in.ud(20); }},
      // Products.
      {"mul (16|M0) r40.0<1>:d r10.0<8;8,1>:d r20.0<16;16,1>:uw",
       [](In in) -> uint64_t { return in.ud(10) * in.uw(20); }},
      {"mul (16|M0) r40.0<1>:d r10.0<16;16,1>:w r20.0<16;16,1>:w",
       [](In in) -> uint64_t { return static_cast<uint64_t>(int64_t{in.w(10)} * in.w(20)); }},
      {"mul (16|M0) r40.0<1>:d r10.0<8;8,1>:d -3:w", [](In in) -> uint64_t { return 0 - 3 * in.ud(10); }},
      {"mul (16|M0) acc0.0<1>:ud r10.0<8;8,1>:ud r20.0<2;1,0>:uw", nullptr, nullptr,
       [](In in) -> uint64_t { return in.ud(10) * in.At<uint16_t>(20, 2 * in.lane()); }},
      {"mad (16|M0) r40.0<1>:d r10.0<8;1>:d r20.0<8;1>:d r30.0<1>:w",
       [](In in) -> uint64_t { return in.ud(10) + in.ud(20) * static_cast<uint32_t>(in.w(30)); }},
      {"mach (8|M0) r40.0<1>:ud r10.0<8;8,1>:ud r20.0<8;8,1>:ud {AccWrEn}",
       [](In in) { return (AccumulatorOf(in) + (uint64_t{in.ud(10)} * (in.ud(20) >> 16) << 16)) >> 32; },
       nullptr, [](In in) { return AccumulatorOf(in) + (uint64_t{in.ud(10)} * (in.ud(20) >> 16) << 16); }},
      {"mach (8|M8) r40.0<1>:d r10.0<8;8,1>:d r20.0<8;8,1>:d {AccWrEn}",
       [](In in) {
         return (AccumulatorOf(in) + (static_cast<uint64_t>(in.d(10) * int64_t{in.d(20) >> 16}) << 16)) >> 32;
       },
       nullptr,
       [](In in) {
         return AccumulatorOf(in) + (static_cast<uint64_t>(in.d(10) * int64_t{in.d(20) >> 16}) << 16);
       }},
      {"mach (16|M0) r40.0<1>:d r10.0<8;8,1>:d r20.0<8;8,1>:d",
       [](In in) { return AccumulatorOf(in) + (uint64_t{in.ud(10)} * (in.ud(20) >> 16) << 16); }},
      {"dp4a (8|M0) r40.0<1>:d r10.0<8;1>:d r20.0<8;1>:d r30.0<1>:d",
       [](In in) -> uint64_t { return static_cast<uint64_t>(in.d(10) + Dot(in.ud(20), in.ud(30), true)); }},
      {"dp4a (8|M0) (sat)r40.0<1>:ud r10.0<8;1>:ud r20.0<8;1>:ud r30.0<1>:ud",
       [](In in) { return Clamp(in.ud(10) + Dot(in.ud(20), in.ud(30), false), 0, UINT32_MAX); }},
      {"math.iqot (8|M0) r40.0<1>:d r10.0<8;8,1>:d r20.0<8;8,1>:d",
       [](In in) -> uint64_t {
         if (in.d(20) == 0) return in.d(10) < 0 ? 0x80000000 : 0x7fffffff;
         return static_cast<uint64_t>(int64_t{in.d(10)} / in.d(20));
       }},
      {"math.irem (8|M0) r40.0<1>:d r10.0<8;8,1>:d r20.0<8;8,1>:d",
       [](In in) -> uint64_t {
         if (in.d(20) == 0) return in.d(10) < 0 ? 0x80000000 : 0x7fffffff;
         return static_cast<uint64_t>(int64_t{in.d(10)} % in.d(20));
       }},
      {"math.iqot (8|M8) r40.0<1>:ud r10.0<8;8,1>:ud r20.0<8;8,1>:ud",
       [](In in) -> uint64_t { return in.ud(20) == 0 ? 0xffffffff : in.ud(10) / in.ud(20); }},
      {"math.irem (8|M0) r40.0<1>:d r10.0<8;8,1>:ud r20.0<8;8,1>:ud",
       [](In in) -> uint64_t { return in.ud(20) == 0 ? 0xffffffff : in.ud(10) % in.ud(20); }},
      // Bits.
      {"lzd (16|M0) r40.0<1>:ud r10.0<8;8,1>:ud", [](In in) { return LeadingZeros(in.ud(10)); }},
      {"fbh (16|M0) r40.0<1>:ud r10.0<8;8,1>:ud",
       [](In in) { return in.ud(10) ? LeadingZeros(in.ud(10)) : 0xffffffff; }},
      {"fbh (16|M0) r40.0<1>:ud r10.0<8;8,1>:d",
       [](In in) {
         const uint32_t value = in.d(10) < 0 ? ~in.ud(10) : in.ud(10);
         return value ? LeadingZeros(value) : 0xffffffff;
       }},
      {"fbl (16|M0) r40.0<1>:ud r10.0<8;8,1>:ud",
       [](In in) {
         return in.ud(10) ? LeadingZeros(static_cast<uint32_t>(Reversed(in.ud(10)))) : 0xffffffff;
       }},
      {"fbl (16|M0) r40.0<1>:ud r10.0<16;16,1>:uw",
       [](In in) {
         return in.uw(10) ? LeadingZeros(static_cast<uint32_t>(Reversed(in.uw(10)))) : 0xffffffff;
       }},
      {"cbit (16|M0) r40.0<1>:ud r10.0<8;8,1>:ud", [](In in) { return Ones(in.ud(10)); }},
      {"cbit (16|M0) r40.0<1>:ud r10.0<16;16,1>:uw", [](In in) { return Ones(in.uw(10)); }},
      {"bfrev (16|M0) r40.0<1>:ud r10.0<8;8,1>:ud", [](In in) { return Reversed(in.ud(10)); }},
      {"bfe (16|M0) r40.0<1>:ud r10.0<8;1>:ud r20.0<8;1>:ud r30.0<1>:ud",
       [](In in) -> uint64_t {
         return (uint64_t{in.ud(30)} >> in.ud(20) % 32) & ((1ull << in.ud(10) % 32) - 1);
       }},
      {"bfi1 (16|M0) r40.0<1>:ud r10.0<8;8,1>:ud r20.0<8;8,1>:ud",
       [](In in) -> uint64_t { return ((1ull << in.ud(10) % 32) - 1) << in.ud(20) % 32; }},
      {"bfi2 (16|M0) r40.0<1>:ud r10.0<8;1>:ud r20.0<8;1>:ud r30.0<1>:ud",
       [](In in) -> uint64_t { return in.ud(30) ^ ((in.ud(30) ^ in.ud(20)) & in.ud(10)); }},
      // Comparisons and choices.
      {"cmp (16|M0) (lt)f0.0 null<1>:d r10.0<8;8,1>:d r20.0<8;8,1>:d", nullptr,
       [](In in) { return in.d(10) < in.d(20); }},
      {"cmp (16|M16) (ge)f1.0 null<1>:d r10.0<8;8,1>:ud r20.0<8;8,1>:ud", nullptr,
       [](In in) { return in.ud(10) >= in.ud(20); }},
      {"cmp (16|M0) (gt)f0.0 null<1>:d r10.0<8;8,1>:d r20.0<8;8,1>:ud", nullptr,
       [](In in) { return int64_t{in.d(10)} > int64_t{in.ud(20)}; }},
      {"cmp (16|M0) (eq)f1.1 r40.0<1>:d r10.0<8;8,1>:d 0:w",
       [](In in) -> uint64_t { return in.d(10) == 0 ? ~0ull : 0; }, [](In in) { return in.d(10) == 0; }},
      {"cmp (32|M0) (ne)f0.0 null<1>:uw r10.0<16;16,1>:uw r20.0<16;16,1>:uw", nullptr,
       [](In in) { return in.uw(10) != in.uw(20); }},
      {"cmp (16|M0) (le)f0.0 null<1>:w r10.0<16;16,1>:w -r20.0<16;16,1>:w", nullptr,
       [](In in) { return in.w(10) <= -in.w(20); }},
      {"(f0.0) sel (16|M0) r40.0<1>:d r10.0<8;8,1>:d r20.0<8;8,1>:d",
       [](In in) -> uint64_t { return in.flag(0) ? in.ud(10) : in.ud(20); }},
      {"(~f1.0) sel (16|M16) r40.0<1>:d r10.0<8;8,1>:d -7:w",
       [](In in) -> uint64_t { return in.flag(2) ? 0 - 7ull : in.ud(10); }},
      {"sel (16|M0) (lt)f0.0 r40.0<1>:d r10.0<8;8,1>:d r20.0<8;8,1>:d",
       [](In in) -> uint64_t { return static_cast<uint64_t>(std::min(in.d(10), in.d(20))); }},
      {"sel (16|M0) (ge)f0.0 r40.0<1>:ud r10.0<8;8,1>:ud r20.0<8;8,1>:ud",
       [](In in) -> uint64_t { return std::max(in.ud(10), in.ud(20)); }},
      {"csel (8|M0) (eq)f0.0 r40.0<1>:w r10.0<8;1>:w r20.0<8;1>:w r30.0<1>:w",
       [](In in) -> uint64_t { return static_cast<uint64_t>(int64_t{in.w(30) == 0 ? in.w(10) : in.w(20)}); }},
      {"csel (8|M0) (lt)f0.0 r40.0<1>:d r10.0<8;1>:d r20.0<8;1>:d r30.0<1>:d",
       [](In in) -> uint64_t { return in.d(30) < 0 ? in.ud(10) : in.ud(20); }},
      {"(W&f0.0.any16h) mov (16|M0) r40.0<1>:d 1:w", [](In) -> uint64_t { return 1; }},
      {"(W&~f0.1.any16h) mov (1|M0) r40.0<1>:d 1:w", [](In) -> uint64_t { return 1; }},
      {"(W&f1.0.all32h) mov (1|M0) r40.0<1>:d 1:w", [](In) -> uint64_t { return 1; }},
      {"(W&f0.0.any8h) mov (16|M0) r40.0<1>:d 1:w", [](In) -> uint64_t { return 1; }},
  };
  return vectors;
}

}  // namespace dxg::hostsim::eu
