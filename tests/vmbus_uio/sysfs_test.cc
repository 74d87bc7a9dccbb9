#include "cuse-dxg/backend/uio/sysfs.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>

#include "link/vmbus/pci_config.h"
#include "tests/vmbus_uio/fake_sysfs.h"

namespace dxg::vmbus {
namespace {

TEST(Look, MachineWithoutVmbusHasNothing) {
  FakeSysfs sysfs;
  const Found found = Look(sysfs.places());
  EXPECT_FALSE(found.has_vmbus);
  EXPECT_FALSE(found.has_uio_driver);
  EXPECT_TRUE(found.channels.empty());
  EXPECT_TRUE(found.functions.empty());
  EXPECT_TRUE(found.problems.empty());
  EXPECT_FALSE(Look(Places::Below("/nowhere")).has_vmbus);
}

TEST(Look, OtherDevicesAreNotOurs) {
  FakeSysfs sysfs;
  sysfs.AddVmbus();
  sysfs.AddChannel({"f8615163-df3e-46c5-913f-f2d2f965ed0f",
                    *Guid::Parse("f8615163-df3e-46c5-913f-f2d2f965ed0e"), 3, 5, ""});
  sysfs.AddFunction("0000:00:02.0", "0x1234", "");
  sysfs.AddFunction("0000:00:03.0", "0x008e", "");
  sysfs.Write(sysfs.FunctionPath("0000:00:03.0") + "/vendor", "0x8086\n");
  const Found found = Look(sysfs.places());
  EXPECT_TRUE(found.has_vmbus);
  EXPECT_TRUE(found.channels.empty());
  EXPECT_TRUE(found.functions.empty());
  EXPECT_TRUE(found.problems.empty());
}

TEST(Look, FindsChannelsAndFunctions) {
  FakeSysfs sysfs;
  sysfs.AddVmbus();
  sysfs.AddUioDriver();
  sysfs.AddDxgDriver();
  sysfs.AddChannel({kVgpuName, kVgpuClass, 13, {}, kDxgDriver});  // its name comes before the other's
  sysfs.AddChannel({kGlobalName, kGlobalClass, 12, 7, kUioDriver});
  sysfs.AddFunction("0001:00:00.0", "0x008e", kDxgDriver);
  sysfs.AddFunction("0002:00:00.0", "0x008a", "");
  const Found found = Look(sysfs.places());
  EXPECT_TRUE(found.has_uio_driver);
  EXPECT_TRUE(found.has_dxg_driver);
  ASSERT_EQ(found.channels.size(), 2u);

  const VmbusDevice& global = found.channels[0];
  EXPECT_TRUE(global.is_global());
  EXPECT_EQ(global.instance, Guid::Parse(kGlobalName));
  EXPECT_EQ(global.relid, 12u);
  EXPECT_EQ(global.monitor, 7u);
  EXPECT_EQ(global.state, "2");
  EXPECT_EQ(global.driver, kUioDriver);
  EXPECT_TRUE(global.has_driver_override);
  EXPECT_EQ(global.uio, "uio0");
  ASSERT_EQ(global.maps.size(), 3u);
  EXPECT_EQ(global.FindMap(0)->size, 4u << 20);
  EXPECT_EQ(global.FindMap(2)->name, "monitor_page");
  EXPECT_EQ(global.FindMap(3), nullptr);
  EXPECT_TRUE(global.usable());

  const VmbusDevice& vgpu = found.channels[1];
  EXPECT_FALSE(vgpu.is_global());
  EXPECT_EQ(vgpu.monitor, std::nullopt);
  EXPECT_EQ(vgpu.driver, kDxgDriver);
  EXPECT_FALSE(vgpu.usable());

  ASSERT_EQ(found.functions.size(), 2u);
  EXPECT_EQ(found.functions[0].driver, kDxgDriver);
  EXPECT_FALSE(found.functions[0].compute_only);
  EXPECT_EQ(found.functions[1].driver, "");
  EXPECT_TRUE(found.functions[1].compute_only);
  EXPECT_TRUE(found.problems.empty());
}

struct MonitorText {
  const char* text;
  std::optional<unsigned> monitor;
};

TEST(Look, AChannelIsMonitoredIfItsMonitorHasANumber) {
  FakeSysfs sysfs;
  sysfs.AddGpu();
  for (const auto& [text, monitor] : {MonitorText{"0\n", 0},
                                      {"127\n", 127},
                                      {"128\n", {}},
                                      {"255\n", {}},
                                      {"-1\n", {}},
                                      {"\n", {}},
                                      {"x", {}}}) {
    sysfs.Write(sysfs.ChannelPath(kGlobalName) + "/monitor_id", text);
    const Found found = Look(sysfs.places());
    ASSERT_EQ(found.channels.size(), 2u) << text;
    EXPECT_EQ(found.channels[0].monitor, monitor) << text;
  }
}

struct BadFile {
  const char* file;
  const char* text;
};

class LookAtMalformed : public testing::TestWithParam<BadFile> {};

// The channel is left out and named; the other one is there as ever.
TEST_P(LookAtMalformed, ChannelIsLeftOutAndNamed) {
  FakeSysfs sysfs;
  sysfs.AddGpu();
  sysfs.Bind(kGlobalName, kUioDriver);
  sysfs.Write(sysfs.ChannelPath(kGlobalName) + "/" + GetParam().file, GetParam().text);
  const Found found = Look(sysfs.places());
  ASSERT_EQ(found.channels.size(), 1u);
  EXPECT_FALSE(found.channels[0].is_global());
  ASSERT_EQ(found.problems.size(), 1u);
  EXPECT_NE(found.problems[0].find(GetParam().file), std::string::npos) << found.problems[0];
  EXPECT_NE(found.problems[0].find("expected"), std::string::npos) << found.problems[0];
}

const std::string kLong(100000, '7');
INSTANTIATE_TEST_SUITE_P(
    Files, LookAtMalformed,
    testing::Values(BadFile{"class_id", "\n"}, BadFile{"class_id", "{dde9cbc0-5060-4436-9448}"},
                    BadFile{"class_id", kLong.c_str()}, BadFile{"device_id", ""},
                    BadFile{"device_id", "\x01\x02\x80"}, BadFile{"id", ""}, BadFile{"id", "twelve"},
                    BadFile{"id", "-1"}, BadFile{"id", "4294967296"}, BadFile{"id", "12 13"},
                    BadFile{"id", kLong.c_str()}, BadFile{"uio/uio0/maps/map0/size", "big"},
                    BadFile{"uio/uio0/maps/map0/size", "0x"},
                    BadFile{"uio/uio0/maps/map0/size", "0x10000000000000000"}));

TEST(Look, DirectoriesInThePlaceOfFilesAreNamed) {
  FakeSysfs sysfs;
  sysfs.AddGpu();
  sysfs.Remove(sysfs.ChannelPath(kGlobalName) + "/class_id");
  sysfs.Write(sysfs.ChannelPath(kGlobalName) + "/class_id/x", "");
  sysfs.Write("sys/bus/vmbus/devices/stray", "a file");
  const Found found = Look(sysfs.places());
  EXPECT_EQ(found.channels.size(), 1u);
  ASSERT_EQ(found.problems.size(), 1u);
  EXPECT_NE(found.problems[0].find("Is a directory"), std::string::npos) << found.problems[0];
}

TEST(Look, ChannelWithoutAnAttributeIsNamed) {
  for (const char* file : {"id", "device_id"}) {
    FakeSysfs sysfs;
    sysfs.AddGpu();
    sysfs.Remove(sysfs.ChannelPath(kVgpuName) + "/" + file);
    const Found found = Look(sysfs.places());
    EXPECT_EQ(found.channels.size(), 1u);
    ASSERT_EQ(found.problems.size(), 1u) << file;
    EXPECT_TRUE(found.problems[0].ends_with(std::string("has no ") + file)) << found.problems[0];
  }
}

TEST(Look, HalfMadeNodeIsNotUsable) {
  FakeSysfs sysfs;
  sysfs.AddGpu();
  sysfs.Bind(kGlobalName, kUioDriver);
  sysfs.Bind(kVgpuName, kUioDriver);
  sysfs.Remove(sysfs.ChannelPath(kVgpuName) + "/driver");  // about to go
  EXPECT_FALSE(Look(sysfs.places()).channels[1].usable());
  sysfs.Remove(sysfs.ChannelPath(kGlobalName) + "/uio/uio0/maps");
  EXPECT_FALSE(Look(sysfs.places()).channels[0].usable());
  sysfs.Remove(sysfs.ChannelPath(kGlobalName) + "/uio");
  EXPECT_FALSE(Look(sysfs.places()).channels[0].usable());
}

TEST(Look, MalformedFunctionIsNamed) {
  FakeSysfs sysfs;
  sysfs.AddGpu();
  sysfs.Write(sysfs.FunctionPath(kFunctionName) + "/device", "0x1008e\n");
  const Found found = Look(sysfs.places());
  EXPECT_TRUE(found.functions.empty());
  ASSERT_EQ(found.problems.size(), 1u);
  EXPECT_NE(found.problems[0].find("expected a number up to 65535"), std::string::npos) << found.problems[0];
}

TEST(ParseNumber, TakesDecimalAndHexadecimal) {
  EXPECT_EQ(ParseNumber("0"), 0u);
  EXPECT_EQ(ParseNumber("12\n"), 12u);
  EXPECT_EQ(ParseNumber("0xFf"), 255u);
  EXPECT_EQ(ParseNumber("18446744073709551615"), UINT64_MAX);
  for (const char* bad : {"", "\n", "0x", "0x\n", "12\n\n", " 12", "12 ", "+1", "-1", "0x-1", "1e3",
                          "18446744073709551616", "0x0x1"}) {
    EXPECT_EQ(ParseNumber(bad), std::nullopt) << "'" << bad << "'";
  }
}

TEST(SysfsFunction, NegotiatesThroughItsFile) {
  FakeSysfs sysfs;
  sysfs.AddGpu();
  auto function = SysfsFunction::Open(sysfs.places(), Look(sysfs.places()).functions.at(0));
  ASSERT_TRUE(function.ok()) << function.status().why();
  EXPECT_EQ((*function)->name(), kFunctionName);
  EXPECT_FALSE((*function)->compute_only());
  Result<Negotiated> agreed = Negotiate(**function, std::nullopt);
  ASSERT_TRUE(agreed.ok()) << agreed.status().why();
  EXPECT_EQ(agreed->interface_version, 40u);
  EXPECT_EQ(agreed->channel, Guid::Parse(kVgpuName));
  EXPECT_EQ(sysfs.Read(sysfs.FunctionPath(kFunctionName) + "/config")[0xD4], 1);  // the guest's abilities
}

TEST(SysfsFunction, SaysWhatStandsInTheWay) {
  FakeSysfs sysfs;
  sysfs.AddGpu();
  const PciDevice device = Look(sysfs.places()).functions.at(0);
  sysfs.Write(sysfs.FunctionPath(kFunctionName) + "/config",
              std::string(64, '\0'));  // what others than root are shown
  auto function = *SysfsFunction::Open(sysfs.places(), device);
  const Status hidden = function->Read(kConfigChannel).status();
  EXPECT_EQ(hidden.value(), -EACCES);
  EXPECT_NE(hidden.why().find("root"), std::string::npos);
  sysfs.Remove(sysfs.FunctionPath(kFunctionName) + "/config");
  EXPECT_EQ(SysfsFunction::Open(sysfs.places(), device).status().value(), -ENOENT);
}

}  // namespace
}  // namespace dxg::vmbus
