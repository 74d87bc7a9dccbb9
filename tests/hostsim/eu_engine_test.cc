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
  profile.mutable_engines()->set_timeout_ms(1);
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
  constexpr uint32_t kGroups = 100, kMore = 200;
  std::vector<uint32_t> kernel;
  for (uint32_t i = 0; i < kMore; ++i) kernel.insert(kernel.end(), kStores.begin(), kStores.begin() + 4);
  kernel.insert(kernel.end(), kStores.begin(), kStores.end());
  Dispatch(kernel, kGroups, rig.context);
  constexpr uint64_t kTookNs = kGroups * 2 * (kMore + 12) * kCyclesPerInstruction / kExecutionUnits;
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

// The time limit is the GPU's: 1 ms is 500,000 threads that do nothing.
TEST_F(EuEngine, AWalkerThatNeverEndsIsHungByTheGpusTime) {
  Dispatch(kEmpty, ~0u, rig.context);
  rig.clock.AdvanceNs(kMs / 2);
  EXPECT_EQ(rig.StateOf(rig.device), kStillActive);
  rig.clock.AdvanceNs(kMs);
  ASSERT_EQ(rig.StateOf(rig.device), kIsHung);  // or nothing below would ever settle
  const uint32_t other = rig.NewDevice(rig.caller);
  Dispatch(kStores, 1, rig.NewContext(rig.caller, other));
  rig.Settle();
  EXPECT_EQ(rig.StateOf(other), kStillActive);
  EXPECT_EQ(rig.DataAt(0), 1000u | 1001ull << 32);
}

// It also has no time limit, and the other one's turn comes before it ends.
TEST_F(EuEngine, ADispatchYieldsBetweenSlices) {
  Dispatch(kEmpty, ~0u, rig.TryContext(rig.caller, rig.device, 0, 0, DXG_CONTEXT_DISABLE_GPU_TIMEOUT));
  const uint32_t other = rig.NewDevice(rig.caller);
  const uint32_t context = rig.NewContext(rig.caller, other);
  for (uint64_t i = 1; i <= 3; ++i) {
    const std::string end("\0\0\0\x05", 4);  // MI_BATCH_BUFFER_END
    ASSERT_EQ(rig.Submit(rig.SubmitRequest({context}, rig.Put(end), end.size())), kStatusSuccess);
    const auto fence = rig.NewFence();
    ASSERT_EQ(rig.GpuSignal({context}, {{fence.handle, 1}}), kStatusSuccess);
    rig.clock.AdvanceNs(kMs);
    EXPECT_EQ(rig.ValueOf(fence), 1u);
  }
  EXPECT_EQ(rig.StateOf(rig.device), kStillActive);
  // Whether it is on the engine or not, it ends with its device.
  EXPECT_EQ(rig.DestroyDevice(rig.caller, rig.device), kStatusSuccess);
  rig.Settle();
}

// 400 us of the GPU, in many slices.
TEST_F(EuEngine, ADispatchBelowTheLimitIsNotHung) {
  constexpr uint32_t kGroups = 100'000;
  Dispatch(kEmpty, kGroups, rig.context);
  const auto fence = rig.NewFence();
  ASSERT_EQ(rig.GpuSignal({rig.context}, {{fence.handle, 1}}), kStatusSuccess);
  rig.clock.AdvanceNs(kMs);
  EXPECT_EQ(rig.ValueOf(fence), 1u);
  EXPECT_EQ(rig.StateOf(rig.device), kStillActive);
}

TEST_F(EuEngine, AWildPointerCostsItsDevice) {
  Put<uint32_t>(places_.payload, {0x7FFF0000});
  Dispatch(kStores, 1, rig.context);
  rig.Settle();
  EXPECT_EQ(rig.StateOf(rig.device), kHasPageFault);
}

}  // namespace
}  // namespace dxg::hostsim::eu
