#include "cuse-dxg/guest/handle_table.h"

#include <gtest/gtest.h>

namespace dxg::guest {
namespace {

constexpr HandleType kAny = HandleType::kDevice;

TEST(HandleTable, BeginsAt40000000AndCountsUpBy40) {
  HandleTable table;
  EXPECT_EQ(table.Allocate(kAny, nullptr).value, 0x40000000u);
  EXPECT_EQ(table.Allocate(kAny, nullptr).value, 0x40000040u);
  EXPECT_EQ(table.Allocate(kAny, nullptr).value, 0x40000080u);
}

TEST(HandleTable, ZeroIsNeverLive) {
  HandleTable table;
  table.Allocate(kAny, nullptr);
  EXPECT_EQ(table.Find({0}), nullptr);
}

TEST(HandleTable, InstanceBitsDoNotCountInLookUps) {
  HandleTable table;
  const Handle handle = table.Allocate(kAny, nullptr);
  EXPECT_NE(table.Find({handle.value | 0x15}), nullptr);
}

TEST(HandleTable, UniqueBitsCountInLookUps) {
  HandleTable table;
  const Handle handle = table.Allocate(kAny, nullptr);
  EXPECT_EQ(table.Find({handle.value ^ 0xc0000000}), nullptr);
}

TEST(HandleTable, FreedIndexComesBackAfter1021OthersWithUnique2) {
  HandleTable table;
  const Handle first = table.Allocate(kAny, nullptr);
  table.Allocate(kAny, nullptr);
  table.Allocate(kAny, nullptr);
  table.Free(first);
  EXPECT_EQ(table.Find(first), nullptr);
  int others = 0;
  Handle next;
  while ((next = table.Allocate(kAny, nullptr)).index() != first.index()) ASSERT_LT(++others, 5000);
  EXPECT_EQ(others, 1021);
  EXPECT_EQ(next.unique(), 2u);
}

TEST(HandleTable, TableGrowsInsteadOfReusingWhen128AreFree) {
  HandleTable table;
  for (int i = 0; i < 896; ++i) table.Allocate(kAny, nullptr);
  table.Free(Handle::Make(0, 1));
  // 129 free entries: one more fits without growth, then the table grows and fresh indices follow the freed
  // one.
  for (uint32_t i = 896; i < 1024; ++i) EXPECT_EQ(table.Allocate(kAny, nullptr).index(), i);
  EXPECT_EQ(table.Allocate(kAny, nullptr).index(), 0u);
  EXPECT_EQ(table.Allocate(kAny, nullptr).index(), 1024u);
}

TEST(HandleTable, TableGrowsWhileExactly128AreFree) {
  HandleTable table;
  for (int i = 0; i < 896; ++i) table.Allocate(kAny, nullptr);
  EXPECT_EQ(table.Allocate(kAny, nullptr).index(), 896u);
  table.Free(Handle::Make(0, 1));  // behind the fresh ones
  for (uint32_t i = 897; i < 2048; ++i) EXPECT_EQ(table.Allocate(kAny, nullptr).index(), i);
  EXPECT_EQ(table.Allocate(kAny, nullptr).index(), 0u);
}

TEST(HandleTable, AssignTakesTheHostsNumberAsItIs) {
  HandleTable table;
  const Handle handle{0xc0000fc0};
  EXPECT_EQ(table.Assign(handle, kAny, nullptr), HandleTable::Assigned::kYes);
  EXPECT_NE(table.Find(handle), nullptr);
  EXPECT_EQ(table.Assign({0x40000fc0}, kAny, nullptr), HandleTable::Assigned::kInUse);
}

TEST(HandleTable, AssignRefusesTheLastIndexAndTakesTheOneBefore) {
  HandleTable table;
  EXPECT_EQ(table.Assign(Handle::Make(0xffffff, 1), kAny, nullptr), HandleTable::Assigned::kIndexTooBig);
  EXPECT_EQ(table.Assign(Handle::Make(0xfffffe, 1), kAny, nullptr), HandleTable::Assigned::kYes);
}

TEST(HandleTable, FreeingAStaleHandleChangesNothing) {
  HandleTable table;
  const Handle handle = table.Allocate(kAny, nullptr);
  table.Free(handle);
  table.Free(handle);
  EXPECT_EQ(table.live_count(), 0u);
}

}  // namespace
}  // namespace dxg::guest
