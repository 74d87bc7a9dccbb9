#include "hostsim/work/array_kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "hostsim/memory/bulk_copy.h"

// The fast loops beside plain ones: the same bits for all shapes, places and kinds of numbers.

namespace dxg::hostsim::arrays {
namespace {

template <class T>
bool SameBits(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(a) && std::isnan(b)) return true;
  }
  return std::memcmp(&a, &b, sizeof a) == 0;
}

// Integers wrap, and a float is rounded after each step.
template <class T>
T PlainSum(T a, T b) {
  if constexpr (std::is_integral_v<T>)
    return static_cast<T>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
  const volatile T sum = a + b;
  return sum;
}
template <class T>
T PlainProduct(T a, T b) {
  if constexpr (std::is_integral_v<T>)
    return static_cast<T>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
  const volatile T product = a * b;
  return product;
}

enum class Kind { kUnit, kSigned, kWhole, kAnyExponent, kTies, kZeros, kAnyBits, kKinds };

template <class T>
std::vector<T> Numbers(Kind kind, size_t count, std::mt19937_64& random) {
  std::vector<T> numbers(count);
  for (T& number : numbers) {
    if constexpr (std::is_integral_v<T>) {
      number = static_cast<T>(random());
    } else {
      const T unit = static_cast<T>(random() >> 11) * static_cast<T>(0x1p-53);
      switch (kind) {
        case Kind::kUnit:
          number = unit;
          break;
        case Kind::kSigned:
          number = unit - T{0.5};
          break;
        case Kind::kWhole:
          number = static_cast<T>(static_cast<int>(random() % 2001) - 1000);
          break;
        case Kind::kAnyExponent:
          number = std::ldexp(unit, static_cast<int>(random() % 120) - 60) * (random() % 2 != 0 ? 1 : -1);
          break;
        case Kind::kTies:  // beside a large sum, just between two doubles
          number = static_cast<T>(std::ldexp(1.0, static_cast<int>(random() % 3) - 1));
          break;
        case Kind::kZeros:
          number = random() % 2 != 0 ? T{0} : -T{0};
          break;
        default: {
          const uint64_t bits = random();
          std::memcpy(&number, &bits, sizeof number);
        }
      }
    }
  }
  return numbers;
}

template <class T>
std::vector<const Kernels<T>*> All() {
  std::vector<const Kernels<T>*> all = {&baseline::Get<T>()};
  if (HasAvx2()) all.push_back(&avx2::Get<T>());
  return all;
}

template <class T>
class ArrayKernels : public testing::Test {
 protected:
  static constexpr std::array<size_t, 13> kCounts = {0, 1, 3, 7, 8, 63, 64, 65, 127, 1000, 1024, 1025, 5003};
  std::mt19937_64 random_{1};
};
using Types = testing::Types<float, int32_t, double, int64_t>;
TYPED_TEST_SUITE(ArrayKernels, Types);

TYPED_TEST(ArrayKernels, ElementsAreThoseOfALoop) {
  using T = TypeParam;
  for (const auto* kernels : All<T>()) {
    for (const size_t count : this->kCounts) {
      for (const bool stream : {false, true}) {
        for (const size_t offset : {0, 1, 3}) {
          const auto a = Numbers<T>(Kind::kSigned, count + offset, this->random_);
          const auto b = Numbers<T>(Kind::kAnyExponent, count + offset, this->random_);
          std::vector<T> sum(count + offset + 1, T{77}), in_place = a;
          kernels->add(a.data() + offset, b.data() + offset, sum.data() + offset, count, stream);
          kernels->mad(in_place.data() + offset, b.data() + offset, a.data() + offset,
                       in_place.data() + offset, count, stream);
          for (size_t i = offset; i < count + offset; ++i) {
            ASSERT_TRUE(SameBits(sum[i], PlainSum(a[i], b[i]))) << count << " at " << i;
            ASSERT_TRUE(SameBits(in_place[i], PlainSum(PlainProduct(a[i], b[i]), a[i])))
                << count << " at " << i;
          }
          EXPECT_EQ(sum.back(), T{77});
        }
      }
    }
  }
}

TYPED_TEST(ArrayKernels, SumsAreThoseOfALoop) {
  using T = TypeParam;
  using Sum = SumOf<T>;
  for (const auto* kernels : All<T>()) {
    for (int kind = 0; kind < static_cast<int>(Kind::kKinds); ++kind) {
      for (const size_t count : this->kCounts) {
        for (const double start : {0.0, 1.0, 0x1p52, 0x1p53 - 300, -0x1p53, 1e300, 0.1, -7.3e9}) {
          if (std::is_integral_v<T> &&
              std::abs(start) >= static_cast<double>(std::numeric_limits<Sum>::max()))
            continue;
          const auto numbers = Numbers<T>(static_cast<Kind>(kind), count + 1, this->random_);
          const T* const from = numbers.data() + count % 2;  // not always at a vector's size
          Sum expected = static_cast<Sum>(start);
          for (size_t i = 0; i < count; ++i) expected = PlainSum(expected, static_cast<Sum>(from[i]));
          ASSERT_TRUE(SameBits(kernels->sum(from, count, static_cast<Sum>(start)), expected))
              << "kind " << kind << ", " << count << " from " << start;
        }
      }
    }
  }
}

TYPED_TEST(ArrayKernels, ExtremesAreThoseOfALoop) {
  using T = TypeParam;
  for (const auto* kernels : All<T>()) {
    for (int kind = 0; kind <= static_cast<int>(Kind::kKinds); ++kind) {
      for (const size_t count : this->kCounts) {
        for (const bool least : {false, true}) {
          auto numbers = Numbers<T>(static_cast<Kind>(kind), 2 * count, this->random_);
          if constexpr (std::is_floating_point_v<T>) {
            if (kind % 2 != 0) {
              for (size_t i = 0; i < numbers.size() * 3 / 4; ++i) {
                numbers[i] = std::numeric_limits<T>::quiet_NaN();
              }
            }
          }
          Extreme<T> fast{.least = least};
          for (const size_t at : {size_t{0}, count}) kernels->extreme(numbers.data() + at, count, &fast);
          T expected{};
          for (size_t i = 0; i < numbers.size(); ++i) {
            const bool beats = least ? numbers[i] < expected : numbers[i] > expected;
            // NOLINTNEXTLINE(misc-redundant-expression): a NaN is not equal to itself
            if (i == 0 || expected != expected || beats) expected = numbers[i];
          }
          EXPECT_EQ(fast.any, count != 0);
          ASSERT_TRUE(SameBits(fast.value, expected)) << "kind " << kind << ", " << count;
        }
      }
    }
  }
}

TYPED_TEST(ArrayKernels, TilesAreThoseOfALoop) {
  using T = TypeParam;
  for (const auto* kernels : All<T>()) {
    for (const uint64_t depth : {0, 1, 5, 64}) {
      const uint64_t columns = kernels->tile_columns, a_row = depth + 3, c_row = columns + 5;
      const auto a = Numbers<T>(Kind::kSigned, kTileRows * a_row, this->random_);
      const auto b = Numbers<T>(Kind::kSigned, depth * columns + 1, this->random_);
      const auto before = Numbers<T>(Kind::kSigned, kTileRows * c_row, this->random_);
      auto c = before;
      kernels->multiply(a.data(), a_row, b.data(), depth, c.data(), c_row);
      for (uint64_t i = 0; i < kTileRows; ++i) {
        for (uint64_t j = 0; j < c_row; ++j) {
          T expected = before[i * c_row + j];
          for (uint64_t k = 0; j < columns && k < depth; ++k) {
            expected = PlainSum(expected, PlainProduct(a[i * a_row + k], b[k * columns + j]));
          }
          ASSERT_TRUE(SameBits(c[i * c_row + j], expected)) << i << ',' << j << " of depth " << depth;
        }
      }
    }
  }
}

TEST(BulkFill, FillsWhatItIsToldAndNothingElse) {
  for (const size_t words : {0, 1, 15, 127, 128, 5000}) {
    for (const size_t offset : {0, 1, 5}) {
      std::vector<uint32_t> memory(words + offset + 1, 1);
      auto expected = memory;
      std::fill_n(expected.begin() + static_cast<ptrdiff_t>(offset), words, 0xA1B2C3D4);
      // Safety: bytes of numbers.
      BulkFill(reinterpret_cast<uint8_t*>(memory.data() + offset), 0xA1B2C3D4, words * sizeof(uint32_t));
      EXPECT_EQ(memory, expected) << words << " at " << offset;
    }
  }
}

}  // namespace
}  // namespace dxg::hostsim::arrays
