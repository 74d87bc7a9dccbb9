// Kernels whose work items go different ways.
#include <string>

#include "tests/stacks/opencl_kit.h"

namespace stacks {
namespace {

using Words = std::vector<uint32_t>;

constexpr const char* kDiverge = R"(
kernel void diverge(global const uint* in, global uint* out, int n) {
  const int i = get_global_id(0);
  if (i >= n) return;
  uint x = in[i] & 0xFFFF, steps = 0;
  while (x != 1) {
    if (steps > 40) break;
    ++steps;
    if (x % 5 == 0) {
      x = x / 5 + 1;
      continue;
    }
    if (x & 1) {
      x = 3 * x + 1;
    } else {
      x /= 2;
    }
  }
  out[i] = steps * 65536 + x;
})";

void RunDiverge(const Session& session, Kernel& kernel, const Shape& shape) {
  Random random(shape.items);
  Words in(shape.items), wanted(shape.items);
  for (uint32_t& each : in) each = random.Next();
  for (size_t i = 0; i < in.size(); ++i) {
    uint32_t x = in[i] & 0xFFFF, steps = 0;
    for (; x != 1 && steps <= 40; ++steps) {
      if (x % 5 == 0) {
        x = x / 5 + 1;
      } else {
        x = (x & 1) != 0 ? 3 * x + 1 : x / 2;
      }
    }
    wanted[i] = steps * 65536 + x;
  }
  const Array<uint32_t> at_in(session, in), out(session, Words(shape.items));
  kernel.Set(at_in, out, static_cast<cl_int>(shape.items));
  kernel.Run(shape);
  CHECK(out.Read() == wanted);
}

// The same statements as OpenCL C and as C, from `sum` and its seed to `sum`. They fall through on purpose.
// They are not a function of their own: with -cl-opt-disable that would be called, and calls are not
// simulated.
#pragma GCC diagnostic ignored "-Wimplicit-fallthrough"
#define JUMPS(...)                                 \
  constexpr const char* kJumpsText = #__VA_ARGS__; \
  uint32_t Jumps(uint32_t seed) {                  \
    uint32_t sum = seed, outer = 0, inner = 0;     \
    __VA_ARGS__                                    \
    return sum;                                    \
  }

JUMPS(for (outer = 0; outer < (seed & 7u) + 2u; ++outer) {
  for (inner = 0; inner < 9u; ++inner) {
    if (((sum ^ inner) & 3u) == 0u) continue;
    if (sum % 11u == 10u) break;
    if (sum % 97u == 96u) goto add;
    if (sum % 251u == 250u) {
      sum ^= 0xABCDu;
      goto done;
    }
    switch ((sum >> 3) & 7u) {
      case 0u:
        sum += 5u;
      case 1u:
        sum ^= sum << 3;
        break;
      case 2u:
        sum = sum * 3u + outer;
        break;
      case 3u:
        goto again;
      case 5u:
        sum -= inner * 7u;
      default:
        sum += 1u + (sum >> 5);
    }
  }
  sum += outer * 31u;
  continue;
again:
  sum = sum * 5u + 1u;
  if ((sum & 15u) != 0u) goto again;
} add : sum += outer;
      done:;)

void RunJumps(const Session& session, Kernel& kernel, const Shape& shape) {
  Random random(shape.items);
  Words in(shape.items), wanted;
  for (uint32_t& each : in) each = random.Next();
  for (const uint32_t each : in) wanted.push_back(Jumps(each));
  const Array<uint32_t> at_in(session, in), out(session, Words(shape.items));
  kernel.Set(at_in, out, static_cast<cl_int>(shape.items));
  kernel.Run(shape);
  CHECK(out.Read() == wanted);
}

const char* JumpsSource() {
  static const std::string source = std::string(R"(
kernel void jumps(global const uint* in, global uint* out, int n) {
  const int i = get_global_id(0);
  if (i >= n) return;
  const uint seed = in[i];
  uint sum = seed, outer = 0, inner = 0;
)") + kJumpsText + "out[i] = sum; }";
  return source.c_str();
}

}  // namespace

std::vector<Proof> FlowProofs() {
  return {
      {"diverge", "diverge", kDiverge, "", RunDiverge},
      {"jumps", "jumps", JumpsSource(), "", RunJumps},
      {"jumps unoptimized", "jumps", JumpsSource(), "-cl-opt-disable", RunJumps},
  };
}

}  // namespace stacks
