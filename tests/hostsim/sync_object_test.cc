#include "hostsim/sync/sync_object.h"

#include <gtest/gtest.h>

#include <thread>

#include "tests/hostsim/gpu_rig.h"

// Creating, opening, sharing and destroying synchronization objects, and fences among the GPU's addresses.
// Numbers in brackets are rules of docs/host-rules.md.

namespace dxg::hostsim {
namespace {

using Numbers = SyncRig::Numbers;

uint64_t Semaphore(uint32_t count_max, uint32_t count) {
  return count_max | static_cast<uint64_t>(count) << 32;
}

// [SYN] 142
TEST(SyncObject, CreateRefusesNonsense) {
  SyncRig rig;
  for (const uint32_t type : {0u, 7u, 0xFFFFFFFFu}) EXPECT_EQ(rig.Try(type, 0, 1).handle, 0u) << type;
  for (uint32_t type = 1; type <= 6; ++type) {
    EXPECT_EQ(rig.TryFor(rig.caller, 0, type, 0, 1).handle, 0u) << "no device, type " << type;
    EXPECT_EQ(rig.TryFor(rig.caller, rig.queue.handle, type, 0, 1).handle, 0u) << type;
  }
  EXPECT_EQ(rig.Try(4, 0, 0).handle, 0u) << "a notification without an event";
  for (const uint32_t most : {0u, 3u}) EXPECT_EQ(rig.Try(2, 0, Semaphore(most, most + 1)).handle, 0u);
  EXPECT_EQ(rig.Try(6, 0).handle, 0u) << "no display, no vertical sync";
  EXPECT_EQ(rig.host().Account().sync_objects, 1u) << "the paging queue's";
}

// [SYN] 143
TEST(SyncObject, CreateRefusesFlagsThatDoNotFit) {
  SyncRig rig;
  EXPECT_EQ(rig.Try(5, kSyncNtSecuritySharing).handle, 0u);
  EXPECT_EQ(rig.Try(5, kSyncShared).handle, 0u);
  EXPECT_EQ(rig.Try(5, kSyncNoSignal | kSyncNoWait).handle, 0u);
  EXPECT_EQ(rig.Try(5, kSyncSignalByKmd).handle, 0u);
  EXPECT_NE(rig.Try(4, kSyncSignalByKmd, 9).handle, 0u);
  for (const uint32_t bit : {9u, 11u, 16u, 31u}) EXPECT_EQ(rig.Try(5, 1u << bit).handle, 0u) << bit;
  for (const uint32_t flag : {kSyncTopOfPipeline, kSyncNoSignal, kSyncNoWait, kSyncNoSignalMaxValueOnTdr,
                              kSyncNoGpuAccess, kSyncUnwaitCpuWaitersOnlyOnDestroy}) {
    EXPECT_NE(rig.Try(5, flag).handle, 0u) << flag;
    EXPECT_EQ(rig.Try(3, flag).handle, 0u) << flag << " is for monitored fences";
  }
}

TEST(SyncObject, OnlyMonitoredFencesHaveAddresses) {
  SyncRig rig;
  for (const uint32_t type : {1u, 3u, 4u}) {
    const auto sync = rig.Try(type, 0, 1);
    EXPECT_NE(sync.handle, 0u);
    EXPECT_EQ(sync.page | sync.gpu_address | sync.global, 0u) << type;
  }
  const auto fence = rig.NewFence(4);
  EXPECT_EQ(rig.Peek(fence.page), 4u);
  EXPECT_EQ(rig.GpuRead(fence.gpu_address), 4u);
  EXPECT_EQ(fence.global, 0u) << "not shared";
}

// [SYN] 159, destroying
TEST(SyncObject, DestroyTakesEachHandleOnce) {
  SyncRig rig;
  const auto fence = rig.NewFence(0, kAnySharing);
  const uint32_t shared = rig.NtShare(rig.caller, fence.handle);
  EXPECT_EQ(rig.DestroySync(0), kStatusInvalidParameter);
  EXPECT_EQ(rig.DestroySync(rig.device), kStatusInvalidParameter);
  const Caller stranger = rig.NewCaller();
  EXPECT_EQ(rig.DestroySync(stranger, fence.handle), kStatusInvalidParameter);
  EXPECT_EQ(rig.DestroySync(fence.handle), kStatusSuccess);
  EXPECT_EQ(rig.DestroySync(fence.handle), kStatusInvalidParameter);
  EXPECT_EQ(rig.Signal(fence.handle, 1), kStatusInvalidParameter);
  EXPECT_EQ(rig.GpuRead(fence.gpu_address), std::nullopt) << "its address is gone";
  EXPECT_EQ(rig.NtUnshare(shared), kStatusSuccess);
  EXPECT_EQ(rig.NtUnshare(shared), kStatusInvalidParameter);
  EXPECT_EQ(rig.host().Account().shared, 0u);
}

// Fences end with their device, everything else with the process.
TEST(SyncObject, LivesAsLongAsItsOwner) {
  SyncRig rig;
  const uint32_t other = rig.NewDevice(rig.caller);
  const Accounting before = rig.host().Account();
  std::vector<uint32_t> handles;
  for (const uint32_t type : {1u, 2u, 3u, 4u, 5u}) {
    handles.push_back(rig.TryFor(rig.caller, other, type, 0, 1).handle);
    EXPECT_NE(handles.back(), 0u);
  }
  EXPECT_EQ(rig.DestroyDevice(rig.caller, other), kStatusSuccess);
  EXPECT_EQ(rig.host().Account().sync_objects, before.sync_objects + 4);
  EXPECT_EQ(rig.host().Account().mappings, before.mappings);
  EXPECT_EQ(rig.DestroySync(handles[4]), kStatusInvalidParameter);
  EXPECT_EQ(rig.DestroySync(handles[0]), kStatusSuccess);
  rig.EndAndExpectNothing();
}

// [SYN] 153
TEST(FenceAddress, WritesOfAGpuAreSignals) {
  SyncRig rig;
  const auto fence = rig.NewFence(5);
  rig.Wait(fence.handle, 7, 1);
  rig.Wait(fence.handle, 3ull << 32, 2);
  EXPECT_TRUE(rig.GpuWrite(fence.gpu_address, 7));
  EXPECT_EQ(rig.Happened(), Numbers{1});
  EXPECT_EQ(rig.Peek(fence.page), 7u);
  EXPECT_TRUE(rig.GpuWrite(fence.gpu_address, 2)) << "also a lower one";
  EXPECT_EQ(rig.Peek(fence.page), 2u);
  EXPECT_TRUE(rig.GpuWrite(fence.gpu_address + 4, 3)) << "its upper half, and what has no effect";
  EXPECT_EQ(rig.Peek(fence.page), 3ull << 32 | 2);
  EXPECT_EQ(rig.Happened(), Numbers{2});
  EXPECT_TRUE(rig.GpuWrite(fence.gpu_address + 8, ~0ull));
  EXPECT_EQ(rig.GpuRead(fence.gpu_address + 8), 0u) << "the rest of the page is nothing";
  EXPECT_EQ(rig.GpuRead(fence.gpu_address), 3ull << 32 | 2);
}

TEST(FenceAddress, IsNotTheProgramsToChange) {
  SyncRig rig;
  const auto fence = rig.NewFence(5);
  EXPECT_EQ(rig.Free(fence.gpu_address, kPage), kStatusInvalidParameter);
  EXPECT_EQ(rig.TryMap(rig.MapRequest(rig.New(kPage), 1, fence.gpu_address)).status(),
            kStatusInvalidParameter);
  EXPECT_EQ(rig.GpuRead(fence.gpu_address), 5u);
  const auto only_waits = rig.NewFence(6, kSyncNoSignal);
  EXPECT_EQ(rig.GpuRead(only_waits.gpu_address), 6u);
  EXPECT_FALSE(rig.GpuWrite(only_waits.gpu_address, 7)) << "that would be a signal";
  EXPECT_EQ(rig.fault.reason, GpuFault::kReadOnly);
}

// The page is only a view: what a client writes there changes nothing.
TEST(FenceAddress, TheHostKeepsTheTrueValue) {
  SyncRig rig;
  const auto fence = rig.NewFence(5);
  rig.Wait(fence.handle, 6, 1);
  rig.Poke(fence.page, 1000);
  EXPECT_EQ(rig.GpuRead(fence.gpu_address), 5u);
  rig.Wait(fence.handle, 6, 2);
  EXPECT_EQ(rig.Happened(), Numbers{});
  rig.Signal(fence.handle, 6);
  EXPECT_EQ(rig.Peek(fence.page), 6u);
  EXPECT_EQ(rig.Happened(), (Numbers{1, 2}));
}

// [SYN] 154
TEST(FenceAddress, NoGpuAccessHasNone) {
  SyncRig rig;
  const auto fence = rig.NewFence(5, kSyncNoGpuAccess);
  EXPECT_EQ(fence.gpu_address, 0u);
  rig.Wait(fence.handle, 6, 1);
  rig.Signal(fence.handle, 6);
  EXPECT_EQ(rig.Peek(fence.page), 6u);
  EXPECT_EQ(rig.Happened(), Numbers{1});
}

TEST(PeriodicFence, FollowsTheDisplayOfTheProfile) {
  constexpr uint64_t kPeriodNs = 10'000'000;
  AdapterProfile profile = Shipped("discrete");
  profile.set_vertical_sync_ns(kPeriodNs);
  SyncRig rig(profile);
  EXPECT_EQ(rig.TryFor(rig.caller, rig.device, 6, 0, 0, kPeriodNs / 100).handle, 0u)
      << "as long as the period";
  EXPECT_EQ(rig.TryFor(rig.caller, rig.device, 6, 0, 1ull << 32).handle, 0u) << "another display";
  EXPECT_EQ(rig.clock.NowNs() % kPeriodNs, 0u);
  const auto at_once = rig.TryFor(rig.caller, rig.device, 6, 0);
  const auto before = rig.TryFor(rig.caller, rig.device, 6, 0, 0, 10'000);  // 1 ms
  EXPECT_EQ(rig.Peek(at_once.page), 0u);
  EXPECT_EQ(rig.Wait(at_once.handle, 3, 1), kStatusSuccess);
  rig.clock.AdvanceNs(9'000'000);
  EXPECT_EQ(rig.Peek(before.page), 1u);
  EXPECT_EQ(rig.Peek(at_once.page), 0u);
  rig.clock.AdvanceNs(1'000'000);
  EXPECT_EQ(rig.Peek(at_once.page), 1u);
  rig.clock.AdvanceNs(2 * kPeriodNs - 1);
  EXPECT_EQ(rig.Happened(), Numbers{});
  rig.clock.AdvanceNs(1);
  EXPECT_EQ(rig.Happened(), Numbers{1});
  EXPECT_EQ(rig.GpuRead(at_once.gpu_address), 3u);
  EXPECT_EQ(rig.Signal(at_once.handle, 9), kStatusAccessDenied) << "programs only wait for it";
  EXPECT_FALSE(rig.GpuWrite(at_once.gpu_address, 9));
  for (uint32_t more = 2; more < 64; ++more) ASSERT_NE(rig.TryFor(rig.caller, rig.device, 6, 0).handle, 0u);
  EXPECT_EQ(rig.TryFor(rig.caller, rig.device, 6, 0).handle, 0u) << "one too many";
  EXPECT_EQ(rig.DestroySync(before.handle), kStatusSuccess);
  EXPECT_NE(rig.TryFor(rig.caller, rig.device, 6, 0).handle, 0u);
  rig.EndAndExpectNothing();
  rig.clock.AdvanceNs(2 * kPeriodNs);
  EXPECT_EQ(rig.clock.Pending(), 0u) << "nothing goes on";
}

// A queue that never comes to its wait names the fence for ever, and so could any number of those that are
// gone.
TEST(PeriodicFence, StopsWithItsLastHandleThoughQueuesNameIt) {
  constexpr uint64_t kPeriodNs = 10'000'000;
  AdapterProfile profile = Shipped("discrete");
  profile.set_vertical_sync_ns(kPeriodNs);
  GpuRig rig(profile);
  const auto never = rig.NewFence();
  const auto periodic = rig.TryFor(rig.caller, rig.device, 6, 0);
  EXPECT_EQ(rig.GpuWait(rig.context, {{never.handle, 1}}), kStatusSuccess);
  EXPECT_EQ(rig.GpuWait(rig.context, {{periodic.handle, 100}}), kStatusSuccess);
  EXPECT_EQ(rig.clock.Pending(), 1u);
  EXPECT_EQ(rig.DestroySync(periodic.handle), kStatusSuccess);
  rig.clock.AdvanceNs(2 * kPeriodNs);
  EXPECT_EQ(rig.clock.Pending(), 0u) << "the display goes on for nobody";
}

class SharedFence : public ::testing::Test {
 protected:
  SharedFence() { fence = rig.NewFence(5, kAnySharing); }
  SyncRig::Sync Open(uint32_t flags = kAnySharing) { return rig.OpenFor(other, device, fence.global, flags); }

  SyncRig rig;
  SyncRig::Sync fence;
  Caller other = rig.NewCaller();
  uint32_t device = rig.NewDevice(other);
};

// [SHR] 174
TEST_F(SharedFence, OpenRefusesNonsense) {
  EXPECT_EQ(rig.OpenFor(other, device, 0).status, kStatusInvalidHandle);
  EXPECT_EQ(rig.OpenFor(other, device, fence.global + 0x4000).status, kStatusInvalidHandle);
  EXPECT_EQ(rig.OpenFor(other, 0, fence.global).status, kStatusInvalidParameter);
  EXPECT_EQ(rig.OpenFor({other.process + 0x4000, 0}, device, fence.global).status, kStatusInvalidParameter);
  EXPECT_EQ(Open(kAnySharing | kSyncNoSignal | kSyncNoWait).status, kStatusInvalidParameter);
  EXPECT_EQ(Open(1u << 9).status, kStatusInvalidParameter);
  EXPECT_EQ(Open(kSyncSignalByKmd).status, kStatusInvalidParameter);
  const uint32_t resource = rig.NewResource(1, kPage, kResourceFlag | kSharedFlag | kNtFlag)[0];
  EXPECT_EQ(rig.OpenFor(other, device, rig.NtShare(rig.caller, resource)).status, kStatusObjectTypeMismatch);
  host::OpenResource::Request request;
  request.set_device(device);
  request.set_nt_security_sharing(1);
  request.set_global_share(rig.NtShare(rig.caller, fence.handle));
  request.set_allocation_count(1);
  EXPECT_EQ(rig.Ask<host::OpenResource>(other, request).reply.status(), kStatusObjectTypeMismatch);
  rig.host().FailDevice(other.process, device, ExecutionState::kHung);
  EXPECT_EQ(Open().status, kStatusDeviceRemoved);
}

// [SHR] 171, 175
TEST_F(SharedFence, IsOneValueInTwoProcesses) {
  const auto first = Open();
  const auto second = Open();
  ASSERT_EQ(first.status, kStatusSuccess);
  ASSERT_EQ(second.status, kStatusSuccess);
  EXPECT_NE(first.handle, second.handle);
  EXPECT_NE(first.gpu_address, second.gpu_address);
  EXPECT_NE(rig.host().FindRegion(first.page), rig.host().FindRegion(fence.page))
      << "a page of the opener's own";
  rig.WaitFor(other, device, {{first.handle, 6}}, 1);
  rig.Wait(fence.handle, 7, 2);
  rig.Signal(fence.handle, 6);
  EXPECT_EQ(rig.recorded.events, (std::vector<std::pair<uint32_t, uint64_t>>{{other.process, 1}}));
  EXPECT_EQ(rig.SignalFor(other, device, {{second.handle, 7}}), kStatusSuccess);
  EXPECT_EQ(rig.recorded.events.back(), (std::pair<uint32_t, uint64_t>{rig.caller.process, 2}));
  for (const uint64_t page : {fence.page, first.page, second.page}) EXPECT_EQ(rig.Peek(page), 7u);
  EXPECT_EQ(rig.GpuRead(fence.gpu_address), 7u);
}

// [SHR] 176, [SYN] 157
TEST_F(SharedFence, EachOpenerHasItsOwnRights) {
  const auto no_signal = Open(kAnySharing | kSyncNoSignal);
  const auto no_wait = Open(kAnySharing | kSyncNoWait);
  const auto no_gpu = Open(kAnySharing | kSyncNoGpuAccess);
  EXPECT_EQ(rig.SignalFor(other, device, {{no_signal.handle, 9}}), kStatusAccessDenied);
  EXPECT_EQ(rig.WaitFor(other, device, {{no_wait.handle, 9}}, 1), kStatusAccessDenied);
  EXPECT_EQ(no_gpu.gpu_address, 0u);
  EXPECT_EQ(rig.Signal(fence.handle, 9), kStatusSuccess);
  EXPECT_EQ(rig.Peek(no_signal.page), 9u);
}

// [SHR] 169, 170
TEST_F(SharedFence, LivesAsLongAsAnybodyNamesIt) {
  const uint32_t shared = rig.NtShare(rig.caller, fence.handle);
  ASSERT_NE(shared, 0u);
  rig.Signal(fence.handle, 8);
  EXPECT_EQ(rig.DestroySync(fence.handle), kStatusSuccess);
  const auto opened = Open();
  ASSERT_EQ(opened.status, kStatusSuccess);
  EXPECT_EQ(rig.Peek(opened.page), 8u);
  EXPECT_EQ(rig.NtUnshare(shared), kStatusSuccess);
  const uint32_t again = rig.NtShare(other, opened.handle);
  EXPECT_NE(again, 0u) << "an opener may share it again";
  EXPECT_EQ(rig.NtUnshare(again), kStatusSuccess);
  EXPECT_EQ(rig.DestroySync(other, opened.handle), kStatusSuccess);
  EXPECT_EQ(Open().status, kStatusInvalidHandle);
  EXPECT_EQ(rig.host().Account().shared, 0u);
  rig.EndProcess(other);
  rig.EndAndExpectNothing();
}

// [SYN] 159
TEST_F(SharedFence, TheEndOfAHandleEndsCpuWaits) {
  const auto opened = Open();
  rig.Wait(fence.handle, ~0ull, 1);
  EXPECT_EQ(rig.DestroySync(other, opened.handle), kStatusSuccess);
  EXPECT_EQ(rig.Happened(), Numbers{1});
  EXPECT_EQ(rig.Peek(fence.page), 5u) << "the value stays";
}

// [SYN] 159
TEST_F(SharedFence, OrOnlyTheEndOfTheFence) {
  fence = rig.NewFence(5, kAnySharing | kSyncUnwaitCpuWaitersOnlyOnDestroy);
  const auto opened = Open();
  const uint32_t shared = rig.NtShare(rig.caller, fence.handle);
  rig.Wait(fence.handle, ~0ull, 1);
  EXPECT_EQ(rig.DestroySync(other, opened.handle), kStatusSuccess);
  EXPECT_EQ(rig.DestroySync(fence.handle), kStatusSuccess);
  EXPECT_EQ(rig.Happened(), Numbers{});
  EXPECT_EQ(rig.NtUnshare(shared), kStatusSuccess);
  EXPECT_EQ(rig.Happened(), Numbers{1});
}

// [SYN] 161
TEST_F(SharedFence, TheErrorOfAnOpenerRaisesIt) {
  const auto opened = Open();
  EXPECT_EQ(opened.status, kStatusSuccess);
  rig.host().FailDevice(other.process, device, ExecutionState::kHung);
  EXPECT_EQ(rig.Peek(fence.page), ~0ull);
  EXPECT_EQ(rig.Signal(fence.handle, 0, SyncRig::kRewind), kStatusSuccess);
  EXPECT_EQ(rig.Peek(fence.page), 0u) << "the healthy device goes on";
}

TEST_F(SharedFence, TheErrorOfAnOpenerThatOnlyWaitsDoesNot) {
  EXPECT_EQ(Open(kAnySharing | kSyncNoSignal).status, kStatusSuccess);
  rig.host().FailDevice(other.process, device, ExecutionState::kHung);
  EXPECT_EQ(rig.Peek(fence.page), 5u);
}

// [SHR] 174
TEST(SharedAcrossAdapters, OnlyWithTheFlag) {
  SyncRig rig;
  AdapterInfo second;
  ASSERT_TRUE(rig.host().AddAdapter(Shipped("compute"), &second));
  const Caller other{rig.NewProcess(), second.address};
  const uint32_t device = rig.NewDevice(other);
  const auto stays = rig.NewFence(1, kAnySharing);
  const auto crosses = rig.NewFence(1, kAnySharing | kSyncCrossAdapter);
  EXPECT_EQ(rig.OpenFor(other, device, stays.global).status, kStatusInvalidParameter);
  const auto opened = rig.OpenFor(other, device, crosses.global, kAnySharing | kSyncNoSignal);
  ASSERT_EQ(opened.status, kStatusSuccess);
  EXPECT_EQ(rig.WaitFor(other, device, {{opened.handle, 2}}, 1), kStatusSuccess);
  rig.host().RemoveAdapter(second.address);
  EXPECT_EQ(rig.Happened(), Numbers{1}) << "nobody may be left waiting on an adapter that is gone";
  EXPECT_EQ(rig.Peek(crosses.page), 1u) << "the fence lives on the other one";
}

TEST(ShareWithHost, KeepsTheObjectUntilTheProcessEnds) {
  SyncRig rig;
  const auto fence = rig.NewFence(1, kAnySharing);
  auto share = [&](uint32_t device, uint32_t object, uint64_t reserved = 0) {
    host::ShareObjectWithHost::Request request;
    request.set_device(device);
    request.set_object(object);
    request.set_reserved(reserved);
    return rig.Ask<host::ShareObjectWithHost>({rig.caller.process, 0}, request).reply;
  };
  EXPECT_EQ(share(rig.device, fence.handle, 1).status(), kStatusInvalidParameter);
  EXPECT_EQ(share(0, fence.handle).status(), kStatusInvalidParameter);
  EXPECT_EQ(share(rig.device, rig.NewFence().handle).status(), kStatusInvalidParameter) << "not shareable";
  EXPECT_EQ(share(rig.device, rig.queue.handle).status(), kStatusInvalidParameter);
  const auto first = share(rig.device, fence.handle);
  EXPECT_EQ(first.status(), kStatusSuccess);
  EXPECT_NE(first.vail_nt_handle(), 0u);
  EXPECT_NE(share(rig.device, fence.handle).vail_nt_handle(), first.vail_nt_handle());
  const uint32_t resource = rig.NewResource(1, kPage, kResourceFlag | kSharedFlag | kNtFlag)[0];
  EXPECT_EQ(share(rig.device, resource).status(), kStatusSuccess);
  EXPECT_EQ(rig.DestroySync(fence.handle), kStatusSuccess);
  EXPECT_EQ(rig.OpenFor(rig.caller, rig.device, fence.global).status, kStatusSuccess) << "still there";
  rig.EndAndExpectNothing();
}

// Everything ends under everybody's feet. For the thread sanitizer, and nothing may be left.
TEST(SyncConcurrency, TeardownInTheMiddleOfEverything) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 60;
  SyncRig rig;
  const auto fence = rig.NewFence(0, kAnySharing);
  std::atomic<uint64_t> value{0};
  {
    std::vector<std::jthread> threads;
    for (int thread = 0; thread < kThreads; ++thread) {
      threads.emplace_back([&, thread] {
        Rng rng(static_cast<uint64_t>(thread));
        for (int round = 0; round < kRounds; ++round) {
          const Caller caller = rig.NewCaller();
          const uint32_t device = rig.NewDevice(caller);
          const auto opened = rig.OpenFor(caller, device, fence.global);
          ASSERT_EQ(opened.status, kStatusSuccess);
          const auto own = rig.TryFor(caller, device, 5, kAnySharing);
          for (uint64_t event = 1; event <= 8; ++event) {
            rig.WaitFor(caller, device, {{opened.handle, value + event}, {own.handle, event}}, event,
                        event % 2 == 0);
          }
          rig.SignalFor(caller, device, {{opened.handle, ++value}, {own.handle, 3}});
          rig.Signal(fence.handle, ++value);
          const uint32_t name = rig.NtShare(caller, own.handle);
          EXPECT_TRUE(rig.GpuReadAs(caller, own.gpu_address));
          switch (rng.Below(4)) {
            case 0:
              rig.DestroySync(caller, opened.handle);
              break;
            case 1:
              rig.DestroyDevice(caller, device);
              break;
            case 2:
              rig.host().FailDevice(caller.process, device, ExecutionState::kHung);
              rig.Signal(fence.handle, value, SyncRig::kRewind);
              break;
            default:
              break;
          }
          rig.EndProcess(caller);
          EXPECT_EQ(rig.NtUnshare(name), kStatusSuccess);
        }
      });
    }
  }
  EXPECT_EQ(rig.waits(), 0u);
  rig.EndAndExpectNothing();
}

}  // namespace
}  // namespace dxg::hostsim
