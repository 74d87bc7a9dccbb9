#include <gtest/gtest.h>

#include "hostsim/work/streamers/register_file.h"
#include "tests/guest/counted_memory.h"
#include "tests/hostsim/gpu_rig.h"
#include "tests/hostsim/packet_rig.h"

// Packets on an engine: what a stream sets off, what it waits for, and what becomes of its device.

namespace dxg::hostsim {
namespace {

AdapterProfile WithPm4(AdapterProfile::Engines::Unexecuted unexecuted = AdapterProfile::Engines::SKIP) {
  AdapterProfile profile = Shipped("discrete");
  profile.mutable_nodes(0)->set_commands(AdapterProfile::AMD_PM4);
  profile.mutable_engines()->set_unexecuted(unexecuted);
  return profile;
}

class PacketsOnAnEngine : public testing::Test {
 public:
  explicit PacketsOnAnEngine(AdapterProfile::Engines::Unexecuted unexecuted = AdapterProfile::Engines::SKIP)
      : rig(WithPm4(unexecuted)) {}

  void Submit(const Words& words) {
    // Safety: bytes of numbers.
    const std::string bytes(reinterpret_cast<const char*>(words.all().data()), words.count() * 4);
    ASSERT_EQ(rig.Submit(rig.SubmitRequest({rig.context}, rig.Put(bytes), bytes.size())), kStatusSuccess);
  }
  static Words Write(uint64_t to, uint32_t value) {
    return Words().Add(0xC0033700, 0x500).Wide(to).Add(value);
  }
  static Words WaitFor(uint64_t at, uint32_t value) {
    return Words().Add(0xC0053C00, 3 | 1 << 4).Wide(at).Add(value, ~0u, 4);
  }

  GpuRig rig;
};

TEST_F(PacketsOnAnEngine, AWaitGoesOnWhenTheCpuHasWritten) {
  Submit(Words(WaitFor(rig.data, 5)).Append(Write(rig.data + 8, 1)));
  rig.clock.AdvanceNs(100 * kMs);
  EXPECT_EQ(rig.DataAt(8), 0u);
  const uint32_t value = 5;
  // Safety: bytes of a number.
  ASSERT_TRUE(
      rig.host().WriteGpu(rig.caller, rig.data, {reinterpret_cast<const uint8_t*>(&value), 4}, &rig.fault));
  rig.clock.AdvanceNs(100 * kMs);
  EXPECT_EQ(rig.DataAt(8), 1u);
  EXPECT_EQ(rig.StateOf(rig.device), kActive);
}

TEST_F(PacketsOnAnEngine, AWaitForNothingHangs) {
  Submit(WaitFor(rig.data, 5));
  rig.clock.AdvanceNs(kTimeoutNs - 1);
  EXPECT_EQ(rig.StateOf(rig.device), kActive);
  rig.Settle();
  EXPECT_EQ(rig.StateOf(rig.device), kHung);
}

TEST_F(PacketsOnAnEngine, AnEndlessStreamHangs) {
  const uint64_t at = rig.Memory(4096);
  const std::string jump = [&] {
    const Words words = Words().Add(0xC0023F00).Wide(at).Add(4 | 1 << 20);
    // Safety: bytes of numbers.
    return std::string(reinterpret_cast<const char*>(words.all().data()), words.count() * 4);
  }();
  ASSERT_TRUE(rig.host().WriteGpu(rig.caller, at, BytesOf(std::string_view(jump)), &rig.fault));
  ASSERT_EQ(rig.Submit(rig.SubmitRequest({rig.context}, at, jump.size())), kStatusSuccess);
  rig.clock.AdvanceNs(kTimeoutNs - 1);
  EXPECT_EQ(rig.StateOf(rig.device), kActive);
  rig.Settle();
  EXPECT_EQ(rig.StateOf(rig.device), kHung);
}

TEST_F(PacketsOnAnEngine, AnUnknownPacketLosesTheDevice) {
  Submit(Words(Write(rig.data, 1)).Add(0xC0003900, 0));
  rig.Settle();
  EXPECT_EQ(rig.StateOf(rig.device), kDmaFault);
  EXPECT_EQ(rig.DataAt(0), 1u);
}

TEST_F(PacketsOnAnEngine, MemoryThatIsNotThereLosesTheDevice) {
  Submit(Write(1ull << 40, 1));
  rig.Settle();
  EXPECT_EQ(rig.StateOf(rig.device), kPageFault);
}

TEST_F(PacketsOnAnEngine, ACommandThatFindsNoMemoryLosesItsDevice) {
  const uint32_t bytes = 40'000;  // of a copy whose ranges overlap, which takes as much memory
  guest::FailAllocationsFrom(32 * 1024);
  Submit(Words().Add(0xC0055000, 0x60300000).Wide(rig.data).Wide(rig.data + 16).Add(bytes));
  rig.Settle();
  guest::FailAllocationsFrom(0);
  EXPECT_EQ(rig.StateOf(rig.device), kDmaFault);
  rig.context = rig.NewContext(rig.caller, rig.NewDevice(rig.caller));
  Submit(Write(rig.data + 8, 1));
  rig.Settle();
  EXPECT_EQ(rig.DataAt(8), 1u) << "others go on";
}

TEST_F(PacketsOnAnEngine, DispatchesAreSkipped) {
  Submit(Words().Add(0xC0031500, 1, 1, 1, 1).Append(Write(rig.data, 1)));
  rig.Settle();
  EXPECT_EQ(rig.StateOf(rig.device), kActive);
  EXPECT_EQ(rig.DataAt(0), 1u);
}

class DispatchesThatFault : public PacketsOnAnEngine {
 public:
  DispatchesThatFault() : PacketsOnAnEngine(AdapterProfile::Engines::FAULT) {}
};

TEST_F(DispatchesThatFault, LoseTheDevice) {
  Submit(Words().Add(0xC0031500, 1, 1, 1, 1).Append(Write(rig.data, 1)));
  rig.Settle();
  EXPECT_EQ(rig.StateOf(rig.device), kDmaFault);
  EXPECT_EQ(rig.DataAt(0), 0u);
}

TEST_F(PacketsOnAnEngine, RegistersAreTheQueues) {
  const auto copy = [&](uint64_t to) {  // COPY_DATA from a register of the shaders
    return Words().Add(0xC0044000, 0 | 5 << 8).Wide(0x2C55).Wide(to);
  };
  Submit(Words().Add(0xC0017600, 0x55, 77));  // SET_SH_REG
  Submit(copy(rig.data));
  rig.Settle();
  EXPECT_EQ(rig.DataAt(0), 77u);
  rig.context = rig.NewContext(rig.caller, rig.device);
  Submit(copy(rig.data));
  rig.Settle();
  EXPECT_EQ(rig.DataAt(0), 0u) << "of another queue";
}

TEST(RegistersOnAnEngine, CountForTheirUser) {
  // As much as one queue may have.
  GpuRig rig(WithPm4(), nullptr, nullptr, false, kObjectsPerProcessMax, UserLimits{.state_bytes = 70'000});
  rig.caller = rig.NewCallerOf(1000);
  rig.device = rig.NewDevice(rig.caller);
  rig.queue = rig.NewQueue();
  const uint64_t commands = rig.Memory(4 * kPage), data = rig.Memory(kPage);
  const auto submit = [&](uint32_t context, const Words& words) {
    // Safety: bytes of numbers.
    const ConstBytes bytes(reinterpret_cast<const uint8_t*>(words.all().data()), words.count() * 4);
    ASSERT_TRUE(rig.host().WriteGpu(rig.caller, commands, bytes, &rig.fault));
    ASSERT_EQ(rig.Submit(rig.SubmitRequest({context}, commands, bytes.size())), kStatusSuccess);
    rig.Settle();
  };
  const auto copy = [](uint32_t control, uint64_t from, uint64_t to) {  // COPY_DATA
    return Words().Add(0xC0044000, control).Wide(from).Wide(to);
  };
  const auto write_and_read = [&](uint32_t context) {
    submit(context, copy(5, 77, 0x1234).Append(copy(0 | 5 << 8, 0x1234, data)));
    uint32_t value = 0;
    // Safety: bytes of a number.
    EXPECT_TRUE(
        rig.host().ReadGpu(rig.caller, data, {reinterpret_cast<uint8_t*>(&value), sizeof value}, &rig.fault));
    return value;
  };
  const uint32_t first = rig.NewContext(rig.caller, rig.device);
  const uint32_t second = rig.NewContext(rig.caller, rig.device);
  Words all;
  for (uint32_t i = 0; i < RegisterFile::kBlocksMax; ++i) all.Append(copy(5, i, i * RegisterFile::kBlock));
  submit(first, all);
  EXPECT_EQ(write_and_read(first), 77u);
  EXPECT_EQ(write_and_read(second), 0u);
  EXPECT_EQ(rig.DestroyContext(rig.caller, first), kStatusSuccess);
  EXPECT_EQ(write_and_read(second), 77u);
}

TEST_F(PacketsOnAnEngine, AReleaseSignalsAFence) {
  const auto fence = rig.NewFence();
  rig.Wait(fence.handle, 7, 1);
  Submit(Words().Add(0xC0064900, 0x14 | 5 << 8, 2u << 29).Wide(fence.gpu_address).Wide(7).Add(0));
  rig.Settle();
  EXPECT_EQ(rig.ValueOf(fence), 7u);
  EXPECT_EQ(rig.Happened(), GpuRig::Numbers{1});
}

}  // namespace
}  // namespace dxg::hostsim
