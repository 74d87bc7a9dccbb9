#include "hostsim/memory/bulk_copy.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace dxg::hostsim {
namespace {

TEST(BulkCopy, CopiesWhatItIsToldAndNothingElse) {
  constexpr size_t kMargin = 256, kMost = (3 << 20) + 17;
  std::mt19937 random(1);
  std::vector<uint8_t> from(kMost + kMargin), to(kMost + 2 * kMargin);
  for (uint8_t& byte : from) byte = static_cast<uint8_t>(random() | 1);
  for (const size_t bytes :
       {size_t{0}, size_t{1}, size_t{(1 << 20) - 1}, size_t{1 << 20}, size_t{(1 << 20) + 63}, kMost}) {
    for (const size_t offset : {0, 1, 15, 63}) {
      std::fill(to.begin(), to.end(), uint8_t{0});
      BulkCopy(to.data() + kMargin + offset, from.data() + (offset * 7) % 64, bytes);
      std::vector<uint8_t> expected(to.size());
      std::copy_n(from.begin() + static_cast<ptrdiff_t>((offset * 7) % 64), bytes,
                  expected.begin() + kMargin + offset);
      EXPECT_TRUE(to == expected) << bytes << " bytes at " << offset;
    }
  }
}

}  // namespace
}  // namespace dxg::hostsim
