// Kernels whose instructions the decoder is compared on. They are chosen for the instructions that the
// compiler makes of them, not for what they compute.

#pragma OPENCL EXTENSION cl_khr_fp16 : enable
#pragma OPENCL EXTENSION cl_khr_subgroups : enable

#define UNARY(name, type, expression) \
  kernel void name(global type* y, global const type* x) { \
    const int i = get_global_id(0); \
    const type a = x[i]; \
    y[i] = expression; \
  }
#define BINARY(name, type, expression) \
  kernel void name(global type* z, global const type* x, global const type* y, int n) { \
    const int i = get_global_id(0); \
    if (i >= n) return; \
    const type a = x[i], b = y[i]; \
    z[i] = expression; \
  }

BINARY(add_f, float, a + b)
BINARY(mad_f, float, mad(a, b, 3.0f))
BINARY(div_f, float, a / b)
BINARY(fmod_f, float, fmod(a, b))
BINARY(pow_f, float, pow(a, b))
BINARY(atan2_f, float, atan2(a, b))
BINARY(hypot_f, float, hypot(a, b))
BINARY(max_f, float, fmax(a, b) - fmin(a, b))
BINARY(select_f, float, a < b ? a * 2 : b * 3)
BINARY(ldexp_f, float, ldexp(a, (int)b))
BINARY(add_h, half, a + b)
BINARY(mad_h, half, mad(a, b, a))
BINARY(max_h, half, fmax(a, b))
BINARY(add_i, int, a + b)
BINARY(mul_i, int, a * b)
BINARY(mul_hi_i, int, mul_hi(a, b))
BINARY(div_i, int, a / b + a % b)
BINARY(div_u, uint, a / b + a % b)
BINARY(shift_i, int, (a << (b & 31)) ^ (a >> (b & 7)))
BINARY(shift_u, uint, (a << (b & 31)) ^ (a >> (b & 7)))
BINARY(rotate_u, uint, rotate(a, b))
BINARY(add_sat_i, int, add_sat(a, b) ^ sub_sat(a, b))
BINARY(add_sat_c, char, add_sat(a, b) ^ sub_sat(a, b))
BINARY(add_sat_us, ushort, add_sat(a, b) ^ sub_sat(a, b))
BINARY(hadd_i, int, hadd(a, b) + rhadd(a, b))
BINARY(abs_diff_i, int, (int)abs_diff(a, b))
BINARY(mad24_i, int, mad24(a, b, 7) + mul24(a, b))
BINARY(mad_hi_u, uint, mad_hi(a, b, a))
BINARY(bits_i, int, bitselect(a, b, a ^ b))
BINARY(add_l, long, a + b - 5)
BINARY(mul_l, long, a * b)
BINARY(div_l, long, a / b)
BINARY(mod_ul, ulong, a % b)
BINARY(shift_l, long, (a << (b & 63)) ^ (a >> (b & 15)))
BINARY(mul_hi_l, long, mul_hi(a, b))
BINARY(compare_l, long, a < b ? a : b)
BINARY(mul_s, short, a * b)
BINARY(mad_uc, uchar, a * b + 3)
UNARY(sqrt_f, float, sqrt(a))
UNARY(exp_f, float, exp(a))
UNARY(log_f, float, log(a))
UNARY(sin_f, float, sin(a))
UNARY(cos_f, float, native_cos(a))
UNARY(tan_f, float, tan(a))
UNARY(round_f, float, round(a) + rint(a) + floor(a) + ceil(a) + trunc(a))
UNARY(erf_f, float, erf(a))
UNARY(popcount_u, uint, popcount(a) + clz(a))
UNARY(lgamma_f, float, lgamma(a))
UNARY(exp_h, half, exp(a))
UNARY(sqrt_h, half, sqrt(a))

#define CONVERT(name, to, from, function) \
  kernel void name(global to* y, global const from* x) { \
    const int i = get_global_id(0); \
    y[i] = function(x[i]); \
  }
CONVERT(float_to_int, int, float, convert_int_rte)
CONVERT(float_to_uchar, uchar, float, convert_uchar_sat)
CONVERT(float_to_half, half, float, convert_half_rtz)
CONVERT(half_to_float, float, half, convert_float)
CONVERT(int_to_float, float, int, convert_float_rtp)
CONVERT(uint_to_half, half, uint, convert_half)
CONVERT(long_to_float, float, long, convert_float)
CONVERT(float_to_long, long, float, convert_long_sat)
CONVERT(short4_to_float4, float4, short4, convert_float4)
CONVERT(float_to_ushort, ushort, float, convert_ushort_sat_rtn)

kernel void diverge(global int* y, global const int* x, int n) {
  const int i = get_global_id(0);
  int a = x[i], steps = 0;
  while (a != 1 && steps < n) {
    if (a & 1) {
      a = 3 * a + 1;
      if (a % 7 == 0) continue;
    } else {
      a >>= 1;
    }
    if (a == 17) break;
    ++steps;
  }
  switch (steps & 7) {
    case 0:
      steps += 5;
    case 1:
      steps *= 3;
      break;
    case 5:
      steps ^= 0x55;
      break;
    default:
      if (n == 3) return;
  }
  y[i] = steps;
}

kernel void reduce(global float* out, global const float* in, local float* part) {
  const int l = get_local_id(0);
  part[l] = in[get_global_id(0)];
  barrier(CLK_LOCAL_MEM_FENCE);
  for (int s = get_local_size(0) / 2; s > 0; s >>= 1) {
    if (l < s) part[l] += part[l + s];
    barrier(CLK_LOCAL_MEM_FENCE);
  }
  if (l == 0) out[get_group_id(0)] = part[0];
}

kernel __attribute__((reqd_work_group_size(16, 16, 1))) void matmul(global float* c, global const float* a,
                                                                      global const float* b, int n) {
  local float ta[16][16], tb[16][16];
  const int x = get_local_id(0), y = get_local_id(1);
  float sum = 0;
  for (int t = 0; t < n / 16; ++t) {
    ta[y][x] = a[get_global_id(1) * n + t * 16 + x];
    tb[y][x] = b[(t * 16 + y) * n + get_global_id(0)];
    barrier(CLK_LOCAL_MEM_FENCE);
    for (int k = 0; k < 16; ++k) sum = fma(ta[y][k], tb[k][x], sum);
    barrier(CLK_LOCAL_MEM_FENCE);
  }
  c[get_global_id(1) * n + get_global_id(0)] = sum;
}

kernel void histogram(global int* bins, global const uint* x, global int* top, global int* chain) {
  const int i = get_global_id(0);
  atomic_inc(&bins[x[i] & 63]);
  atomic_max(top, (int)x[i]);
  int old = *chain;
  while (atomic_cmpxchg(chain, old, old + i) != old) old = *chain;
}

kernel void vectors(global float4* y, global const float4* x, global uchar4* bytes, global half* halves) {
  const int i = get_global_id(0);
  const float4 a = x[i];
  y[i] = sin(a) * exp(a.wzyx) + sqrt(fabs(a));
  bytes[i] = convert_uchar4_sat(a);
  vstore_half(a.x, i, halves);
}

kernel void spill(global float* y, global const float* x) {
  const int i = get_global_id(0);
  float v[64];
  for (int k = 0; k < 64; ++k) v[k] = x[i + k];
  for (int r = 0; r < 3; ++r)
    for (int k = 0; k < 64; ++k) v[k] = v[(k * 7 + r) & 63] * 1.5f + v[(k + i) & 63];
  float sum = 0;
  for (int k = 0; k < 64; ++k) sum += v[k];
  y[i] = sum;
}

kernel void subgroups(global int* y, global const int* x) {
  const int i = get_global_id(0);
  y[i] = sub_group_reduce_add(x[i]) + sub_group_scan_exclusive_max(x[i]) + sub_group_broadcast(x[i], 2);
  if (sub_group_any(x[i] > 5)) y[i] += work_group_reduce_add(x[i]);
}
