#include "cuse-dxg/backend/uio/iomem.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "tests/vmbus_uio/fake_sysfs.h"

namespace dxg::vmbus {
namespace {

constexpr char kGuest[] =
    "00000000-00000fff : Reserved\n"
    "00001000-0009fbff : System RAM\n"
    "00100000-f7feffff : System RAM\n"
    "  01000000-01dfffff : Kernel code\n"
    "f8000000-ffffffff : PCI Bus 0000:00\n"
    "  f8000000-f87fffff : 5620e0c7-8062-4dce-aeb7-520c7ef76171\n"
    "100000000-1f7ffffff : System RAM\n"
    "fe0000000-fffffffff : PCI Bus 0000:00\n";

TEST(Iomem, ReadsNestedLines) {
  Result<std::vector<AddressRange>> ranges = ParseIomem(kGuest);
  ASSERT_TRUE(ranges.ok()) << ranges.status().why();
  ASSERT_EQ(ranges->size(), 8u);
  EXPECT_EQ((*ranges)[3].name, "Kernel code");
  EXPECT_EQ((*ranges)[6].first, 0x100000000u);
  EXPECT_EQ((*ranges)[7].last, 0xfffffffffu);
}

TEST(Iomem, NeedsNoLastNewline) { EXPECT_EQ(ParseIomem("0-fff : Reserved")->size(), 1u); }

TEST(Iomem, SaysThatAddressesAreHidden) {
  EXPECT_EQ(ParseIomem("00000000-00000000 : Reserved\n00000000-00000000 : System RAM\n").status().value(),
            -EPERM);
}

TEST(Iomem, RefusesWhatIsNone) {
  for (const char* bad :
       {"x", "0", "0-", "-fff : a", "0-fff", "0-fff :", "0-fff: a", "fff-0 : a", "  ", "0x0-0xfff : a",
        "10000000000000000-20000000000000000 : a", "0-fff : a\ngarbage\n", "0 - fff : a"}) {
    const Status status = ParseIomem(bad).status();
    EXPECT_EQ(status.value(), -EPROTO) << bad;
    EXPECT_NE(status.why().find("FIRST-LAST"), std::string::npos);
  }
  EXPECT_EQ(ParseIomem("").status().value(), -ENODATA);
  EXPECT_EQ(ParseIomem("\n\n").status().value(), -ENODATA);
  EXPECT_EQ(ReadIomem("/nowhere/iomem").status().value(), -ENOENT);
}

TEST(AddressBits, AreTheCpus) {
  EXPECT_EQ(
      ParseAddressBits("model : x\naddress sizes\t: 46 bits physical, 48 bits virtual\npower management:\n"),
      46u);
  for (const char* bad :
       {"", "address sizes", "address sizes\t: bits physical", "address sizes : 0 bits physical",
        "address sizes : 99 bits physical", "address sizes : 46 bits virtual",
        "address sizes :\n46 bits physical", "address sizes : 99999999999 bits physical"}) {
    EXPECT_EQ(ParseAddressBits(bad), 36u) << bad;
  }
}

TEST(Hole, IsTheFirstThatIsLongEnough) {
  const std::vector<AddressRange> taken = {{4 * kGiB, 5 * kGiB - 1, "System RAM"},
                                           {6 * kGiB, 7 * kGiB - 1, "System RAM"}};
  EXPECT_EQ(*ChooseHole(taken, kGiB, 46), 5 * kGiB);
  EXPECT_EQ(*ChooseHole(taken, kGiB + 4096, 46), 7 * kGiB);
  EXPECT_EQ(*ChooseHole({}, kGiB, 46), 4 * kGiB);
}

TEST(Hole, IsInTheRoomOfABusWhereThereIsOne) {
  auto guest = *ParseIomem(kGuest);
  EXPECT_EQ(*ChooseHole(guest, 512 << 20, 46), 0xfe0000000u);
  guest.push_back({0xfe0000000, 0xfe0000fff, "0001:00:00.0"});
  EXPECT_EQ(*ChooseHole(guest, 256 << 20, 46), 0xfe0010000u);  // by the device
  EXPECT_EQ(*ChooseHole(guest, 512 << 20, 46), 0x1f8000000u);  // too long for the room, and not on it
  EXPECT_EQ(*ChooseHole(guest, 56 * kGiB, 46), 64 * kGiB);     // too long for what is before it, too
}

TEST(Hole, RoomThatCannotBeReachedIsNone) {
  EXPECT_EQ(*ChooseHole({{0, 4 * kGiB - 1, "PCI Bus 0000:00"},
                         {UINT64_MAX, UINT64_MAX, "PCI Bus 0000:01"},
                         {64 * kGiB, 65 * kGiB - 1, "PCI Bus 0000:02"}},
                        kGiB, 36),
            4 * kGiB);
  EXPECT_EQ(*ChooseHole({{kGiB, 5 * kGiB - 1, "PCI Bus 0000:00"}}, kGiB, 46), 4 * kGiB);
}

TEST(Hole, IsAligned) {
  EXPECT_EQ(*ChooseHole({{4 * kGiB, 4 * kGiB + 0x10000, "RAM"}}, 0x1000, 46), 4 * kGiB + 0x20000);
  EXPECT_EQ(*ChooseHole({{kGiB, 4 * kGiB, "RAM"}}, 0x1000, 46), 4 * kGiB + 0x10000);
}

TEST(Hole, OrderAndOverlapOfRangesDoNotMatter) {
  const std::vector<AddressRange> taken = {
      {6 * kGiB, 7 * kGiB - 1, "b"}, {4 * kGiB, 8 * kGiB - 1, "a"}, {5 * kGiB, 5 * kGiB, "c"}};
  EXPECT_EQ(*ChooseHole(taken, kGiB, 46), 8 * kGiB);
}

TEST(Hole, StaysBelowWhatCanBeAddressed) {
  EXPECT_EQ(*ChooseHole({{4 * kGiB, 63 * kGiB - 1, "RAM"}}, kGiB, 36), 63 * kGiB);
  EXPECT_EQ(ChooseHole({{4 * kGiB, 63 * kGiB, "RAM"}}, kGiB, 36).status().value(), -ENOSPC);
  EXPECT_EQ(ChooseHole({{0, UINT64_MAX, "all"}}, 0x1000, 57).status().value(), -ENOSPC);
  EXPECT_EQ(ChooseHole({}, kWindowEnd - kWindowFirst + 1, 57).status().value(), -ENOSPC);
  EXPECT_EQ(*ChooseHole({}, kWindowEnd - kWindowFirst, 57), kWindowFirst);
  EXPECT_EQ(ChooseHole({}, UINT64_MAX, 57).status().value(), -ENOSPC);
  EXPECT_EQ(ChooseHole({}, 0, 46).status().value(), -EINVAL);
}

}  // namespace
}  // namespace dxg::vmbus
