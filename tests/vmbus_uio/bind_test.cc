#include "cuse-dxg/backend/uio/bind.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "tests/vmbus_uio/fake_sysfs.h"

namespace dxg::vmbus {
namespace {

using Lines = std::vector<std::string>;

const std::string kGlobal = kGlobalName, kVgpu = kVgpuName, kFunction = kFunctionName;

class BindTest : public testing::Test {
 protected:
  // As WSL2 has it: everything is dxgkrnl's.
  void MakeWsl() {
    sysfs_.AddVmbus();
    sysfs_.AddUioDriver();
    sysfs_.AddDxgDriver();
    sysfs_.AddChannel({kGlobalName, kGlobalClass, 12, {}, kDxgDriver});
    sysfs_.AddChannel({kVgpuName, kVgpuClass, 13, {}, kDxgDriver});
    sysfs_.AddFunction(kFunctionName, "0x008e", kDxgDriver);
  }

  Result<std::vector<Step>> Plan(bool for_class = false) {
    return PlanBind(sysfs_.places(), Look(sysfs_.places()), for_class);
  }
  Status Bind(bool for_class = false) {
    DXG_ASSIGN(const auto steps, Plan(for_class));
    return Run(steps);
  }
  Status Unbind() {
    DXG_ASSIGN(const auto steps, PlanUnbind(sysfs_.places(), Look(sysfs_.places())));
    return Run(steps);
  }
  Status Run(const std::vector<Step>& steps) {
    done_.clear();
    kernel_.written.clear();
    return Execute(steps, kernel_, &done_);
  }
  std::string DriverOf(const char* name) {
    for (const auto& channel : Look(sysfs_.places()).channels) {
      if (channel.name == name) return channel.driver;
    }
    return "?";
  }

  FakeSysfs sysfs_;
  FakeKernel kernel_{sysfs_};
  std::string done_;
};

TEST_F(BindTest, RefusesWithoutVmbus) {
  const Status status = Bind();
  EXPECT_EQ(status.value(), -ENODEV);
  EXPECT_NE(status.why().find("there is no VMBus here"), std::string::npos) << status.why();
  EXPECT_EQ(Unbind().value(), -ENODEV);
}

TEST_F(BindTest, RefusesWithoutChannels) {
  sysfs_.AddVmbus();
  sysfs_.AddUioDriver();
  const Status status = Bind();
  EXPECT_EQ(status.value(), -ENODEV);
  EXPECT_NE(status.why().find("no channel of a virtual GPU"), std::string::npos) << status.why();
}

TEST_F(BindTest, RefusesWithoutTheDriver) {
  sysfs_.AddVmbus();
  sysfs_.AddChannel({kGlobalName, kGlobalClass, 12, {}, ""});
  const Status status = Bind();
  EXPECT_EQ(status.value(), -ENOENT);
  EXPECT_NE(status.why().find("modprobe uio_hv_generic"), std::string::npos) << status.why();
}

TEST_F(BindTest, RefusesAKernelWithoutDriverOverride) {
  sysfs_.AddGpu();
  sysfs_.Remove(sysfs_.ChannelPath(kVgpuName) + "/driver_override");
  const Status status = Bind();
  EXPECT_EQ(status.value(), -ENOTSUP);
  EXPECT_NE(status.why().find("6.10"), std::string::npos) << status.why();
  EXPECT_TRUE(kernel_.written.empty());
}

TEST_F(BindTest, TakesAllFromDxgkrnlFirst) {
  MakeWsl();
  ASSERT_EQ(Bind().value(), 0);
  EXPECT_EQ(kernel_.written, (Lines{
                                 "pci/drivers/dxgkrnl/unbind " + kFunction,
                                 "vmbus/drivers/dxgkrnl/unbind " + kVgpu,
                                 "vmbus/drivers/dxgkrnl/unbind " + kGlobal,
                                 "vmbus/devices/" + kGlobal + "/driver_override uio_hv_generic",
                                 "vmbus/drivers/uio_hv_generic/bind " + kGlobal,
                                 "vmbus/devices/" + kVgpu + "/driver_override uio_hv_generic",
                                 "vmbus/drivers/uio_hv_generic/bind " + kVgpu,
                             }));
  const Found found = Look(sysfs_.places());
  EXPECT_TRUE(CheckBound(found).ok());
  for (const auto& channel : found.channels) EXPECT_TRUE(channel.usable());
  EXPECT_EQ(found.functions.at(0).driver, "");
}

TEST_F(BindTest, DoesNothingTwice) {
  sysfs_.AddGpu();
  ASSERT_TRUE(Bind().ok());
  ASSERT_TRUE(Bind().ok());
  EXPECT_TRUE(kernel_.written.empty());
  EXPECT_TRUE(done_.empty());
}

TEST_F(BindTest, BindsWhatIsLeft) {
  sysfs_.AddGpu();
  ASSERT_TRUE(Bind().ok());
  sysfs_.AddChannel({"2d5f2a9c-4e11-4b07-9a2d-5c0f4e6b7a82", kVgpuClass, 14, {}, ""});
  ASSERT_TRUE(Bind().ok());
  EXPECT_EQ(kernel_.written.size(), 2u);
  EXPECT_EQ(kernel_.written.back(), "vmbus/drivers/uio_hv_generic/bind 2d5f2a9c-4e11-4b07-9a2d-5c0f4e6b7a82");
}

TEST_F(BindTest, ClassesComeAfterTheChannelsAndOnlyOnce) {
  sysfs_.AddGpu();
  ASSERT_TRUE(Bind(true).ok());
  ASSERT_EQ(kernel_.written.size(), 6u);
  EXPECT_EQ(kernel_.written[4], "vmbus/drivers/uio_hv_generic/new_id " + kGlobalClass.text());
  EXPECT_EQ(kernel_.written[5], "vmbus/drivers/uio_hv_generic/new_id " + kVgpuClass.text());
  ASSERT_TRUE(Bind(true).ok());
  EXPECT_TRUE(kernel_.written.empty());
  ASSERT_TRUE(Unbind().ok());
  EXPECT_EQ(kernel_.written[0], "vmbus/drivers/uio_hv_generic/remove_id " + kVgpuClass.text());
}

TEST_F(BindTest, WritesNothingWhereSomethingIsNotOurs) {
  MakeWsl();
  kernel_.forbidden = {"vmbus/drivers/uio_hv_generic/bind"};
  const Status status = Bind();
  EXPECT_EQ(status.value(), -EACCES);
  EXPECT_NE(status.why().find("; be root"), std::string::npos) << status.why();
  EXPECT_NE(status.why().find("Nothing has been changed"), std::string::npos) << status.why();
  EXPECT_TRUE(kernel_.written.empty());
  EXPECT_EQ(DriverOf(kGlobalName), kDxgDriver);
}

TEST_F(BindTest, OldKernelIsNamedAndWhatWasDoneCanBeTakenBack) {
  MakeWsl();
  kernel_.failing["vmbus/drivers/uio_hv_generic/bind " + kGlobal] = 524;  // ENOTSUPP
  const Status status = Bind();
  EXPECT_EQ(status.value(), -524);
  EXPECT_NE(status.why().find("Linux 6.10"), std::string::npos) << status.why();
  const std::string bus = sysfs_.root() + "/sys/bus/";
  EXPECT_TRUE(status.why().ends_with("taken back, as root, by:\n  echo '' > " + bus + "vmbus/devices/" +
                                     kGlobal + "/driver_override\n  echo " + kGlobal + " > " + bus +
                                     "vmbus/drivers/dxgkrnl/bind\n  echo " + kVgpu + " > " + bus +
                                     "vmbus/drivers/dxgkrnl/bind\n  echo " + kFunction + " > " + bus +
                                     "pci/drivers/dxgkrnl/bind"))
      << status.why();
  EXPECT_EQ(done_, "take PCI function " + kFunction + " from dxgkrnl\ntake the vGPU channel " + kVgpu +
                       " from dxgkrnl\ntake the global channel " + kGlobal +
                       " from dxgkrnl\nlet only uio_hv_generic have the global channel " + kGlobal + "\n");
}

TEST_F(BindTest, FirstStepThatFailsChangesNothing) {
  MakeWsl();
  kernel_.failing["pci/drivers/dxgkrnl/unbind " + kFunction] = EBUSY;
  const Status status = Bind();
  EXPECT_EQ(status.value(), -EBUSY);
  EXPECT_TRUE(status.why().ends_with("Nothing has been changed")) << status.why();
}

TEST_F(BindTest, UnbindGivesAllBack) {
  MakeWsl();
  ASSERT_TRUE(Bind().ok());
  ASSERT_EQ(Unbind().value(), 0);
  EXPECT_EQ(kernel_.written, (Lines{
                                 "vmbus/drivers/uio_hv_generic/unbind " + kVgpu,
                                 "vmbus/devices/" + kVgpu + "/driver_override ",
                                 "vmbus/drivers/uio_hv_generic/unbind " + kGlobal,
                                 "vmbus/devices/" + kGlobal + "/driver_override ",
                                 "vmbus/drivers/dxgkrnl/bind " + kGlobal,
                                 "vmbus/drivers/dxgkrnl/bind " + kVgpu,
                                 "pci/drivers/dxgkrnl/bind " + kFunction,
                             }));
  EXPECT_EQ(DriverOf(kGlobalName), kDxgDriver);
  ASSERT_TRUE(Unbind().ok());
  EXPECT_TRUE(kernel_.written.empty());
}

TEST_F(BindTest, UnbindGivesToNobodyWhereThereIsNoOther) {
  sysfs_.AddGpu();
  ASSERT_TRUE(Bind().ok());
  ASSERT_TRUE(Unbind().ok());
  EXPECT_EQ(kernel_.written.size(), 4u);
  EXPECT_EQ(DriverOf(kGlobalName), "");
  EXPECT_EQ(DriverOf(kVgpuName), "");
}

TEST_F(BindTest, UnbindThatFailsSaysHowToGoBack) {
  sysfs_.AddGpu();
  ASSERT_TRUE(Bind().ok());
  kernel_.failing["vmbus/drivers/uio_hv_generic/unbind " + kGlobal] = EIO;
  const Status status = Unbind();
  EXPECT_EQ(status.value(), -EIO);
  EXPECT_NE(status.why().find("echo " + kVgpu + " > " + sysfs_.root() +
                              "/sys/bus/vmbus/drivers/uio_hv_generic/bind"),
            std::string::npos)
      << status.why();
}

TEST_F(BindTest, PlanIsACommandOfTheShellEach) {
  sysfs_.AddGpu();
  const std::string text = ToText(*Plan());
  const std::string bus = sysfs_.root() + "/sys/bus/vmbus/";
  EXPECT_TRUE(text.starts_with("echo uio_hv_generic > " + bus + "devices/" + kGlobal +
                               "/driver_override  # let only uio_hv_generic have the global channel " +
                               kGlobal + "\n"))
      << text;
}

TEST_F(BindTest, WritesThatDidNothingAreNoticed) {
  sysfs_.AddGpu();
  ASSERT_TRUE(Execute(*Plan(), KernelSysfs(), &done_).ok());  // plain files, and no kernel behind them
  EXPECT_EQ(sysfs_.Read("sys/bus/vmbus/drivers/uio_hv_generic/bind").substr(0, kVgpu.size()), kVgpu);
  const Status status = CheckBound(Look(sysfs_.places()));
  EXPECT_EQ(status.value(), -EIO);
  EXPECT_NE(status.why().find("still has no driver"), std::string::npos) << status.why();
}

TEST_F(BindTest, BoundWithoutRingsIsNoticed) {
  sysfs_.AddGpu();
  ASSERT_TRUE(Bind().ok());
  sysfs_.Remove(sysfs_.ChannelPath(kGlobalName) + "/uio");
  const Status status = CheckBound(Look(sysfs_.places()));
  EXPECT_NE(status.why().find("shows no rings"), std::string::npos) << status.why();
}

}  // namespace
}  // namespace dxg::vmbus
