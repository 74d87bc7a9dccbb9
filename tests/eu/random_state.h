#pragma once

#include <cstdint>
#include <cstring>
#include <iterator>
#include <memory>
#include <random>

#include "hostsim/work/eu/thread.h"

// Threads with values in their registers at which arithmetic is most often wrong: limits, neighbours of
// powers of two, zeros of both signs, denormals, infinities, what is not a number.

namespace dxg::hostsim::eu {

enum class Values { kIntegers, kFloats, kHalves, kMixed };

inline uint32_t RandomDword(std::mt19937& random, Values values) {
  constexpr uint32_t kIntegers[] = {
      0,       1,          2,          0x7f,       0x80, 0xff, 0x100,      0x7fff,     0x8000, 0xffff,
      0x10000, 0x7fffffff, 0x80000000, 0x80000001, ~0u,  ~1u,  0xffff8000, 0xffffff80, 31,     32};
  constexpr uint32_t kFloats[] = {0,          0x80000000, 0x3f800000, 0xbf800000, 0x7f800000,
                                  0xff800000, 0x7fc00000, 0xffc12345, 0x7f7fffff, 0x00000001,
                                  0x80000001, 0x007fffff, 0x00800000, 0x3f000000, 0xbf000000,
                                  0x4f000000, 0xcf000000, 0x4effffff, 0x40200000, 0x3fc00000,
                                  0x33800000, 0x34000000, 0x4b000000, 0x4b800001, 0x00400000};
  constexpr uint16_t kHalves[] = {0,      0x8000, 0x3c00, 0xbc00, 0x7c00, 0xfc00, 0x7e00, 0x7bff, 1,
                                  0x8001, 0x03ff, 0x0400, 0x3800, 0x3555, 0x6bff, 0x0200, 0x1400};
  const uint32_t chance = random() % 8;
  const auto half = [&] { return random() % 2 ? kHalves[random() % std::size(kHalves)] : random() & 0xffff; };
  switch (values) {
    case Values::kIntegers:
      return chance < 3 ? kIntegers[random() % std::size(kIntegers)] : chance < 5 ? random() % 64 : random();
    case Values::kFloats:
      if (chance < 3) return kFloats[random() % std::size(kFloats)];
      // Of exponents near each other, so that sums and products are neither trivial nor out of range.
      return chance < 7 ? (random() & 0x80ffffff) | (112 + random() % 32) << 23 : random();
    case Values::kHalves:
      return half() << 16 | half();
    case Values::kMixed:
      break;
  }
  return RandomDword(random, static_cast<Values>(random() % 3));
}

// Rounding to nearest, and all denormals are kept.
inline constexpr uint32_t kPlainControl = 0x4c0;

inline std::unique_ptr<Thread> RandomThread(std::mt19937& random, Values values) {
  auto thread = std::make_unique<Thread>();
  std::memset(static_cast<void*>(thread.get()), 0, sizeof(Thread));
  for (uint32_t reg = 0; reg < kRegisters; ++reg)
    for (uint32_t dword = 0; dword < 8; ++dword) thread->SetRegister(reg, dword, RandomDword(random, values));
  for (uint32_t i = 0; i < 16; ++i) {
    const uint32_t dword = RandomDword(random, values);
    std::memcpy(thread->accumulator + 4 * i, &dword, sizeof(dword));
    thread->accumulator_high[i] = static_cast<int32_t>(random());
    thread->address[i] = static_cast<uint16_t>(random() % 3900);
  }
  for (uint32_t& flag : thread->flag) flag = static_cast<uint32_t>(random());
  thread->control[0] = kPlainControl;
  thread->dispatch_mask = thread->active_mask = random() % 2 ? ~0u : static_cast<uint32_t>(random());
  thread->started = true;
  return thread;
}

}  // namespace dxg::hostsim::eu
