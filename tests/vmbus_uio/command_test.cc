#include <gtest/gtest.h>

#include "cuse-dxg/backend/uio/features.h"
#include "cuse-dxg/vmbus_command.h"
#include "tests/vmbus_uio/fake_sysfs.h"

namespace dxg::vmbus {
namespace {

struct Said {
  int status;
  std::string out, err;
};

class VmbusCommandTest : public testing::Test {
 protected:
  Said Run(std::string words) {
    CLI::App app;
    VmbusCommand command(app);
    app.parse("vmbus --root " + sysfs_.root() + " " + words);
    EXPECT_TRUE(command.given());
    testing::internal::CaptureStdout();
    testing::internal::CaptureStderr();
    const int status = command.Run();
    return {status, testing::internal::GetCapturedStdout(), testing::internal::GetCapturedStderr()};
  }
  static bool Has(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
  }

  FakeSysfs sysfs_;
};

TEST_F(VmbusCommandTest, StatusOfAMachineWithoutVmbus) {
  const Said said = Run("status");
  EXPECT_EQ(said.status, 1);
  EXPECT_TRUE(Has(said.out, "this is no Hyper-V guest")) << said.out;
  EXPECT_TRUE(Has(said.out, "No adapter can be reached")) << said.out;
}

TEST_F(VmbusCommandTest, StatusOfAGuestThatIsReady) {
  sysfs_.AddGpu();
  sysfs_.Write(sysfs_.ChannelPath(kVgpuName) + "/monitor_id", "9\n");
  sysfs_.Bind(kGlobalName, kUioDriver);
  sysfs_.Bind(kVgpuName, kUioDriver);
  const Said said = Run("status");
  EXPECT_EQ(said.status, 0) << said.out;
  EXPECT_TRUE(Has(said.out,
                  "global  711dad3a-73ce-468b-90a9-ede6906841b2      12  no      uio_hv_generic  uio0      "
                  "4096 KiB  closed"))
      << said.out;
  EXPECT_TRUE(Has(said.out,
                  "vGPU    1d5f2a9c-4e11-4b07-9a2d-5c0f4e6b7a81      13  9       uio_hv_generic  uio1      "
                  "4096 KiB  closed"))
      << said.out;
  EXPECT_TRUE(Has(said.out, "global by write(), vGPU by monitor 9")) << said.out;
  EXPECT_TRUE(Has(said.out, "no    window")) << said.out;
  EXPECT_TRUE(Has(said.out, "Lock2")) << said.out;
}

TEST_F(VmbusCommandTest, StatusNamesWhatIsInTheWay) {
  sysfs_.AddGpu();
  sysfs_.AddDxgDriver();
  sysfs_.Bind(kGlobalName, kDxgDriver);
  sysfs_.Link(sysfs_.FunctionPath(kFunctionName) + "/driver", "sys/bus/pci/drivers/dxgkrnl");
  sysfs_.Write(sysfs_.ChannelPath(kVgpuName) + "/id", "x\n");
  const Said said = Run("status");
  EXPECT_EQ(said.status, 1);
  EXPECT_TRUE(Has(said.out, "-> cuse-dxg vmbus bind")) << said.out;
  EXPECT_TRUE(Has(said.out, "has a driver, dxgkrnl")) << said.out;
  EXPECT_TRUE(Has(said.out, "not understood: ")) << said.out;
}

TEST_F(VmbusCommandTest, BindThatIsOnlyTriedChangesNothing) {
  sysfs_.AddGpu();
  const Said said = Run("bind --dry-run");
  EXPECT_EQ(said.status, 0);
  EXPECT_TRUE(Has(said.out, "echo uio_hv_generic > ")) << said.out;
  EXPECT_EQ(sysfs_.Read("sys/bus/vmbus/drivers/uio_hv_generic/bind"), "");
}

TEST_F(VmbusCommandTest, BindThatDidNothingFails) {
  sysfs_.AddGpu();
  const Said said = Run("bind");
  EXPECT_EQ(said.status, 1);
  EXPECT_TRUE(Has(said.err, "still has no driver")) << said.err;
}

TEST_F(VmbusCommandTest, NothingToDoIsSaid) {
  sysfs_.AddGpu();
  EXPECT_TRUE(Has(Run("unbind").out, "no channel is bound to uio_hv_generic"));
  sysfs_.Bind(kGlobalName, kUioDriver);
  sysfs_.Bind(kVgpuName, kUioDriver);
  EXPECT_TRUE(Has(Run("bind").out, "all channels are bound to uio_hv_generic already"));
}

TEST_F(VmbusCommandTest, RefusalsAreSaid) {
  for (const char* words : {"bind", "unbind"}) {
    const Said said = Run(words);
    EXPECT_EQ(said.status, 1);
    EXPECT_TRUE(Has(said.err, "there is no VMBus here")) << said.err;
  }
}

TEST_F(VmbusCommandTest, BadWindowIsRefused) {
  CLI::App app;
  VmbusCommand command(app);
  EXPECT_THROW(app.parse("vmbus status --vmbus-window here"), CLI::ValidationError);
}

// What the options change, one by one.

class ReportTest : public testing::Test {
 protected:
  ReportTest() {
    options_.places = sysfs_.places();
    sysfs_.AddGpu();
    sysfs_.Bind(kGlobalName, kUioDriver);
    sysfs_.Bind(kVgpuName, kUioDriver);
    sysfs_.Write("proc/iomem", "100000000-13fffffff : System RAM\n");
  }
  Feature Find(std::string_view name) {
    for (const Feature& feature : Report::Probe(options_, Look(options_.places)).features) {
      if (feature.name == name) return feature;
    }
    ADD_FAILURE() << "no feature " << name;
    return {};
  }
  FakeSysfs sysfs_;
  UioOptions options_;
};

TEST_F(ReportTest, PlainUio) {
  EXPECT_TRUE(Report::Probe(options_, Look(options_.places)).usable());
  EXPECT_TRUE(Find("messages").works);
  EXPECT_FALSE(Find("window").works);
  EXPECT_FALSE(Find("memory by frames").works);
  EXPECT_FALSE(Find("memory by list").works);
}

TEST_F(ReportTest, WindowWorksWithItsBytes) {
  options_.window = *WindowWanted::Parse("hole+64K");
  EXPECT_FALSE(Find("window").works);
  EXPECT_NE(Find("window").why.find("announced only"), std::string::npos);
  sysfs_.Write("window", std::string(64 << 10, 'w'));
  options_.window_file = sysfs_.root() + "/window";
  EXPECT_TRUE(Find("window").works);
}

TEST_F(ReportTest, FramesNeedTheirFiles) {
  options_.unpinned_pages = true;
  EXPECT_FALSE(Find("memory by frames").works);
  sysfs_.Write("proc/self/pagemap", "");
  sysfs_.Write("proc/kpageflags", "");
  EXPECT_TRUE(Find("memory by frames").works);
}

TEST_F(ReportTest, LockdownForbidsNegotiation) {
  EXPECT_TRUE(Find("PCI configuration").works);
  sysfs_.Write("sys/kernel/security/lockdown", "none [integrity] confidentiality\n");
  EXPECT_FALSE(Find("PCI configuration").works);
  EXPECT_FALSE(Find("messages").works);
  sysfs_.Write("sys/kernel/security/lockdown", "[none] integrity confidentiality\n");
  EXPECT_TRUE(Find("PCI configuration").works);
}

TEST_F(ReportTest, ConfigurationThatIsHiddenIsNamed) {
  sysfs_.Write(sysfs_.FunctionPath(kFunctionName) + "/config", std::string(64, '\0'));
  EXPECT_FALSE(Find("PCI configuration").works);
  EXPECT_NE(Find("PCI configuration").why.find("be root"), std::string::npos);
}

}  // namespace
}  // namespace dxg::vmbus
