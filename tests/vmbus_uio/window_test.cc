#include <gtest/gtest.h>

#include <cerrno>
#include <filesystem>

#include "cuse-dxg/backend/uio/uio_window.h"
#include "tests/vmbus_uio/fake_sysfs.h"

namespace dxg::vmbus {
namespace {

TEST(WindowWanted, TakesPlaceAndSize) {
  auto fixed = WindowWanted::Parse("0x1000000000+0x20000000");
  ASSERT_TRUE(fixed.ok()) << fixed.status().why();
  EXPECT_EQ(fixed->start, 64 * kGiB);
  EXPECT_EQ(fixed->length, 512u << 20);
  EXPECT_EQ(WindowWanted::Parse("hole+512M")->start, std::nullopt);
  EXPECT_EQ(WindowWanted::Parse("hole+1G")->length, kGiB);
  EXPECT_EQ(WindowWanted::Parse("hole+64K")->length, 64u << 10);
  EXPECT_EQ(WindowWanted::Parse("65536+4096")->start, 65536u);
}

TEST(WindowWanted, RefusesWhatIsNone) {
  for (const char* bad : {"", "+", "hole", "hole+", "hole+0", "hole+1", "hole+K", "hole+4097", "hole+4096X",
                          "Hole+4096", "4096+4096", "x+4096", "65536", "-65536+4096", "65536+4096+4096",
                          "hole+18446744073709551615", "hole+99999999999G", "0xffffffffffff0000+65536K"}) {
    const Status status = WindowWanted::Parse(bad).status();
    EXPECT_EQ(status.value(), -EINVAL) << bad;
    EXPECT_NE(status.why().find("expected START+LENGTH"), std::string::npos);
  }
}

class WindowTest : public testing::Test {
 protected:
  WindowTest() {
    options_.places = sysfs_.places();
    sysfs_.Write("proc/iomem", "00000000-bfffffff : System RAM\n100000000-13fffffff : System RAM\n");
    sysfs_.Write("proc/cpuinfo", "address sizes\t: 39 bits physical, 48 bits virtual\n");
  }
  void Want(const char* text) { options_.window = *WindowWanted::Parse(text); }

  FakeSysfs sysfs_;
  UioOptions options_;
};

TEST_F(WindowTest, NoneIsRefusedPlainly) {
  const Status status = FindWindow(options_).status();
  EXPECT_EQ(status.value(), -ENOTSUP);
  EXPECT_NE(status.why().find("--vmbus-window"), std::string::npos);
}

TEST_F(WindowTest, HoleIsLookedFor) {
  Want("hole+512M");
  Result<Window> window = FindWindow(options_);
  ASSERT_TRUE(window.ok()) << window.status().why();
  EXPECT_EQ(window->start, 5 * kGiB);
  EXPECT_EQ(window->length, 512u << 20);
  EXPECT_EQ(window->file, -1);
}

TEST_F(WindowTest, HoleNeedsTheMap) {
  Want("hole+512M");
  sysfs_.Write("proc/iomem", "00000000-00000000 : System RAM\n");
  EXPECT_EQ(FindWindow(options_).status().value(), -EPERM);
  sysfs_.Remove("proc/iomem");
  EXPECT_EQ(FindWindow(options_).status().value(), -ENOENT);
}

TEST_F(WindowTest, PlaceThatIsTakenIsRefused) {
  Want("0x13fff0000+64K");
  const Status status = FindWindow(options_).status();
  EXPECT_EQ(status.value(), -EBUSY);
  EXPECT_NE(status.why().find("'System RAM'"), std::string::npos) << status.why();
  Want("0x140000000+64K");
  EXPECT_TRUE(FindWindow(options_).ok());
  Want("0xc0000000+1G");
  EXPECT_TRUE(FindWindow(options_).ok());
  Want("0xc0000000+1048580K");
  EXPECT_EQ(FindWindow(options_).status().value(), -EBUSY);
}

TEST_F(WindowTest, RoomOfABusIsNotTaken) {
  sysfs_.Write("proc/iomem", "140000000-17fffffff : PCI Bus 0000:00\n  140000000-140000fff : 0001:00:00.0\n");
  Want("0x140010000+64K");
  EXPECT_TRUE(FindWindow(options_).ok());
  Want("0x140000000+64K");
  EXPECT_EQ(FindWindow(options_).status().value(), -EBUSY);
}

TEST_F(WindowTest, BytesComeFromAFilesBeginning) {
  Want("0x140000000+64K");
  sysfs_.Write("window", std::string(64 << 10, 'w'));
  options_.window_file = sysfs_.root() + "/window";
  Result<Window> window = FindWindow(options_);
  ASSERT_TRUE(window.ok()) << window.status().why();
  EXPECT_GE(window->file, 0);
  EXPECT_EQ(window->file_offset, 0u);
  EXPECT_NE(window->keep, nullptr);
}

TEST_F(WindowTest, FileThatDoesNotHoldItIsRefused) {
  Want("0x140000000+64K");
  options_.window_file = sysfs_.root() + "/window";
  EXPECT_EQ(FindWindow(options_).status().value(), -ENOENT);
  sysfs_.Write("window", std::string((64 << 10) - 1, 'w'));
  EXPECT_EQ(FindWindow(options_).status().value(), -ENOSPC);
  options_.window_file = "/dev/null";
  const Status status = FindWindow(options_).status();
  EXPECT_EQ(status.value(), -ENODEV);
  EXPECT_NE(status.why().find("cannot map /dev/null"), std::string::npos) << status.why();
}

}  // namespace
}  // namespace dxg::vmbus
