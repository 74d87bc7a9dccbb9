#include <gtest/gtest.h>

#include "proto/abi/interface.h"
#include "tests/hostsim/gpu_rig.h"

// Engines that hang. Numbers in brackets are rules of docs/host-rules.md.

namespace dxg::hostsim {
namespace {

TEST(Timeout, DEV47_49_TakesTheGuiltyDeviceOnly) {
  GpuRig rig;
  const auto fence = rig.NewFence();
  const uint32_t other = rig.NewDevice(rig.caller);
  const uint32_t its_context = rig.NewContext(rig.caller, other);
  rig.Submit(CommandWriter().Hang());
  rig.Submit(CommandWriter().Marker(1));
  rig.GpuSignal({rig.context}, {{fence.handle, 1}});
  rig.SubmitTo({its_context}, CommandWriter().Marker(2));
  rig.clock.AdvanceNs(kTimeoutNs - 1);
  EXPECT_EQ(rig.StateOf(rig.device), kActive);
  EXPECT_TRUE(rig.Marks().empty());
  rig.clock.AdvanceNs(1);
  EXPECT_EQ(rig.StateOf(rig.device), kHung);
  EXPECT_EQ(rig.StateOf(other), kActive);
  EXPECT_EQ(rig.Marks(), std::vector<uint64_t>{2}) << "the other's work goes on, the guilty one's is gone";
  EXPECT_EQ(rig.ValueOf(fence), kFenceLost) << "[SYN] 161";
  EXPECT_EQ(rig.recorded.changes.size(), 1u) << "[DEV] 45";
  rig.EndAndExpectNothing();
}

TEST(Timeout, SYN161_FencesThatKeepTheirValue) {
  GpuRig rig;
  const auto keeps = rig.NewFence(3, kSyncNoSignalMaxValueOnTdr);
  const auto lost = rig.NewFence(3);
  rig.Wait(lost.handle, 100, 1);
  rig.Submit(CommandWriter().Hang());
  rig.clock.AdvanceNs(kTimeoutNs);
  EXPECT_EQ(rig.ValueOf(keeps), 3u);
  EXPECT_EQ(rig.ValueOf(lost), kFenceLost);
  EXPECT_EQ(rig.Happened(), GpuRig::Numbers{1});
}

TEST(Timeout, DEV49_WorkThatTakesTooLong) {
  GpuRig rig;
  rig.Submit(CommandWriter().Delay(kTimeoutNs - 1).Marker(1));
  rig.Settle();
  EXPECT_EQ(rig.StateOf(rig.device), kActive);
  rig.Submit(CommandWriter().Delay(kTimeoutNs + 1).Marker(2));
  rig.Settle();
  EXPECT_EQ(rig.StateOf(rig.device), kHung);
  EXPECT_EQ(rig.Marks(), std::vector<uint64_t>{1});
}

// A host that is stopped (SIGSTOP, a freezer) finds its clock far ahead. Its commands did not run meanwhile.
TEST(Timeout, AHostThatStoodStillFindsNobodyHung) {
  for (const bool in_one_piece : {true, false}) {
    GpuRig rig;
    CommandWriter commands;
    for (int i = 0; i < (in_one_piece ? 1 : 10); ++i) commands.Delay((in_one_piece ? 700 : 70) * kMs);
    rig.Submit(commands.Marker(1));
    rig.clock.AdvanceNs(100 * kMs);
    rig.clock.StandStillNs(5 * kTimeoutNs);
    rig.clock.AdvanceNs(0);
    EXPECT_EQ(rig.StateOf(rig.device), kActive);
    rig.clock.AdvanceNs(700 * kMs);
    EXPECT_EQ(rig.StateOf(rig.device), kActive);
    EXPECT_EQ(rig.Marks(), std::vector<uint64_t>{1});
  }
}

TEST(Timeout, ADelayThatIsOverInTimeIsSoHoweverLateThatIsSeen) {
  GpuRig rig;
  rig.Submit(CommandWriter().Delay(kTimeoutNs - 1).Marker(1));
  rig.clock.AdvanceNs(kTimeoutNs - 2);
  rig.clock.StandStillNs(5 * kTimeoutNs);
  rig.clock.AdvanceNs(0);
  EXPECT_EQ(rig.StateOf(rig.device), kActive);
  EXPECT_EQ(rig.Marks(), std::vector<uint64_t>{1});
}

// The stop counts as a step, so that what hangs is found all the same.
TEST(Timeout, AHangIsFoundAfterAStopToo) {
  GpuRig rig;
  rig.Submit(CommandWriter().Hang());
  rig.clock.AdvanceNs(kTimeoutNs / 2);
  rig.clock.StandStillNs(5 * kTimeoutNs);
  rig.clock.AdvanceNs(0);
  EXPECT_EQ(rig.StateOf(rig.device), kActive);
  rig.clock.AdvanceNs(kTimeoutNs / 2);
  EXPECT_EQ(rig.StateOf(rig.device), kHung);
}

TEST(Timeout, WaitingForMemoryOccupiesTheEngine) {
  GpuRig rig;
  rig.Submit(CommandWriter().Wait64(rig.data, 1));
  rig.clock.AdvanceNs(kTimeoutNs);
  EXPECT_EQ(rig.StateOf(rig.device), kHung);
}

TEST(Timeout, WaitingForMemoryHasOneTimerHoweverOftenItIsLookedAt) {
  GpuRig rig;
  const uint32_t other = rig.TryContext(rig.caller, rig.device, 1);
  rig.Submit(CommandWriter().Wait64(rig.data, 1));
  for (int i = 0; i < 50; ++i) rig.SubmitTo({other}, CommandWriter().Marker(1));
  rig.clock.AdvanceNs(kTimeoutNs / 2);
  EXPECT_EQ(rig.StateOf(rig.device), kActive);
  EXPECT_LE(rig.clock.Pending(), 2u);
  rig.clock.AdvanceNs(kTimeoutNs / 2);
  EXPECT_EQ(rig.StateOf(rig.device), kHung);
}

TEST(Timeout, WaitForMemoryIsOverWhenAnotherEngineWrites) {
  GpuRig rig;
  const uint32_t other = rig.TryContext(rig.caller, rig.device, 1);
  rig.Submit(CommandWriter().Wait64(rig.data, 1).Marker(1));
  rig.SubmitTo({other}, CommandWriter().Write64(rig.data, 1));
  EXPECT_EQ(rig.Marks(), std::vector<uint64_t>{1});
}

TEST(Timeout, DEV49_DisabledForDeviceContextOrQueue) {
  for (const int which : {0, 1, 2}) {
    GpuRig rig;
    const uint32_t device = which == 0 ? rig.TryDevice(rig.caller, 1u << 2) : rig.device;
    const uint32_t flags = (which == 1 ? 1u << 2 : 0) | (which == 2 ? GpuRig::kHwQueueSupported : 0);
    const uint32_t context = rig.TryContext(rig.caller, device, 0, 0, flags);
    ASSERT_NE(context, 0u);
    const CommandWriter commands = CommandWriter().Delay(2 * kTimeoutNs).Marker(1);
    if (which == 2) {
      EXPECT_EQ(rig.SubmitHw(rig.TryHwQueue(context, 1).hwqueue(), 1, commands), kStatusSuccess);
    } else {
      EXPECT_EQ(rig.SubmitTo({context}, CommandWriter().Delay(2 * kTimeoutNs)), kStatusSuccess);
      const uint64_t marker = rig.Put(CommandWriter().Marker(1).bytes());
      EXPECT_EQ(rig.Submit(rig.SubmitRequest({context}, marker, 24)), kStatusSuccess);
    }
    rig.clock.AdvanceNs(3 * kTimeoutNs);
    EXPECT_EQ(rig.StateOf(device), kActive) << which;
    EXPECT_EQ(rig.Marks(), std::vector<uint64_t>{1}) << which;
  }
}

TEST(Timeout, HangWithoutTimeoutEndsWithItsProcess) {
  GpuRig rig;
  const uint32_t device = rig.TryDevice(rig.caller, 1u << 2);
  const uint32_t context = rig.NewContext(rig.caller, device);
  rig.SubmitTo({context}, CommandWriter().Hang());
  rig.clock.AdvanceNs(100 * kTimeoutNs);
  EXPECT_EQ(rig.StateOf(device), kActive);
  rig.EndAndExpectNothing();
  const Caller caller = rig.NewCaller();
  EXPECT_NE(rig.NewDevice(caller), 0u);
}

TEST(Timeout, DEV50_AFenceWaitNeverTimesOut) {
  GpuRig rig;
  const auto fence = rig.NewFence();
  rig.GpuWait(rig.context, {{fence.handle, 1}});
  rig.Submit(CommandWriter().Marker(1));
  rig.clock.AdvanceNs(1000 * kTimeoutNs);
  EXPECT_EQ(rig.StateOf(rig.device), kActive);
  rig.Signal(fence.handle, 1);
  EXPECT_EQ(rig.Marks(), std::vector<uint64_t>{1});
}

TEST(Timeout, DEV48_ResetOfTheWholeAdapter) {
  AdapterProfile profile = Shipped("discrete");
  profile.mutable_engines()->set_reset(AdapterProfile::Engines::ADAPTER);
  profile.mutable_engines()->set_timeout_ms(10);
  GpuRig rig(profile);
  AdapterInfo other_adapter;
  ASSERT_TRUE(rig.host().AddAdapter(Shipped("compute"), &other_adapter));
  const Caller elsewhere{rig.caller.process, other_adapter.address};
  const uint32_t untouched = rig.NewDevice(elsewhere);
  const uint32_t innocent = rig.NewDevice(rig.caller);
  uint32_t allocation = 0;
  rig.Memory(kPage, &allocation);
  const auto lock = rig.Lock(allocation);
  rig.Poke(lock.cpu_visible_buffer_offset(), 77);
  const uint32_t system = rig.New(kPage, kAllocationSystemOnly);
  rig.BringIn({system});
  const auto system_lock = rig.Lock(system);
  rig.Poke(system_lock.cpu_visible_buffer_offset(), 78);
  rig.Submit(CommandWriter().Hang());
  rig.clock.AdvanceNs(10 * kMs);
  EXPECT_EQ(rig.StateOf(rig.device), kHung) << "the guilty one";
  EXPECT_EQ(rig.StateOf(innocent), kReset);
  EXPECT_EQ(rig.Peek(system_lock.cpu_visible_buffer_offset()), 78u) << "system memory is not";
  EXPECT_EQ(std::get<1>(rig.State(elsewhere, untouched)), kActive);
  EXPECT_EQ(rig.Peek(lock.cpu_visible_buffer_offset()), 0u) << "video memory is lost";
  host::QueryStatistics::Request request;
  request.set_adapter_luid(rig.adapter().host_luid);
  const std::string statistics = rig.Ask<host::QueryStatistics>(rig.caller, request).reply.result();
  EXPECT_EQ(Get<uint32_t>(BytesOf(std::string_view(statistics)), 16), 1u);
  EXPECT_NE(rig.NewDevice(rig.caller), 0u) << "[DEV] 44";
}

TEST(Timeout, WorkBehindAResetRuns) {
  GpuRig rig;
  const uint32_t other = rig.NewDevice(rig.caller);
  const uint32_t its_context = rig.NewContext(rig.caller, other);
  for (int i = 0; i < 3; ++i) rig.Submit(CommandWriter().Hang());
  for (uint64_t i = 0; i < 50; ++i) rig.SubmitTo({its_context}, CommandWriter().AtomicAdd64(rig.data, 1));
  rig.clock.AdvanceNs(kTimeoutNs);
  EXPECT_EQ(rig.DataAt(0), 50u);
}

// A new device of the rig's process with a command that hangs, until it is found hanging.
uint32_t HangOnNewDevice(GpuRig& rig) {
  rig.device = rig.NewDevice(rig.caller);
  rig.queue = rig.NewQueue();
  const uint32_t context = rig.NewContext(rig.caller, rig.device);
  const CommandWriter commands = CommandWriter().Hang();
  const uint64_t address = rig.Memory(kPage);
  EXPECT_TRUE(
      rig.host().WriteGpu(rig.caller, address, BytesOf(std::string_view(commands.bytes())), &rig.fault));
  EXPECT_EQ(rig.Submit(rig.SubmitRequest({context}, address, commands.bytes().size())), kStatusSuccess);
  rig.clock.AdvanceNs(10 * kMs);
  return rig.device;
}
// An adapter that has to be reset whole, and another one; both are gone when the host has given up.
class TdrLimit : public testing::Test {
 protected:
  static AdapterProfile Profile(uint32_t limit) {
    AdapterProfile profile = Shipped("discrete");
    profile.mutable_engines()->set_reset(AdapterProfile::Engines::ADAPTER);
    profile.mutable_engines()->set_timeout_ms(10);
    profile.mutable_engines()->set_tdr_limit_count(limit);
    return profile;
  }
  explicit TdrLimit(uint32_t limit = 5) : rig(Profile(limit)) {
    EXPECT_TRUE(rig.host().AddAdapter(Shipped("compute"), &other_adapter));
  }
  // So many, each so long after the one before it.
  void HangTimes(int times, uint64_t apart_ns) {
    for (int i = 0; i < times; ++i) {
      EXPECT_EQ(rig.StateOf(HangOnNewDevice(rig)), kHung) << i;
      rig.clock.AdvanceNs(apart_ns - 10 * kMs);
      ASSERT_EQ(rig.host().Adapters().size(), 2u) << i;
    }
  }
  void ExpectTheNextToBeTooMuch() {
    rig.device = rig.NewDevice(rig.caller);
    const auto fence = rig.NewFence();
    rig.Wait(fence.handle, 1, 77);
    HangOnNewDevice(rig);
    EXPECT_TRUE(rig.host().Adapters().empty()) << "the host gives up, and with it all adapters";
    EXPECT_EQ(rig.recorded.removed.size(), 2u);
    EXPECT_EQ(rig.Happened(), GpuRig::Numbers{77}) << "nobody is left waiting";
    EXPECT_EQ(rig.TryDevice(rig.caller), 0u);
    rig.EndAndExpectNothing();
  }

  GpuRig rig;
  AdapterInfo other_adapter;
};
constexpr uint64_t kSecond = 1000 * kMs;

TEST_F(TdrLimit, DEV48_TheSixthResetWithinAMinuteIsOneTooMany) {
  HangTimes(5, 11 * kSecond);
  ExpectTheNextToBeTooMuch();
}

TEST_F(TdrLimit, DEV48_ThoseOfLongAgoDoNotCount) { HangTimes(20, 13 * kSecond); }

TEST_F(TdrLimit, ARuleSaysThatItIsTheNext) {
  FaultRule rule;
  rule.set_point("too-many-timeouts");
  rule.set_nth(3);
  ASSERT_FALSE(rig.host().ArmFault(rule));
  HangTimes(2, 100 * kSecond);
  ExpectTheNextToBeTooMuch();
}

TEST_F(TdrLimit, OrdersAreNoTimeouts) {
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(rig.host().ResetAdapter(rig.adapter().address));
  EXPECT_EQ(rig.host().Adapters().size(), 2u);
}

class NoTdrLimit : public TdrLimit {
 protected:
  NoTdrLimit() : TdrLimit(0) {}
};

TEST_F(NoTdrLimit, AnyNumberIsBorne) { HangTimes(20, 10 * kMs); }

TEST(Timeout, DEV48_ResetsOfEnginesAreNeverTooMany) {
  AdapterProfile profile = Shipped("discrete");
  profile.mutable_engines()->set_timeout_ms(10);
  GpuRig rig(profile);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(rig.StateOf(HangOnNewDevice(rig)), kHung) << i;
  EXPECT_EQ(rig.host().Adapters().size(), 1u);
  EXPECT_EQ(rig.host().faults().Count(FaultPoint::kTooManyTimeouts).passed, 0u);
}

}  // namespace
}  // namespace dxg::hostsim
