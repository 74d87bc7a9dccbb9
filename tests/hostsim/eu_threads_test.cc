#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "hostsim/work/eu/dispatch.h"
#include "proto/abi/flags.h"
#include "tests/hostsim/eu_kernels.h"
#include "tests/hostsim/gpu_rig.h"

// Kernels on an engine with threads of its own, as in service, that take turns with each other.

namespace dxg::hostsim::eu {
namespace {

AdapterProfile UnitsOfAnEngine() {
  AdapterProfile profile = Shipped("discrete");
  profile.mutable_nodes(0)->set_commands(AdapterProfile::INTEL_GEN12);
  profile.mutable_nodes(0)->set_execution_units(AdapterProfile::GEN12LP);
  return profile;
}

class EuThreads : public testing::Test {
 protected:
  // A kernel's device, context and data: lane n of all writes n + `first` there.
  struct Work {
    uint32_t device = 0, context = 0;
    uint64_t at = 0;  // in the rig's data
    uint32_t first = 0;
  };

  EuThreads() : rig(UnitsOfAnEngine(), nullptr, nullptr, true) {
    // Many instructions for each store, so that a dispatch is many slices.
    for (uint32_t i = 0; i < 200; ++i) kernel_.insert(kernel_.end(), kStores.begin(), kStores.begin() + 4);
    kernel_.insert(kernel_.end(), kStores.begin(), kStores.end());
  }

  Work Dispatch(uint32_t index, const std::vector<uint32_t>& kernel, uint32_t groups) {
    constexpr uint64_t kPartBytes = 0x40000, kPlaces = 0x20000;
    Work work;
    work.device = rig.NewDevice(rig.caller);
    work.context = rig.TryContext(rig.caller, work.device, 0, 0, DXG_CONTEXT_DISABLE_GPU_TIMEOUT);
    work.at = index * kPartBytes;
    work.first = 1000 * (index + 1);
    const uint64_t data = rig.data + work.at;
    EXPECT_LT(data, 1ull << 31) << "or these kernels do not reach it";
    const DispatchPlaces places{data + kPlaces, data + kPlaces + 0x8000, data + kPlaces + 0x10000};
    Put<uint32_t>(places.dynamic + kDescriptorOffset, kDescriptor);
    Put<uint32_t>(places.payload, {static_cast<uint32_t>(data), work.first});
    Put<uint16_t>(places.payload + kRegisterBytes, LocalIds());
    Put(places.code + kKernelOffset, kernel);
    const Words words = DispatchBatch(places, groups);
    // Safety: bytes of numbers.
    const std::string bytes(reinterpret_cast<const char*>(words.all().data()), words.count() * 4);
    EXPECT_EQ(rig.Submit(rig.SubmitRequest({work.context}, rig.Put(bytes), bytes.size())), kStatusSuccess);
    return work;
  }
  template <class Word>
  void Put(uint64_t at, const std::vector<Word>& words) {
    // Safety: bytes of numbers.
    ASSERT_TRUE(rig.host().WriteGpu(
        rig.caller, at, {reinterpret_cast<const uint8_t*>(words.data()), words.size() * sizeof(Word)},
        &rig.fault));
  }
  void WaitFor(const Work& work) {
    constexpr uint64_t kStepNs = 10'000;
    const auto fence = rig.NewFence();
    ASSERT_EQ(rig.GpuSignal({work.context}, {{fence.handle, 1}}), kStatusSuccess);
    while (rig.ValueOf(fence) == 0) {
      rig.clock.AdvanceNs(kStepNs);
      std::this_thread::yield();
    }
    EXPECT_EQ(rig.StateOf(work.device), kActive);
  }
  void ExpectRight(const Work& work, uint32_t groups) {
    for (uint32_t lane = 0; lane < 16 * groups; lane += 2) {
      ASSERT_EQ(rig.DataAt(work.at + lane * sizeof(uint32_t)),
                (work.first + lane) | uint64_t{work.first + lane + 1} << 32)
          << "lane " << lane;
    }
  }

  GpuRig rig;
  std::vector<uint32_t> kernel_;
};

// The first one would go on for hours.
TEST_F(EuThreads, KernelsOfOthersComeBetweenTheSlicesOfOne) {
  constexpr uint32_t kGroups = 200;
  const Work endless = Dispatch(0, kEmpty, ~0u);
  for (uint32_t index = 1; index <= 3; ++index) {
    const Work work = Dispatch(index, kernel_, kGroups);
    WaitFor(work);
    ExpectRight(work, kGroups);
  }
  EXPECT_EQ(rig.StateOf(endless.device), kActive);
  EXPECT_EQ(rig.DestroyDevice(rig.caller, endless.device), kStatusSuccess);
}

TEST_F(EuThreads, KernelsThatTakeTurnsAllComputeRight) {
  constexpr uint32_t kGroups = 1000, kWorks = 4;
  std::vector<Work> works;
  for (uint32_t index = 0; index < kWorks; ++index) works.push_back(Dispatch(index, kernel_, kGroups));
  for (const Work& work : works) WaitFor(work);
  for (const Work& work : works) ExpectRight(work, kGroups);
  for (const Work& work : works) EXPECT_EQ(rig.DestroyDevice(rig.caller, work.device), kStatusSuccess);
}

}  // namespace
}  // namespace dxg::hostsim::eu
