#include <gtest/gtest.h>

#include "tests/hostsim/sync_rig.h"

// Waits and signals of the guest's CPU. Numbers in brackets are rules of docs/host-rules.md.

namespace dxg::hostsim {
namespace {

using Numbers = SyncRig::Numbers;

// [SYN] 158
TEST(CpuWait, RefusesNonsense) {
  SyncRig rig;
  const uint32_t fence = rig.NewFence(5).handle;
  EXPECT_EQ(rig.Wait({}, 7), kStatusInvalidParameter) << "no objects";
  EXPECT_EQ(rig.Wait(SyncRig::Targets(33, {fence, 1}), 7), kStatusInvalidParameter) << "33 objects";
  EXPECT_EQ(rig.Wait(fence, 1, 0), kStatusInvalidParameter) << "no event";
  EXPECT_EQ(rig.Wait(fence + 0x4000, 1, 7), kStatusInvalidParameter);
  EXPECT_EQ(rig.Wait(rig.queue.handle, 1, 7), kStatusInvalidParameter) << "of another kind";
  EXPECT_EQ(rig.WaitFor(rig.caller, rig.device + 0x4000, {{fence, 1}}, 7), kStatusInvalidParameter);
  for (const uint32_t type : {1u, 2u, 3u, 4u}) {
    const uint32_t other = rig.Try(type, 0, 1).handle;
    ASSERT_NE(other, 0u) << type;
    EXPECT_EQ(rig.Wait(other, 1, 7), kStatusInvalidParameter) << "the CPU waits for monitored fences only";
    EXPECT_EQ(rig.Wait({{fence, 1}, {other, 1}}, 7, true), kStatusInvalidParameter) << "none of them";
  }
  auto request = SyncRig::WaitRequest(rig.device, {{fence, 1}}, 7);
  request.set_flags(2);
  EXPECT_EQ(rig.Ask<host::WaitForSyncObjectFromCpu>(rig.caller, request).reply.status(),
            kStatusInvalidParameter);
  request = SyncRig::WaitRequest(rig.device, {{fence, 1}}, 7);
  request.add_fence_values(1);
  EXPECT_EQ(rig.Ask<host::WaitForSyncObjectFromCpu>(rig.caller, request).reply.status(),
            kStatusInvalidParameter);
  const Caller stranger = rig.NewCaller();
  EXPECT_EQ(rig.WaitFor(stranger, rig.NewDevice(stranger), {{fence, 1}}, 7), kStatusInvalidParameter);
  EXPECT_EQ(rig.Happened(), Numbers{});
  EXPECT_EQ(rig.waits(), 0u);
}

// [SYN] 151, 158
TEST(CpuSignal, RefusesNonsense) {
  SyncRig rig;
  const uint32_t fence = rig.NewFence().handle;
  EXPECT_EQ(rig.Signal({}), kStatusInvalidParameter);
  EXPECT_EQ(rig.Signal(SyncRig::Targets(33, {fence, 1})), kStatusInvalidParameter);
  EXPECT_EQ(rig.Signal(fence, 1, 2), kStatusInvalidParameter) << "EnqueueCpuEvent";
  EXPECT_EQ(rig.Signal(fence, 1, 8), kStatusInvalidParameter) << "an unknown flag";
  EXPECT_EQ(rig.Signal({{fence, 1}, {fence + 0x4000, 1}}), kStatusInvalidParameter) << "none of them";
  EXPECT_EQ(rig.SignalFor(rig.caller, rig.device + 0x4000, {{fence, 1}}), kStatusInvalidParameter);
  EXPECT_EQ(rig.Signal(rig.queue.fence, 1), kStatusAccessDenied) << "only its queue raises it";
  EXPECT_EQ(rig.Signal({{fence, 1}, {rig.queue.fence, 1}}), kStatusAccessDenied);
  for (const uint32_t type : {1u, 2u, 3u, 4u}) {
    EXPECT_EQ(rig.Signal(rig.Try(type, 0, 1).handle, 1), kStatusInvalidParameter) << type;
  }
  auto request = SyncRig::SignalRequest(rig.device, {{fence, 1}});
  request.clear_fence_values();
  EXPECT_EQ(rig.Ask<host::SignalSyncObject>(rig.caller, request).reply.status(), kStatusInvalidParameter);
  request = SyncRig::SignalRequest(rig.device, {{fence, 1}});
  request.set_event_or_device(rig.device | 1ull << 32);
  EXPECT_EQ(rig.Ask<host::SignalSyncObject>(rig.caller, request).reply.status(), kStatusInvalidParameter);
  EXPECT_EQ(rig.Wait(fence, 1, 7), kStatusSuccess);
  EXPECT_EQ(rig.Happened(), Numbers{}) << "no refused signal was carried out";
}

// [SYN] 144
TEST(CpuSignal, IsReadableAndItsEventsAreToldWithTheAnswer) {
  SyncRig rig;
  for (const uint64_t value : {0ull, 7ull, ~0ull}) EXPECT_EQ(rig.Peek(rig.NewFence(value).page), value);
  const auto fence = rig.NewFence(7);
  EXPECT_EQ(rig.Wait(fence.handle, 9, 3), kStatusSuccess);
  EXPECT_EQ(rig.Signal(fence.handle, 9), kStatusSuccess);
  EXPECT_EQ(rig.Peek(fence.page), 9u);
  EXPECT_EQ(rig.recorded.events, (std::vector<std::pair<uint32_t, uint64_t>>{{rig.caller.process, 3}}));
}

// [SYN] 145, 166, 167
TEST(CpuWait, EndsAtTheValueAndNotBelow) {
  SyncRig rig;
  const uint32_t fence = rig.NewFence().handle;
  for (uint64_t event = 1; event <= 3; ++event) EXPECT_EQ(rig.Wait(fence, 5, event), kStatusSuccess);
  EXPECT_EQ(rig.Signal(fence, 4), kStatusSuccess);
  EXPECT_EQ(rig.Happened(), Numbers{});
  EXPECT_EQ(rig.Signal(fence, 1000), kStatusSuccess);
  EXPECT_EQ(rig.Happened(), (Numbers{1, 2, 3}));
  EXPECT_EQ(rig.Signal(fence, 1001), kStatusSuccess);
  EXPECT_EQ(rig.Happened(), Numbers{}) << "once each";
  EXPECT_EQ(rig.waits(), 0u);
}

// [SYN] 145
TEST(CpuWait, AllAndAny) {
  SyncRig rig;
  const uint32_t a = rig.NewFence().handle;
  const uint32_t b = rig.NewFence().handle;
  EXPECT_EQ(rig.Wait({{a, 2}, {b, 2}}, 1), kStatusSuccess);
  EXPECT_EQ(rig.Wait({{a, 2}, {b, 2}}, 2, true), kStatusSuccess);
  rig.Signal(a, 2);
  EXPECT_EQ(rig.Happened(), Numbers{2});
  EXPECT_EQ(rig.Wait({{a, 2}, {b, 2}}, 3, true), kStatusSuccess);
  EXPECT_EQ(rig.Happened(), Numbers{3}) << "one is enough, and it is there";
  rig.Signal(b, 2);
  EXPECT_EQ(rig.Happened(), Numbers{1});
  rig.Signal(b, 3);
  EXPECT_EQ(rig.Happened(), Numbers{});
}

// All are judged in one moment: what was there and has gone does not count.
TEST(CpuWait, AllIsJudgedTogether) {
  SyncRig rig;
  const uint32_t a = rig.NewFence().handle;
  const uint32_t b = rig.NewFence().handle;
  EXPECT_EQ(rig.Wait({{a, 2}, {b, 2}}, 1), kStatusSuccess);
  rig.Signal(a, 2);
  rig.Signal(a, 0, SyncRig::kRewind);
  rig.Signal(b, 2);
  EXPECT_EQ(rig.Happened(), Numbers{});
  rig.Signal(b, 1, SyncRig::kRewind);
  rig.Signal(a, 2);
  EXPECT_EQ(rig.Happened(), Numbers{});
  rig.Signal(b, 2);
  EXPECT_EQ(rig.Happened(), Numbers{1});
}

TEST(CpuWait, OneFenceMayStandInAListTwice) {
  SyncRig rig;
  const uint32_t fence = rig.NewFence().handle;
  EXPECT_EQ(rig.Wait({{fence, 2}, {fence, 4}}, 1), kStatusSuccess);
  EXPECT_EQ(rig.Wait({{fence, 2}, {fence, 4}, {fence, 2}}, 2, true), kStatusSuccess);
  rig.Signal(fence, 2);
  EXPECT_EQ(rig.Happened(), Numbers{2});
  rig.Signal({{fence, 3}, {fence, 4}});
  EXPECT_EQ(rig.Happened(), Numbers{1});
  EXPECT_EQ(rig.waits(), 0u);
}

// [SYN] 146, 165
TEST(CpuWait, ThatIsSatisfiedHappensAtOnce) {
  SyncRig rig;
  const uint32_t fence = rig.NewFence(5).handle;
  EXPECT_EQ(rig.Wait(fence, 0, 1), kStatusSuccess);
  EXPECT_EQ(rig.Wait(fence, 5, 2), kStatusSuccess);
  EXPECT_EQ(rig.Wait(fence, 5, 2), kStatusSuccess);
  EXPECT_EQ(rig.Happened(), (Numbers{1, 2, 2})) << "once for each registration";
  rig.Signal(fence, 8);
  EXPECT_EQ(rig.Wait(fence, 8, 3), kStatusSuccess);
  EXPECT_EQ(rig.Happened(), Numbers{3});
  EXPECT_EQ(rig.Wait(rig.queue.fence, 0, 4), kStatusSuccess) << "a paging queue's is for waiting";
  EXPECT_EQ(rig.Happened(), Numbers{4});
}

// [SYN] 147
TEST(CpuWait, ThoseOfOneSignalEndInTheOrderOfTheirRegistration) {
  SyncRig rig;
  const uint32_t a = rig.NewFence().handle;
  const uint32_t b = rig.NewFence().handle;
  rig.Wait(b, 9, 1);
  rig.Wait(a, 3, 2);
  rig.Wait({{a, 1}, {b, 1}}, 3);
  rig.Wait(b, 1, 4);
  rig.Wait(a, 2, 5);
  rig.Wait({{b, 7}, {a, 2}}, 6, true);
  rig.Signal({{a, 3}, {b, 9}});
  EXPECT_EQ(rig.Happened(), (Numbers{1, 2, 3, 4, 5, 6}));
}

// [SYN] 152
TEST(CpuSignal, LowersOnlyWithTheFlag) {
  SyncRig rig;
  const auto fence = rig.NewFence(10);
  for (const uint64_t lower : {0, 5, 9}) EXPECT_EQ(rig.Signal(fence.handle, lower), kStatusInvalidParameter);
  EXPECT_EQ(rig.Peek(fence.page), 10u);
  EXPECT_EQ(rig.Signal(fence.handle, 10), kStatusSuccess) << "that is not lower";
  EXPECT_EQ(rig.Peek(fence.page), 10u);
  EXPECT_EQ(rig.host().Account().ignored_rewinds, 0u) << "it was told";
  rig.Wait(fence.handle, 8, 1);
  EXPECT_EQ(rig.Happened(), Numbers{1});
  for (const uint64_t value : {5ull, 0ull, ~0ull, 0ull}) {
    EXPECT_EQ(rig.Signal(fence.handle, value, SyncRig::kRewind), kStatusSuccess);
    EXPECT_EQ(rig.Peek(fence.page), value);
  }
  EXPECT_EQ(rig.Happened(), Numbers{}) << "what has ended does not end again";
  rig.Wait(fence.handle, 8, 2);
  EXPECT_EQ(rig.Happened(), Numbers{});
  rig.Signal(fence.handle, 8);
  EXPECT_EQ(rig.Happened(), Numbers{2});
}

// [SYN] 157
TEST(CpuWait, NoWaitAndNoSignal) {
  SyncRig rig;
  const uint32_t no_signal = rig.NewFence(1, kSyncNoSignal).handle;
  const uint32_t no_wait = rig.NewFence(1, kSyncNoWait).handle;
  EXPECT_EQ(rig.Signal(no_signal, 2), kStatusAccessDenied);
  EXPECT_EQ(rig.Wait(no_signal, 1, 1), kStatusSuccess);
  EXPECT_EQ(rig.Wait(no_wait, 1, 2), kStatusAccessDenied);
  EXPECT_EQ(rig.Wait({{no_signal, 1}, {no_wait, 1}}, 2, true), kStatusAccessDenied);
  EXPECT_EQ(rig.Signal(no_wait, 2), kStatusSuccess);
  EXPECT_EQ(rig.Signal({{no_wait, 3}, {no_signal, 3}}), kStatusAccessDenied);
  EXPECT_EQ(rig.Happened(), Numbers{1});
}

// [SYN] 159
TEST(CpuWait, EndsWithItsFence) {
  SyncRig rig;
  const uint32_t a = rig.NewFence(3).handle;
  const uint32_t b = rig.NewFence().handle;
  rig.Wait(a, ~0ull, 1);
  rig.Wait({{b, 1}, {a, 4}}, 2);
  rig.Wait({{b, 1}, {a, 4}}, 3, true);
  rig.Wait(b, 1, 4);
  EXPECT_EQ(rig.DestroySync(a), kStatusSuccess);
  EXPECT_EQ(rig.Happened(), (Numbers{1, 2, 3}));
  EXPECT_EQ(rig.waits(), 1u);
  rig.Signal(b, 1);
  EXPECT_EQ(rig.Happened(), Numbers{4});
}

TEST(CpuWait, EndsWithItsDevice) {
  SyncRig rig;
  const uint32_t other = rig.NewDevice(rig.caller);
  const uint32_t fence = rig.NewFence().handle;
  rig.WaitFor(rig.caller, other, {{fence, 1}}, 1);
  rig.Wait(fence, 1, 2);
  EXPECT_EQ(rig.DestroyDevice(rig.caller, other), kStatusSuccess);
  EXPECT_EQ(rig.Happened(), Numbers{1});
  EXPECT_EQ(rig.waits(), 1u) << "that of the other device";
  EXPECT_EQ(rig.DestroyDevice(rig.caller, rig.device), kStatusSuccess);
  EXPECT_EQ(rig.Happened(), Numbers{2});
  EXPECT_EQ(rig.waits(), 0u);
}

// [SYN] 164
TEST(CpuWait, EndsWithItsProcess) {
  SyncRig rig;
  const auto fence = rig.NewFence(0, kAnySharing);
  const Caller other = rig.NewCaller();
  const uint32_t device = rig.NewDevice(other);
  const auto opened = rig.OpenFor(other, device, fence.global);
  ASSERT_EQ(opened.status, kStatusSuccess);
  EXPECT_EQ(rig.WaitFor(other, device, {{opened.handle, 1}}, 1), kStatusSuccess);
  EXPECT_EQ(rig.WaitFor(other, device, {{opened.handle, 1}, {opened.handle, 2}}, 2), kStatusSuccess);
  EXPECT_EQ(rig.Wait(fence.handle, 1, 3), kStatusSuccess);
  rig.EndProcess(other);
  EXPECT_EQ(rig.waits(), 0u) << "the end of a handle ends everybody's, by default";
  rig.Happened();
  EXPECT_EQ(rig.Signal(fence.handle, 9), kStatusSuccess);
  EXPECT_EQ(rig.Happened(), Numbers{});
  rig.EndAndExpectNothing();
}

// [SYN] 161
TEST(CpuWait, EndsWithTheErrorOfADeviceThatCouldSignal) {
  SyncRig rig;
  const auto fence = rig.NewFence(3);
  const auto keeps = rig.NewFence(3, kSyncNoSignalMaxValueOnTdr);
  const auto only_waits = rig.NewFence(3, kSyncNoSignal);
  uint64_t event = 0;
  for (const auto& waited : {fence, keeps, only_waits}) rig.Wait(waited.handle, ~0ull, ++event);
  rig.host().ResetAdapter(rig.caller.adapter_luid);
  EXPECT_EQ(rig.Peek(fence.page), ~0ull);
  EXPECT_EQ(rig.Peek(keeps.page), 3u);
  EXPECT_EQ(rig.Peek(only_waits.page), 3u);
  EXPECT_EQ(rig.Happened(), Numbers{1});
  EXPECT_EQ(rig.Wait(fence.handle, 1, 9), kStatusDeviceRemoved);
  EXPECT_EQ(rig.Signal(fence.handle, 1), kStatusDeviceRemoved);
  EXPECT_EQ(rig.Try(5, 0).handle, 0u);
  EXPECT_EQ(rig.DestroySync(keeps.handle), kStatusSuccess) << "destroying always works";
  EXPECT_EQ(rig.Happened(), Numbers{2});
}

// [SYN] 162
TEST(CpuWait, EndsWithItsAdapter) {
  SyncRig rig;
  const auto fence = rig.NewFence(3);
  const auto keeps = rig.NewFence(3, kSyncNoSignalMaxValueOnTdr);
  const auto only_waits = rig.NewFence(3, kSyncNoSignal);
  uint64_t event = 0;
  for (const auto& waited : {fence, keeps, only_waits}) {
    rig.Wait(waited.handle, ~0ull, ++event);
    rig.Wait(waited.handle, 4, ++event);
  }
  rig.host().RemoveAdapter(rig.caller.adapter_luid);
  for (const auto& waited : {fence, keeps, only_waits}) EXPECT_EQ(rig.Peek(waited.page), ~0ull);
  Numbers happened = rig.Happened();
  std::sort(happened.begin(), happened.end());
  EXPECT_EQ(happened, (Numbers{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(rig.waits(), 0u);
}

// Also that of a device that was in error before, with fences that the error left alone.
TEST(CpuWait, EndsWithTheAdapterOfALostDevice) {
  SyncRig rig;
  const auto keeps = rig.NewFence(3, kSyncNoSignalMaxValueOnTdr);
  rig.Wait(keeps.handle, 4, 1);
  rig.host().FailDevice(rig.caller.process, rig.device, ExecutionState::kHung);
  EXPECT_EQ(rig.Peek(keeps.page), 3u);
  EXPECT_EQ(rig.waits(), 1u);
  rig.host().RemoveAdapter(rig.caller.adapter_luid);
  EXPECT_EQ(rig.Peek(keeps.page), ~0ull);
  EXPECT_EQ(rig.Happened(), Numbers{1});
  EXPECT_EQ(rig.waits(), 0u);
}

// A paging queue's fence ends when its last operation has.
TEST(CpuWait, ForAPagingQueueEndsWithTheQueue) {
  SyncRig rig;
  rig.MakeResident({rig.New(kMiB)});
  rig.Wait(rig.queue.fence, 1, 1);
  rig.Wait(rig.queue.fence, 100, 2);
  EXPECT_EQ(rig.DestroySync(rig.queue.fence), kStatusInvalidParameter) << "its queue ends it";
  host::DestroyPagingQueue::Request request;
  request.set_paging_queue(rig.queue.handle);
  host::DestroyPagingQueue::Reply reply;
  rig.host().Submit(rig.caller, 10, request, &reply, [](bool) {});
  EXPECT_EQ(rig.Happened(), Numbers{});
  rig.Settle();
  EXPECT_EQ(rig.Happened(), (Numbers{1, 2}));
  EXPECT_EQ(rig.host().Account().sync_objects, 0u);
}

// [SYN] 152
TEST(CpuSignal, OneLowerValueRefusesTheWholeList) {
  SyncRig rig;
  const auto a = rig.NewFence(10);
  const auto b = rig.NewFence(10);
  rig.Wait(a.handle, 11, 1);
  rig.Wait(b.handle, 11, 2);
  EXPECT_EQ(rig.Signal({{a.handle, 11}, {b.handle, 9}}), kStatusInvalidParameter);
  EXPECT_EQ(rig.Signal({{b.handle, 9}, {a.handle, 11}}), kStatusInvalidParameter);
  EXPECT_EQ(rig.Signal({{a.handle, 11}, {a.handle, 9}}), kStatusInvalidParameter);
  EXPECT_EQ(rig.Peek(a.page), 10u);
  EXPECT_EQ(rig.Peek(b.page), 10u);
  EXPECT_EQ(rig.Happened(), Numbers{});
  EXPECT_EQ(rig.Signal({{a.handle, 12}, {a.handle, 11}, {b.handle, 10}}), kStatusSuccess)
      << "no value is below what was there before";
  EXPECT_EQ(rig.Peek(a.page), 12u);
  EXPECT_EQ(rig.Happened(), Numbers{1});
}

TEST(CpuSignal, AsynchronousRefusalIsCountedAndLeavesTheDeviceAlone) {
  SyncRig rig;
  const uint32_t fence = rig.NewFence().handle;
  Caller caller = rig.caller;
  caller.asynchronous = true;
  EXPECT_EQ(rig.SignalFor(caller, rig.device, {{fence, 1}}), kStatusSuccess);
  EXPECT_EQ(std::get<1>(rig.State(rig.caller, rig.device)), 1u);
  rig.SignalFor(caller, rig.device + 0x4000, {{fence, 2}});
  EXPECT_EQ(std::get<1>(rig.State(rig.caller, rig.device)), 1u);
  rig.SignalFor(caller, rig.device, {{fence + 0x4000, 2}});
  rig.SignalFor(caller, rig.device, {{fence, 0}});
  EXPECT_EQ(std::get<1>(rig.State(rig.caller, rig.device)), 1u);
  EXPECT_EQ(rig.host().Account().unheard_refusals, 3u);
}

TEST(CpuWait, OneProcessHasSoManyAndNoMore) {
  SyncRig rig;
  const uint32_t fence = rig.NewFence().handle;
  const auto request = SyncRig::WaitRequest(rig.device, {{fence, 1}}, 7);
  for (uint64_t i = 0; i < CpuWaitBudget::kMax; ++i) {
    ASSERT_EQ(rig.Ask<host::WaitForSyncObjectFromCpu>(rig.caller, request).reply.status(), kStatusSuccess);
  }
  EXPECT_EQ(rig.Wait(fence, 1, 8), kStatusNoMemory);
  EXPECT_EQ(rig.Wait(fence, 0, 8), kStatusSuccess) << "one that is over at once takes no room";
  const Caller other = rig.NewCaller();
  const uint32_t device = rig.NewDevice(other);
  const uint32_t own = rig.TryFor(other, device, 5, 0).handle;
  EXPECT_EQ(rig.WaitFor(other, device, {{own, 1}}, 9), kStatusSuccess);
  rig.Happened();
  rig.Signal(fence, 1);
  EXPECT_EQ(rig.Happened().size(), CpuWaitBudget::kMax);
  EXPECT_EQ(rig.Wait(fence, 2, 8), kStatusSuccess);
}

}  // namespace
}  // namespace dxg::hostsim
