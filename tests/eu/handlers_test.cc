#include <gtest/gtest.h>

#include <cfenv>
#include <cstring>
#include <random>

#include "hostsim/work/eu/gen12lp.h"
#include "hostsim/work/eu/step.h"
#include "tests/eu/random_state.h"

// The fast handlers give the bits of the generic ones.

namespace dxg::hostsim::eu {
namespace {

using gen12lp::Word;

template <typename T, size_t kSize>
T OneOf(std::mt19937& random, const T (&values)[kSize]) {
  return values[random() % kSize];
}

// A region of 24 bits, of those that compilers use, now and then another one.
uint32_t RandomRegion(std::mt19937& random, uint32_t bytes) {
  struct Shape {
    uint8_t vertical, width, stride;  // as they are coded
  };
  constexpr Shape kShapes[] = {{4, 3, 1}, {4, 3, 1}, {5, 4, 1}, {0, 0, 0}, {0, 0, 0}, {2, 0, 0},
                               {1, 0, 0}, {3, 2, 1}, {3, 0, 0}, {5, 3, 2}, {2, 1, 1}};
  const Shape shape = OneOf(random, kShapes);
  const uint32_t subregister = random() % 4 ? 0 : random() % (32 / bytes) * bytes;
  return shape.stride | 1u << 2 | subregister << 3 | (2 + random() % 100) << 8 | uint32_t{shape.width} << 17 |
         uint32_t{shape.vertical} << 20;
}

constexpr uint8_t kBytes[] = {1, 2, 4, 0, 1, 2, 4, 0, 0, 2, 4};

Word RandomOperation(std::mt19937& random, bool floats) {
  constexpr uint8_t kIntegerOps[] = {97,  98, 100, 101, 102, 103, 104, 105, 108,
                                     112, 64, 64,  65,  73,  78,  79,  91};
  constexpr uint8_t kFloatOps[] = {97, 98, 112, 64, 64, 65, 65, 91, 91};
  constexpr uint8_t kIntegerTypes[] = {2, 2, 2, 6, 6, 6, 0, 1, 4, 5};
  constexpr uint8_t kFloatTypes[] = {10, 10, 10, 10, 10, 6, 2, 9};
  constexpr uint8_t kConditions[] = {0, 0, 0, 1, 2, 3, 4, 5, 6};
  const uint8_t op = floats ? OneOf(random, kFloatOps) : OneOf(random, kIntegerOps);
  const bool is_comparison = op == 112, is_choice = op == 98;
  const auto type = [&] {
    return floats ? (random() % 8 ? 10 : OneOf(random, kFloatTypes)) : OneOf(random, kIntegerTypes);
  };
  Word word;
  word.Set(6, 0, op);
  word.Set(18, 16, random() % 6);
  word.Set(21, 19, random() % 8 ? 0 : random());
  word.Set(23, 22, random());
  if (random() % 4 == 0 || is_choice) word.Set(27, 24, 1);
  word.Set(28, 28, random());
  word.Set(31, 31, random() % 4 == 0);
  if (op == 78 || op == 79 || (op == 73 && random() % 2)) word.Set(33, 33, 1);
  const uint32_t condition = random() % 4 == 0 || is_comparison ? OneOf(random, kConditions) : 0;
  word.Set(95, 92, condition);
  if (is_choice && condition) word.half[0] &= ~(uint64_t{15} << 24);
  const uint32_t to_type = op >= 78 && op < 80 ? 2u : type();
  const uint32_t to_stride = random() % 4 ? 1 : 2;
  if (op == 91) {
    const uint32_t is_float = floats ? 1 : 0;
    word.Set(39, 39, is_float);
    for (const uint32_t low : {36u, 40u, 88u, 80u}) word.Set(low + 2, low, floats ? 2 : low == 80 ? 5 : 6);
    word.Set(50, 50, 1);
    word.Set(63, 56, 2 + random() % 100);
    for (const uint32_t low : {64u, 96u, 112u}) {
      word.Set(low + 2, low + 2, 1);
      word.Set(low + 15, low + 8, 2 + random() % 100);
      if (random() % 4) {
        word.Set(low, low, 1);
        if (low == 64) word.Set(35, 35, 1), word.Set(43, 43, 1);
        if (low == 96) word.Set(83, 83, 1), word.Set(91, 91, 1);
      }
    }
    word.Set(45, 44, random() % 4 ? 0 : random());
    word.Set(87, 84, random() % 4 ? 0 : random());
    return word;
  }
  word.Set(39, 36, to_type);
  word.Set(49, 48, to_stride);
  if (is_comparison && random() % 2) {
  } else if (random() % 6 == 0 && op != 73) {
    word.Set(63, 56, 0x20);  // the accumulator
    word.half[0] &= ~(uint64_t{3} << 48);
    word.Set(48, 48, 1);
  } else {
    word.Set(50, 50, 1);
    word.Set(63, 56, 2 + random() % 100);
  }
  const uint32_t a = op >= 78 && op < 80 ? 2u : op == 73 ? 2 + random() % 2 * 4 : type();
  uint32_t b = op >= 78 && op < 80   ? 2u
               : op == 73            ? 2 + random() % 2 * 4
               : op == 65 && !floats ? 1 + random() % 2 * 4
                                     : type();
  if (floats && is_choice) b = a;
  const bool immediate = random() % 4 == 0;
  word.Set(43, 40, a);
  word.Set(45, 44, random() % 4 ? 0 : random());
  if (op >= 101 && op < 104) word.half[0] &= ~(uint64_t{1} << 44);
  const uint32_t region = RandomRegion(random, kBytes[a]);
  word.Set(87, 64, region);
  const bool has_two = op != 97 && op != 100;
  if (!has_two) return word;
  word.Set(91, 88, b);
  if (immediate && kBytes[b] > 1) {
    word.Set(47, 47, 1);
    const uint32_t value = RandomDword(random, floats ? Values::kFloats : Values::kIntegers);
    word.Set(127, 96, kBytes[b] == 2 ? (value & 0xffff) * 0x10001 : value);
    return word;
  }
  word.Set(121, 120, random() % 4 ? 0 : random());
  if (op >= 101 && op < 104) word.half[1] &= ~(uint64_t{1} << 56);
  word.Set(119, 96, RandomRegion(random, kBytes[b]));
  return word;
}

struct Counts {
  int decoded = 0, known = 0, fast = 0;
};

void CompareHandlers(uint32_t seed, bool floats, Handlers handlers, int number, Counts* counts) {
  std::mt19937 random(seed);
  for (int i = 0; i < number; ++i) {
    const Word word = RandomOperation(random, floats);
    Result<Instruction> instruction = Decode(std::as_bytes(std::span(word.half)));
    if (!instruction.ok()) continue;
    ++counts->decoded;
    Step generic, fast;
    if (!Prepare(*instruction, Handlers::kGeneric, &generic).empty() || generic.kind != Step::kOperation)
      continue;
    ++counts->known;
    ASSERT_EQ(Prepare(*instruction, handlers, &fast), "");
    ASSERT_EQ(fast.any, generic.any);
    if (fast.plain == fast.any) continue;
    ++counts->fast;
    for (int round = 0; round < 4; ++round) {
      const std::unique_ptr<Thread> before =
          RandomThread(random, floats ? Values::kFloats : Values::kIntegers);
      Thread one, two;
      std::memcpy(static_cast<void*>(&one), before.get(), sizeof(one));
      std::memcpy(static_cast<void*>(&two), before.get(), sizeof(two));
      const uint32_t lanes = (round % 2 ? static_cast<uint32_t>(random()) : ~0u) &
                             (generic.lanes == 32 ? ~0u : (1u << generic.lanes) - 1);
      ASSERT_EQ(generic.any(one, generic, lanes), nullptr);
      ASSERT_EQ(fast.plain(two, fast, lanes), nullptr);
      ASSERT_EQ(std::memcmp(&one, &two, sizeof(one)), 0) << Disassemble(*instruction) << " seed " << seed;
    }
  }
}

class Vectors : public testing::TestWithParam<Handlers> {};

TEST_P(Vectors, OfIntegersGiveTheBitsOfTheGenericHandlers) {
  Counts counts;
  for (uint32_t seed = 1; seed <= 3; ++seed) CompareHandlers(seed, false, GetParam(), 2000, &counts);
  EXPECT_GT(counts.known, 2000);
  EXPECT_GT(counts.fast, 1000);
}

TEST_P(Vectors, OfFloatsGiveTheBitsOfTheGenericHandlers) {
  Counts counts;
  for (uint32_t seed = 1; seed <= 3; ++seed) CompareHandlers(seed, true, GetParam(), 2000, &counts);
  EXPECT_GT(counts.known, 1500);
  EXPECT_GT(counts.fast, 800);
}

INSTANTIATE_TEST_SUITE_P(Handlers, Vectors, testing::Values(Handlers::kBaseline, Handlers::kBest),
                         [](const auto& info) {
                           return info.param == Handlers::kBest ? "Best" : "Baseline";
                         });

}  // namespace
}  // namespace dxg::hostsim::eu
