// Memory of the simulated adapter: segment sizes, budgets and reservations.

#include <gtest/gtest.h>

#include "tests/conformance/memory_client.h"
#include "tests/conformance/node.h"
#include "tests/conformance/peer.h"
#include "tests/conformance/sim_queries.h"

namespace dxg::conformance {
namespace {

constexpr uint32_t kGroups[] = {_D3DKMT_MEMORY_SEGMENT_GROUP_LOCAL, _D3DKMT_MEMORY_SEGMENT_GROUP_NON_LOCAL};
constexpr uint64_t kMegabyte = 1 << 20;

d3dkmt_queryvideomemoryinfo Memory(Node& node, uint32_t group) {
  d3dkmt_queryvideomemoryinfo args = {};
  args.adapter = node.FirstAdapter();
  args.memory_segment_group = group;
  node.Ioctl(LX_DXQUERYVIDEOMEMORYINFO, args, "QueryVideoMemoryInfo");
  return args;
}

int Reserve(Node& node, uint32_t group, uint64_t bytes, uint32_t physical_adapter = 0) {
  d3dkmt_changevideomemoryreservation args = {};
  args.adapter = node.FirstAdapter();
  args.memory_segment_group = group;
  args.reservation = bytes;
  args.physical_adapter_index = physical_adapter;
  return node.TryIoctl(LX_DXCHANGEVIDEOMEMORYRESERVATION, args);
}

// ---- Sizes ----

TEST(SimSegments, SizesAgree) {
  Node node = OpenNode();
  const SegmentSizes sizes = GetSegmentSizes(node);
  const SegmentGroupSizes groups = GetSegmentGroupSizes(node);
  EXPECT_EQ(groups.legacy.dedicated_video, sizes.dedicated_video);
  EXPECT_EQ(groups.legacy.dedicated_system, sizes.dedicated_system);
  EXPECT_EQ(groups.legacy.shared_system, sizes.shared_system);
  // Without memory of its own, all of an adapter's memory is local.
  const bool own_memory = sizes.dedicated_video != 0;
  EXPECT_EQ(groups.local, own_memory ? sizes.dedicated_video : sizes.dedicated_system + sizes.shared_system);
  EXPECT_EQ(groups.non_local, own_memory ? sizes.shared_system : 0);
  EXPECT_GT(groups.local + groups.non_local, 0u);
}

TEST(SimSegments, BudgetsFitIntoTheSegments) {
  Node node = OpenNode();
  const SegmentGroupSizes groups = GetSegmentGroupSizes(node);
  EXPECT_LE(Memory(node, _D3DKMT_MEMORY_SEGMENT_GROUP_LOCAL).budget, groups.local);
  EXPECT_LE(Memory(node, _D3DKMT_MEMORY_SEGMENT_GROUP_NON_LOCAL).budget, groups.non_local);
}

// ---- Budget ----

TEST(SimVideoMemory, IdleClientUsesNothingAndMayReserveLessThanItsBudget) {
  InFreshProcess([] {
    Node node = OpenNode();
    EXPECT_GT(Memory(node, kLocal).budget, 0u);
    for (uint32_t group : kGroups) {
      const d3dkmt_queryvideomemoryinfo memory = Memory(node, group);
      EXPECT_LE(memory.current_usage, memory.budget);
      EXPECT_LE(memory.available_for_reservation, memory.budget);
      EXPECT_EQ(memory.current_usage, 0u);
      EXPECT_EQ(memory.current_reservation, 0u);
    }
  });
}

// The answer has no room for a refusal: an error of the message or an empty answer, but no memory that is not
// there.
TEST(SimVideoMemory, GroupOrPhysicalAdapterThatIsNotThereHasNoMemory) {
  Node node = OpenNode();
  struct {
    uint32_t group, physical_adapter;
  } const questions[] = {{2, 0}, {0xffffffff, 0}, {kLocal, 1}, {kLocal, 0xffffffff}};
  for (const auto& question : questions) {
    d3dkmt_queryvideomemoryinfo args = {};
    args.adapter = node.FirstAdapter();
    args.memory_segment_group = question.group;
    args.physical_adapter_index = question.physical_adapter;
    const int result = node.TryIoctl(LX_DXQUERYVIDEOMEMORYINFO, args);
    if (result == 0) {
      EXPECT_EQ(args.budget + args.available_for_reservation, 0u);
    } else {
      EXPECT_TRUE(result == -EOVERFLOW || result == -EINVAL) << ResultName(result);
    }
  }
}

// ---- Reservations ----

TEST(SimReservation, IsReadBackAndRaisesNoBudget) {
  InFreshProcess([] {
    Node node = OpenNode();
    EXPECT_TRUE(Eventually([&] { return HasBudgetsForItself(node); }));
    const d3dkmt_queryvideomemoryinfo before = Memory(node, kLocal);
    ASSERT_GE(before.available_for_reservation, 2 * kMegabyte);
    for (uint64_t bytes : {kMegabyte, 2 * kMegabyte, before.available_for_reservation, uint64_t{0}}) {
      EXPECT_EQ(Reserve(node, kLocal, bytes), 0) << bytes;
      const d3dkmt_queryvideomemoryinfo after = Memory(node, kLocal);
      EXPECT_EQ(after.current_reservation, bytes);
      EXPECT_LE(after.budget, before.budget);
    }
  });
}

TEST(SimReservation, MoreThanAvailableIsInvalidAndKeepsTheOldOne) {
  InFreshProcess([] {
    Node node = OpenNode();
    ASSERT_EQ(Reserve(node, kLocal, kMegabyte), 0);
    for (uint64_t bytes : {Memory(node, kLocal).budget + 1, ~uint64_t{0}, uint64_t{1} << 63})
      EXPECT_EQ(Reserve(node, kLocal, bytes), -EINVAL) << bytes;
    EXPECT_EQ(Memory(node, kLocal).current_reservation, kMegabyte);
  });
}

TEST(SimReservation, GroupOrPhysicalAdapterThatIsNotThereIsInvalid) {
  Node node = OpenNode();
  EXPECT_EQ(Reserve(node, 2, 0), -EINVAL);
  EXPECT_EQ(Reserve(node, 0xffffffff, 0), -EINVAL);
  EXPECT_EQ(Reserve(node, kLocal, 0, 1), -EINVAL);
}

TEST(SimReservation, GroupsAreIndependent) {
  InFreshProcess([] {
    Node node = OpenNode();
    ASSERT_EQ(Reserve(node, kLocal, kMegabyte), 0);
    EXPECT_EQ(Memory(node, _D3DKMT_MEMORY_SEGMENT_GROUP_NON_LOCAL).current_reservation, 0u);
  });
}

TEST(SimReservation, BelongsToOneProcessAndEndsWithIt) {
  InFreshProcess([] {
    Node node = OpenNode();
    ASSERT_EQ(Reserve(node, kLocal, kMegabyte), 0);
    InFreshProcess([] {
      Node other = OpenNode();
      EXPECT_EQ(Memory(other, kLocal).current_reservation, 0u);
      ASSERT_EQ(Reserve(other, kLocal, 2 * kMegabyte), 0);
    });
    EXPECT_EQ(Memory(node, kLocal).current_reservation, kMegabyte);
  });
}

}  // namespace
}  // namespace dxg::conformance
