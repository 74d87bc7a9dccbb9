#include "hostsim/memory/range_tree.h"

#include <gtest/gtest.h>

#include <chrono>
#include <map>

#include "hostsim/machine/world.h"

namespace dxg::hostsim {
namespace {

constexpr uint64_t kCoarse = 16;

// What the tree promises, by looking at everything.
class RangeModel {
 public:
  std::optional<uint64_t> FindGap(uint64_t bytes, bool aligned, uint64_t low, uint64_t high) const {
    uint64_t from = low;
    auto fit = [&](uint64_t to) -> std::optional<uint64_t> {
      const uint64_t start = aligned ? (from + kCoarse - 1) / kCoarse * kCoarse : from;
      return start < to && to - start >= bytes ? std::optional(start) : std::nullopt;
    };
    for (const auto& [start, end] : ranges) {
      if (end <= from) continue;
      if (const auto found = fit(std::min(start, high))) return found;
      from = std::max(from, end);
    }
    return from < high ? fit(high) : std::nullopt;
  }

  std::map<uint64_t, uint64_t> ranges;
};

TEST(RangeTree, EmptyHasOneGap) {
  RangeTree<int> tree(kCoarse);
  EXPECT_EQ(tree.FindGap(10, false, 5, 20), 5u);
  EXPECT_EQ(tree.FindGap(10, true, 5, 30), 16u);
  EXPECT_EQ(tree.FindGap(16, false, 5, 20), std::nullopt);
  EXPECT_EQ(tree.FindGap(0, false, 5, 20), std::nullopt);
  EXPECT_EQ(tree.Find(5), nullptr);
}

TEST(RangeTree, AgreesWithTheModel) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    Rng rng(seed);
    RangeTree<uint64_t> tree(kCoarse);
    RangeModel model;
    for (int step = 0; step < 2000; ++step) {
      if (rng.Below(3) != 0) {
        const uint64_t bytes = 1 + rng.Below(40);
        const bool aligned = rng.Below(2) != 0;
        const uint64_t low = rng.Below(2000);
        const uint64_t high = low + rng.Below(2000);
        const auto found = tree.FindGap(bytes, aligned, low, high);
        ASSERT_EQ(found, model.FindGap(bytes, aligned, low, high)) << seed << ' ' << step;
        if (!found) continue;
        ASSERT_FALSE(tree.Overlaps(*found, *found + bytes));
        tree.Insert(*found, *found + bytes, *found);
        model.ranges[*found] = *found + bytes;
      } else if (!model.ranges.empty()) {
        auto it = model.ranges.lower_bound(rng.Below(4000));
        if (it == model.ranges.end()) it = model.ranges.begin();
        tree.Erase(it->first);
        model.ranges.erase(it);
      }
      const uint64_t address = rng.Below(4000);
      auto after = model.ranges.upper_bound(address);
      const bool taken = after != model.ranges.begin() && std::prev(after)->second > address;
      ASSERT_EQ(tree.Find(address) != nullptr, taken);
      ASSERT_EQ(tree.size(), model.ranges.size());
    }
  }
}

}  // namespace
}  // namespace dxg::hostsim
