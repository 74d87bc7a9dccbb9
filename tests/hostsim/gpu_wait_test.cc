#include <gtest/gtest.h>

#include "tests/hostsim/gpu_rig.h"

// Waits and signals in the order of queues. Numbers in brackets are rules of docs/host-rules.md.

namespace dxg::hostsim {
namespace {

using Ids = std::vector<uint64_t>;

TEST(GpuWait, SYN158_Counts) {
  GpuRig rig;
  const auto fence = rig.NewFence();
  auto many = [&](size_t count) { return GpuRig::Targets(count, {fence.handle, 1}); };
  EXPECT_EQ(rig.GpuWait(rig.context, many(0)), kStatusInvalidParameter);
  EXPECT_EQ(rig.GpuWait(rig.context, many(33)), kStatusInvalidParameter);
  EXPECT_EQ(rig.GpuSignal({rig.context}, many(0)), kStatusInvalidParameter);
  EXPECT_EQ(rig.GpuSignal({rig.context}, many(33)), kStatusInvalidParameter);
  EXPECT_EQ(rig.GpuWait(rig.context, many(32)), kStatusSuccess);
  EXPECT_EQ(rig.GpuSignal({rig.NewContext(rig.caller, rig.device)}, many(32)), kStatusSuccess);
  EXPECT_EQ(rig.waits(), 0u);
}

TEST(GpuWait, SYN158_NotOnACpuNotification) {
  GpuRig rig;
  const auto notification = rig.Try(4, 0, 88);
  ASSERT_NE(notification.handle, 0u);
  EXPECT_EQ(rig.GpuWait(rig.context, {{notification.handle, 0}}), kStatusInvalidParameter);
  EXPECT_EQ(rig.GpuSignal({rig.context}, {{notification.handle, 0}}), kStatusSuccess);
  EXPECT_EQ(rig.Happened(), GpuRig::Numbers{88});
}

TEST(GpuWait, RefusesStrangers) {
  GpuRig rig;
  const auto fence = rig.NewFence();
  for (const uint32_t handle : {0u, 0x7FFFFFC0u, rig.device, rig.context}) {
    EXPECT_EQ(rig.GpuWait(rig.context, {{handle, 1}}), kStatusInvalidParameter);
    EXPECT_EQ(rig.GpuSignal({rig.context}, {{fence.handle, 1}, {handle, 1}}), kStatusInvalidParameter);
    if (handle == rig.context) continue;
    EXPECT_EQ(rig.GpuWait(handle, {{fence.handle, 1}}), kStatusInvalidParameter);
    EXPECT_EQ(rig.GpuSignal({rig.context, handle}, {{fence.handle, 1}}), kStatusInvalidParameter);
  }
  EXPECT_EQ(rig.ValueOf(fence), 0u);
  EXPECT_EQ(rig.GpuSignal({rig.context}, {{fence.handle, 1}}, 8), kStatusInvalidParameter) << "unknown flag";
  EXPECT_EQ(rig.GpuSignal(std::vector<uint32_t>(65, rig.context), {{fence.handle, 1}}),
            kStatusInvalidParameter);
}

TEST(GpuWait, SYN157_Rights) {
  GpuRig rig;
  const auto no_wait = rig.NewFence(0, kSyncNoWait);
  const auto no_signal = rig.NewFence(0, kSyncNoSignal);
  EXPECT_EQ(rig.GpuWait(rig.context, {{no_wait.handle, 1}}), kStatusAccessDenied);
  EXPECT_EQ(rig.GpuSignal({rig.context}, {{no_signal.handle, 1}}), kStatusAccessDenied);
  EXPECT_EQ(rig.GpuSignal({rig.context}, {{no_wait.handle, 1}}), kStatusSuccess);
  EXPECT_EQ(rig.GpuWait(rig.context, {{no_signal.handle, 0}}), kStatusSuccess);
}

TEST(GpuWait, CTX57_HoldsItsOwnQueueOnly) {
  GpuRig rig;
  const auto fence = rig.NewFence();
  const uint32_t other = rig.NewContext(rig.caller, rig.device);
  rig.GpuWait(rig.context, {{fence.handle, 1}});
  rig.Submit(CommandWriter().Marker(1));
  rig.SubmitTo({other}, CommandWriter().Marker(2));
  EXPECT_EQ(rig.Marks(), Ids{2});
  rig.Signal(fence.handle, 1);
  EXPECT_EQ(rig.Marks(), (Ids{2, 1}));
}

TEST(GpuWait, SYN148_BeforeAnySignal) {
  GpuRig rig;
  const auto fence = rig.NewFence();
  for (uint64_t value = 1; value <= 3; ++value) {
    rig.GpuWait(rig.context, {{fence.handle, value}});
    rig.Submit(CommandWriter().Marker(value));
  }
  EXPECT_TRUE(rig.Marks().empty());
  rig.Signal(fence.handle, 1);
  EXPECT_EQ(rig.Marks(), Ids{1}) << "by a CPU";
  rig.GpuSignal({rig.NewContext(rig.caller, rig.device)}, {{fence.handle, 2}});
  EXPECT_EQ(rig.Marks(), (Ids{1, 2})) << "by a queue";
  rig.SubmitTo({rig.NewContext(rig.caller, rig.device)}, CommandWriter().Write64(fence.gpu_address, 3));
  EXPECT_EQ(rig.Marks(), (Ids{1, 2, 3})) << "by a write";
  EXPECT_EQ(rig.ValueOf(fence), 3u);
}

TEST(GpuWait, SYN149_SignalComesBehindItsWork) {
  GpuRig rig;
  const auto behind = rig.NewFence();
  const auto early = rig.NewFence();
  rig.Submit(CommandWriter().Delay(kMs));
  rig.Submit(CommandWriter().Delay(kMs));
  rig.GpuSignal({rig.context}, {{early.handle, 1}}, GpuRig::kAtSubmission);
  rig.GpuSignal({rig.context}, {{behind.handle, 1}});
  EXPECT_EQ(rig.ValueOf(early), 0u);
  rig.clock.AdvanceNs(kMs);
  EXPECT_EQ(rig.ValueOf(early), 1u) << "the second command has begun";
  EXPECT_EQ(rig.ValueOf(behind), 0u);
  rig.clock.AdvanceNs(kMs);
  EXPECT_EQ(rig.ValueOf(behind), 1u);
}

TEST(GpuWait, TopOfPipelineIsEarly) {
  GpuRig rig;
  const auto top = rig.NewFence(0, kSyncTopOfPipeline);
  const auto plain = rig.NewFence();
  rig.Submit(CommandWriter().Delay(kMs));
  rig.GpuSignal({rig.context}, {{top.handle, 1}, {plain.handle, 1}});
  EXPECT_EQ(rig.ValueOf(top), 1u);
  EXPECT_EQ(rig.ValueOf(plain), 0u);
  rig.Settle();
  EXPECT_EQ(rig.ValueOf(plain), 1u);
}

TEST(GpuWait, SYN150_BroadcastWaitsForTheSlowest) {
  GpuRig rig;
  const auto fence = rig.NewFence();
  const uint32_t slow = rig.TryContext(rig.caller, rig.device, 1);
  rig.SubmitTo({slow}, CommandWriter().Delay(kMs));
  EXPECT_EQ(rig.GpuSignal({rig.context, slow}, {{fence.handle, 1}}), kStatusSuccess);
  rig.Submit(CommandWriter().Marker(1));
  EXPECT_EQ(rig.Marks(), Ids{1}) << "the fast one goes on";
  EXPECT_EQ(rig.ValueOf(fence), 0u);
  rig.Settle();
  EXPECT_EQ(rig.ValueOf(fence), 1u);
}

TEST(GpuWait, SYN151_CpuEvents) {
  GpuRig rig;
  const auto fence = rig.NewFence();
  const uint32_t slow = rig.TryContext(rig.caller, rig.device, 1);
  EXPECT_EQ(rig.GpuSignal({rig.context}, {{fence.handle, 1}}, GpuRig::kCpuEvent, 5), kStatusInvalidParameter);
  EXPECT_EQ(rig.GpuSignal({rig.context}, {}, GpuRig::kCpuEvent, 0), kStatusInvalidParameter);
  rig.SubmitTo({slow}, CommandWriter().Delay(kMs));
  EXPECT_EQ(rig.GpuSignal({rig.context, slow}, {}, GpuRig::kCpuEvent, 5), kStatusSuccess);
  EXPECT_EQ(rig.Happened(), GpuRig::Numbers());
  rig.Settle();
  EXPECT_EQ(rig.Happened(), GpuRig::Numbers{5});
}

TEST(GpuWait, SYN153_WritesReleaseBeforeTheCommandEnds) {
  GpuRig rig;
  const auto fence = rig.NewFence();
  EXPECT_EQ(rig.Wait(fence.handle, 5, 1), kStatusSuccess);
  rig.Submit(CommandWriter().Write64(fence.gpu_address, 4).AtomicAdd64(fence.gpu_address, 1).Delay(kMs));
  EXPECT_EQ(rig.Happened(), GpuRig::Numbers{1});
  EXPECT_EQ(rig.ValueOf(fence), 5u);
  rig.Settle();
  rig.Submit(CommandWriter().Write64(fence.gpu_address, 2));
  EXPECT_EQ(rig.ValueOf(fence), 2u) << "stored as it is";
}

TEST(GpuWait, SYN160_DestroyedFenceHoldsNobody) {
  GpuRig rig;
  const auto fence = rig.NewFence();
  rig.GpuWait(rig.context, {{fence.handle, 1}});
  rig.Submit(CommandWriter().Marker(1));
  const uint32_t other = rig.TryContext(rig.caller, rig.device, 1);
  rig.SubmitTo({other}, CommandWriter().Delay(kMs));
  rig.GpuSignal({other}, {{fence.handle, 7}});
  EXPECT_EQ(rig.DestroySync(fence.handle), kStatusSuccess);
  EXPECT_EQ(rig.Marks(), Ids{1});
  rig.Settle();
  EXPECT_EQ(rig.StateOf(rig.device), 1u);
  rig.EndAndExpectNothing();
}

TEST(GpuWait, SYN163_MutualWaitsAreBrokenByACpu) {
  GpuRig rig;
  const auto first = rig.NewFence();
  const auto second = rig.NewFence();
  const uint32_t other = rig.NewContext(rig.caller, rig.device);
  rig.GpuWait(rig.context, {{second.handle, 1}});
  rig.GpuSignal({rig.context}, {{first.handle, 1}});
  rig.GpuWait(other, {{first.handle, 1}});
  rig.GpuSignal({other}, {{second.handle, 2}});
  rig.clock.AdvanceNs(3'600'000'000'000);
  EXPECT_EQ(rig.StateOf(rig.device), 1u) << "[DEV] 50";
  EXPECT_EQ(rig.ValueOf(first), 0u);
  rig.Signal(second.handle, 1);
  EXPECT_EQ(rig.ValueOf(first), 1u);
  EXPECT_EQ(rig.ValueOf(second), 2u);
}

TEST(GpuWait, SYN165_SignalThenWait) {
  GpuRig rig;
  const auto fence = rig.NewFence();
  rig.Submit(CommandWriter().Delay(kMs));
  rig.GpuSignal({rig.context}, {{fence.handle, 1}});
  rig.GpuWait(rig.context, {{fence.handle, 1}});
  rig.Submit(CommandWriter().Marker(1));
  rig.Settle();
  EXPECT_EQ(rig.Marks(), Ids{1});
}

TEST(GpuWait, AllOfSeveral) {
  GpuRig rig;
  const auto first = rig.NewFence();
  const auto second = rig.NewFence();
  rig.GpuWait(rig.context, {{first.handle, 1}, {second.handle, 2}});
  rig.Submit(CommandWriter().Marker(1));
  rig.Signal(second.handle, 2);
  EXPECT_TRUE(rig.Marks().empty());
  rig.Signal(first.handle, 1);
  EXPECT_EQ(rig.Marks(), Ids{1});
}

TEST(GpuWait, SYN152_RewindsInAQueue) {
  GpuRig rig;
  const auto fence = rig.NewFence(10);
  EXPECT_EQ(rig.GpuSignal({rig.context}, {{fence.handle, 5}}), kStatusSuccess);
  EXPECT_EQ(rig.ValueOf(fence), 10u);
  EXPECT_EQ(rig.host().Account().ignored_rewinds, 1u);
  rig.GpuSignal({rig.context}, {{fence.handle, 5}}, GpuRig::kRewind);
  EXPECT_EQ(rig.ValueOf(fence), 5u);
}

// [SYN] 155
TEST(GpuWait, NobodyGetsPastASemaphoreOfAtMostZero) {
  GpuRig rig;
  const auto semaphore = rig.Try(2, 0, 0);
  ASSERT_NE(semaphore.handle, 0u);
  EXPECT_EQ(rig.GpuSignal({rig.context}, {{semaphore.handle, 0}}), kStatusSuccess);
  const uint32_t waiter = rig.NewContext(rig.caller, rig.device);
  EXPECT_EQ(rig.GpuWait(waiter, {{semaphore.handle, 0}}), kStatusSuccess);
  EXPECT_EQ(rig.waits(), 1u);
  EXPECT_EQ(rig.GpuSignal({rig.context}, {{semaphore.handle, 0}}), kStatusSuccess);
  EXPECT_EQ(rig.waits(), 1u);
  EXPECT_EQ(rig.DestroySync(semaphore.handle), kStatusSuccess);
  EXPECT_EQ(rig.waits(), 0u) << "its end ends the wait";
}

TEST(GpuWait, SYN156_MutexOfADestroyedContextIsFree) {
  GpuRig rig;
  const auto mutex = rig.Try(1, 0, 0);
  const uint32_t other = rig.NewContext(rig.caller, rig.device);
  EXPECT_EQ(rig.GpuWait(other, {{mutex.handle, 0}}), kStatusSuccess) << "is free, and has an owner now";
  rig.GpuWait(rig.context, {{mutex.handle, 0}});
  rig.Submit(CommandWriter().Marker(1));
  EXPECT_TRUE(rig.Marks().empty());
  EXPECT_EQ(rig.DestroyContext(rig.caller, other), kStatusSuccess);
  EXPECT_EQ(rig.Marks(), Ids{1});
}

TEST(GpuWait, SYN155_Semaphore) {
  GpuRig rig;
  const auto semaphore = rig.Try(2, 0, 2 | 1ull << 32);  // of at most 2, and 1 now
  ASSERT_NE(semaphore.handle, 0u);
  for (uint64_t i = 1; i <= 2; ++i) {
    const uint32_t each = rig.NewContext(rig.caller, rig.device);
    rig.GpuWait(each, {{semaphore.handle, 0}});
    rig.SubmitTo({each}, CommandWriter().Marker(i));
  }
  EXPECT_EQ(rig.Marks(), Ids{1});
  rig.GpuSignal({rig.context}, {{semaphore.handle, 0}});
  EXPECT_EQ(rig.Marks(), (Ids{1, 2}));
}

TEST(GpuWait, PGQ104_OnAPagingFence) {
  GpuRig rig;
  const uint32_t allocation = rig.New(16 * kMiB);
  const auto paging = rig.MakeResident({allocation});
  ASSERT_EQ(paging.status(), kStatusPending);
  const uint32_t other_device = rig.NewDevice(rig.caller);
  const uint32_t context = rig.NewContext(rig.caller, other_device);
  EXPECT_EQ(rig.GpuWait(context, {{rig.queue.fence, paging.paging_fence_value()}}), kStatusSuccess);
  rig.SubmitTo({context}, CommandWriter().Marker(1));
  EXPECT_TRUE(rig.Marks().empty());
  rig.Settle();
  EXPECT_EQ(rig.Marks(), Ids{1});
}

TEST(GpuWait, EndsWithItsQueue) {
  GpuRig rig;
  const auto fence = rig.NewFence();
  const uint32_t context = rig.NewContext(rig.caller, rig.device);
  rig.GpuWait(context, {{fence.handle, 1}});
  EXPECT_EQ(rig.waits(), 1u);
  EXPECT_EQ(rig.DestroyContext(rig.caller, context), kStatusSuccess);
  EXPECT_EQ(rig.waits(), 0u);
  rig.Signal(fence.handle, 1);
}

// One signal may set off any number of others in turn: that costs time, and no stack.
TEST(GpuWait, LongChainsOfQueuesThatWaitForEachOther) {
  GpuRig rig;
  const uint32_t other = rig.NewContext(rig.caller, rig.device);
  const auto ping = rig.NewFence();
  const auto pong = rig.NewFence();
  constexpr uint64_t kRounds = 100'000;
  for (uint64_t i = 1; i <= kRounds; ++i) {
    rig.GpuWait(rig.context, {{ping.handle, i}});
    rig.GpuSignal({rig.context}, {{pong.handle, i}});
    rig.GpuWait(other, {{pong.handle, i}});
    rig.GpuSignal({other}, {{ping.handle, i + 1}});
  }
  EXPECT_EQ(rig.ValueOf(pong), 0u);
  EXPECT_EQ(rig.Signal(ping.handle, 1), kStatusSuccess);
  EXPECT_EQ(rig.ValueOf(pong), kRounds);
  EXPECT_EQ(rig.ValueOf(ping), kRounds + 1);
}

}  // namespace
}  // namespace dxg::hostsim
