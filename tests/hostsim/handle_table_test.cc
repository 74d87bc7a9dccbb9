#include "hostsim/machine/handle_table.h"

#include <gtest/gtest.h>

#include <memory>
#include <set>

namespace dxg::hostsim {
namespace {

using Table = HandleTable<std::unique_ptr<int>>;

TEST(HandleTable, RefusesUnknownHandles) {
  Table table(10);
  const uint32_t handle = table.Insert(std::make_unique<int>(1));
  EXPECT_EQ(table.Find(0), nullptr);
  EXPECT_EQ(table.Find(handle + 0x40), nullptr);
  EXPECT_NE(table.Find(handle | 1), nullptr) << "instance bits are ignored";
  EXPECT_EQ(table.Find(handle ^ 0xC0000000), nullptr) << "unique bits are part of the name";
  EXPECT_EQ(table.Find(~0u), nullptr);
  EXPECT_EQ(table.Remove(0), nullptr);
}

TEST(HandleTable, RefusesOneTooMany) {
  Table table(3);
  for (int i = 0; i < 3; ++i) EXPECT_NE(table.Insert(std::make_unique<int>(i)), 0u);
  EXPECT_EQ(table.Insert(std::make_unique<int>(3)), 0u);
  EXPECT_EQ(table.size(), 3u);
}

TEST(HandleTable, StartsWhereWindowsStarts) {
  Table table(10);
  EXPECT_EQ(table.Insert(std::make_unique<int>(1)), 0x40000000u);
  EXPECT_EQ(table.Insert(std::make_unique<int>(2)), 0x40000040u);
  EXPECT_EQ(table.Insert(std::make_unique<int>(3)), 0x40000080u);
  EXPECT_EQ(*table.Find(0x40000040u), 2);
}

TEST(HandleTable, KeepsAFreedValueForLong) {
  Table table(10);
  const uint32_t freed = table.Insert(std::make_unique<int>(1));
  ASSERT_NE(table.Remove(freed), nullptr);
  EXPECT_EQ(table.Remove(freed), nullptr) << "a second destroy must fail";
  for (int i = 0; i < 300; ++i) {
    const uint32_t handle = table.Insert(std::make_unique<int>(i));
    EXPECT_NE(handle, freed);
    EXPECT_EQ(handle & 0x3F, 0u);
    EXPECT_NE(handle >> 30, 0u);
    table.Remove(handle);
  }
}

TEST(HandleTable, ReusesIndexesInTheEnd) {
  Table table(10);
  std::set<uint32_t> indexes;
  for (int i = 0; i < 5000; ++i) {
    const uint32_t handle = table.Insert(std::make_unique<int>(i));
    indexes.insert((handle >> 6) & 0xFFFFFF);
    table.Remove(handle);
  }
  EXPECT_LE(indexes.size(), 129u);
}

TEST(HandleTable, DrainEmptiesIt) {
  Table table(10);
  const uint32_t handle = table.Insert(std::make_unique<int>(1));
  table.Insert(std::make_unique<int>(2));
  EXPECT_EQ(table.Drain().size(), 2u);
  EXPECT_EQ(table.size(), 0u);
  EXPECT_EQ(table.Find(handle), nullptr);
}

}  // namespace
}  // namespace dxg::hostsim
