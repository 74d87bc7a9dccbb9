#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "hostsim/work/eu/dispatch.h"
#include "proto/abi/flags.h"
#include "tests/hostsim/eu_kernels.h"
#include "tests/hostsim/gpu_rig.h"

// Dispatches on an engine: the time that they take, and what becomes of the devices of those that do harm.

namespace dxg::hostsim::eu {
namespace {

constexpr uint32_t kStillActive = 1, kIsHung = 3, kHasPageFault = 7;

AdapterProfile WithUnits() {
  AdapterProfile profile = Shipped("discrete");
  profile.mutable_nodes(0)->set_commands(AdapterProfile::INTEL_GEN12);
  profile.mutable_nodes(0)->set_execution_units(AdapterProfile::GEN12LP);
  profile.mutable_nodes(0)->set_frequency_hz(1'000'000'000);
  profile.mutable_engines()->set_dispatch_instructions_max(1'000'000);
  return profile;
}

class EuEngine : public testing::Test {
 protected:
  EuEngine() : rig(WithUnits()), places_{rig.data + 0x80000, rig.data + 0x90000, rig.data + 0xA0000} {
    EXPECT_LT(rig.data, 1ull << 31) << "or these kernels do not reach it";
    Put<uint32_t>(places_.dynamic + kDescriptorOffset, kDescriptor);
    Put<uint32_t>(places_.payload, {static_cast<uint32_t>(rig.data), 1000});
    Put<uint16_t>(places_.payload + kRegisterBytes, LocalIds());
  }
  template <class Word>
  void Put(uint64_t at, const std::vector<Word>& words) {
    // Safety: bytes of numbers.
    ASSERT_TRUE(rig.host().WriteGpu(
        rig.caller, at, {reinterpret_cast<const uint8_t*>(words.data()), words.size() * sizeof(Word)},
        &rig.fault));
  }
  void Dispatch(const std::vector<uint32_t>& kernel, uint32_t groups, uint32_t context) {
    Put(places_.code + kKernelOffset, kernel);
    const Words words = DispatchBatch(places_, groups);
    // Safety: bytes of numbers.
    const std::string bytes(reinterpret_cast<const char*>(words.all().data()), words.count() * 4);
    ASSERT_EQ(rig.Submit(rig.SubmitRequest({context}, rig.Put(bytes), bytes.size())), kStatusSuccess);
  }

  GpuRig rig;
  const DispatchPlaces places_;
};

TEST_F(EuEngine, TakesTimeByItsInstructions) {
  constexpr uint32_t kGroups = 1000;
  Dispatch(kStores, kGroups, rig.context);
  constexpr uint64_t kTookNs = kGroups * 2 * 12 * kCyclesPerInstruction / kExecutionUnits;
  const auto fence = rig.NewFence();
  ASSERT_EQ(rig.GpuSignal({rig.context}, {{fence.handle, 1}}), kStatusSuccess);
  rig.clock.AdvanceNs(kTookNs - 1);
  EXPECT_EQ(rig.ValueOf(fence), 0u);
  rig.clock.AdvanceNs(1);
  EXPECT_EQ(rig.ValueOf(fence), 1u);
  EXPECT_EQ(rig.DataAt(0), 1000u | 1001ull << 32);
  rig.Settle();
  EXPECT_EQ(rig.StateOf(rig.device), kStillActive);
}

// Also where nothing else ends a command that takes too long.
TEST_F(EuEngine, AnEndlessKernelCostsItsDeviceAndNoOther) {
  const uint32_t patient = rig.TryContext(rig.caller, rig.device, 0, 0, DXG_CONTEXT_DISABLE_GPU_TIMEOUT);
  Dispatch(kEndless, 1, patient);
  rig.Settle();
  EXPECT_EQ(rig.StateOf(rig.device), kIsHung);
  const uint32_t other = rig.NewDevice(rig.caller);
  Dispatch(kStores, 1, rig.NewContext(rig.caller, other));
  rig.Settle();
  EXPECT_EQ(rig.StateOf(other), kStillActive);
  EXPECT_EQ(rig.DataAt(0), 1000u | 1001ull << 32);
}

TEST_F(EuEngine, AWildPointerCostsItsDevice) {
  Put<uint32_t>(places_.payload, {0x7FFF0000});
  Dispatch(kStores, 1, rig.context);
  rig.Settle();
  EXPECT_EQ(rig.StateOf(rig.device), kHasPageFault);
}

}  // namespace
}  // namespace dxg::hostsim::eu
