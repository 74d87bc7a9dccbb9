// Fences and other objects as the simulated host treats them: what can be made, and what happens to those
// who wait when an object goes. Numbers in brackets are rules of docs/host-rules.md.

#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <functional>
#include <vector>

#include "tests/conformance/peer.h"
#include "tests/conformance/work_client.h"

namespace dxg::conformance {
namespace {

// The host's answer has no status: no object came, and that is all the guest knows.
void ExpectNoObject(int result, const d3dkmt_createsynchronizationobject2& args, uint64_t what) {
  EXPECT_TRUE(result == -EINVAL || result == -ENOMEM) << what << " gave " << ResultName(result);
  EXPECT_EQ(args.sync_object.v, 0u) << what;
}

// ---- Refusals ----

// [SYN] 142
TEST(SimCreateSyncObject, RefusesTypesThatDoNotExist) {
  const SyncClient client;
  for (uint32_t type : {0u, 7u, 8u, 100u, 0xffffffffu}) {
    auto args = client.FenceArgs();
    args.info.type = type;
    ExpectNoObject(client.TryCreateSync(args), args, type);
  }
}

// A render-only adapter has no vertical sync that could signal it.
TEST(SimCreateSyncObject, RefusesPeriodicFences) {
  SyncClient client;
  auto args = client.ObjectArgs(_D3DDDI_PERIODIC_MONITORED_FENCE);
  args.info.periodic_monitored_fence.adapter = client.node.FirstAdapter();
  ExpectNoObject(client.TryCreateSync(args), args, 6);
}

// [SYN] 143 and [GEN] 7
TEST(SimCreateSyncObject, RefusesFlagsThatMakeNoSense) {
  const SyncClient client;
  for (uint32_t flags : {1u << 1, sync_flags::kNoSignal | sync_flags::kNoWait, sync_flags::kSignalByKmd,
                         1u << 9, 1u << 11, 1u << 31}) {
    auto args = client.FenceArgs(0, flags);
    ExpectNoObject(client.TryCreateSync(args), args, flags);
  }
}

TEST(SimCreateSyncObject, TakesTheOtherFlags) {
  const SyncClient client;
  for (uint32_t flags : {0u, sync_flags::kShared, sync_flags::kShared | sync_flags::kCrossAdapter,
                         sync_flags::kNoSignalMaxValueOnTdr, sync_flags::kNoSignal, sync_flags::kNoWait,
                         sync_flags::kNoGpuAccess, sync_flags::kShared | sync_flags::kKeepWaitersUntilLast})
    EXPECT_EQ(client.CreateFence(9, flags).Value(), 9u) << flags;
}

// [SYN] 155
TEST(SimCreateSyncObject, ASemaphoreBeginsWithinItsMaximum) {
  const SyncClient client;
  auto args = client.ObjectArgs(_D3DDDI_SEMAPHORE);
  args.info.semaphore = {.max_count = 1, .initial_count = 2};
  ExpectNoObject(client.TryCreateSync(args), args, 2);
  client.CreateSemaphore(0, 0);  // nobody ever gets past it
}

// ---- Values ----

// [SYN] 144
TEST(SimSignalFromCpu, TheValueIsThereWhenTheCallReturns) {
  const SyncClient client;
  const Fence fence = client.CreateFence();
  const Event event;
  for (uint64_t value : std::vector<uint64_t>{1, 2, 0x100000000, ~0ull - 1, ~0ull}) {
    client.WaitEvent(fence.handle, value, event);
    client.Signal(fence, value);
    EXPECT_EQ(fence.Value(), value);
    EXPECT_EQ(event.Take(1u), 1u) << "and the event is set";
  }
}

TEST(SimSignalFromCpu, SignalsManyAtOnce) {
  const SyncClient client;
  const std::vector<Fence> fences = client.CreateFences(32);
  std::vector<d3dkmthandle> handles;
  std::vector<uint64_t> values;
  for (size_t i = 0; i < fences.size(); ++i) {
    handles.push_back(fences[i].handle);
    values.push_back(100 + i);
  }
  ASSERT_EQ(client.TrySignal(handles, values), 0);
  for (size_t i = 0; i < fences.size(); ++i) EXPECT_EQ(fences[i].Value(), 100 + i);
}

// [SYN] 152
TEST(SimSignalFromCpu, WithoutTheFlagALowerValueIsRefused) {
  for (const uint64_t lower : {9, 0}) {
    ExpectHostRefuses(-EINVAL, [&](WorkClient& client) {
      const Fence fence = client.CreateFence(10);
      const int result = client.TrySignal(fence.handle, lower);
      client.CreateFence();  // is answered after the signal
      EXPECT_EQ(fence.Value(), 10u);
      return result;
    });
  }
  const SyncClient client;
  const Fence fence = client.CreateFence(10);
  client.Signal(fence, 10);
  EXPECT_EQ(fence.Value(), 10u) << "that is not lower";
}

// [SYN] 152
TEST(SimSignalFromCpu, OneLowerValueRefusesTheWholeList) {
  for (const size_t lower : {0, 1, 2}) {
    ExpectHostRefuses(-EINVAL, [&](WorkClient& client) {
      const std::vector<Fence> fences = client.CreateFences(3);
      for (const Fence& fence : fences) client.Signal(fence, 10);
      const std::vector<d3dkmthandle> objects = {fences[0].handle, fences[1].handle, fences[2].handle};
      std::vector<uint64_t> values(3, 11);
      values[lower] = 9;
      const int result = client.TrySignal(objects, values);
      client.CreateFence();  // is answered after the signal
      for (const Fence& fence : fences) EXPECT_EQ(fence.Value(), 10u) << lower;
      return result;
    });
  }
}

// [SYN] 152: a queue has nobody to tell.
TEST(SimSignalFromGpu, WithoutTheFlagALowerValueChangesNothing) {
  const WorkClient client;
  const Fence fence = client.CreateFence(10);
  const d3dkmthandle context = client.CreateContext();
  client.GpuSignal(context, fence, 5);
  client.Finish(context);
  EXPECT_EQ(fence.Value(), 10u);
  EXPECT_EQ(client.State(), kActive);
}

// [SYN] 152
TEST(SimSignalFromCpu, ARewindDropsTheValueForNewWaitsOnly) {
  const SyncClient client;
  const Fence fence = client.CreateFence();
  const Event before, after;
  client.WaitEvent(fence.handle, 10, before);
  client.Signal(fence, ~0ull);
  EXPECT_EQ(before.Take(1u), 1u);
  client.Signal(fence.handle, 0, signal_flags::kAllowRewind);
  EXPECT_EQ(fence.Value(), 0u);
  client.WaitEvent(fence.handle, 10, after);
  EXPECT_EQ(after.Take(), 0u);
  client.Signal(fence, 10);
  EXPECT_EQ(after.Take(1u), 1u);
  EXPECT_EQ(before.Take(), 0u) << "a finished wait does not fire again";
}

TEST(SimSignalFromCpu, RefusesWhatIsNoMonitoredFenceAndSignalsNothing) {
  const Event event;
  const std::function<d3dkmthandle(WorkClient&)> kinds[] = {
      [](WorkClient& client) { return client.CreateSemaphore(0, 1); },
      [](WorkClient& client) { return client.CreateMutex(true); },
      [](WorkClient& client) { return client.CreateLegacyFence(); },
      [&](WorkClient& client) { return client.CreateNotification(event.fd()); },
      [](WorkClient& client) { return client.device; },
      [](WorkClient&) { return Handle(0x40fff000); },
      [](WorkClient&) { return Handle(0); }};
  for (const auto& bad : kinds) {
    Fence fence;
    ExpectHostRefuses(-EINVAL, [&](WorkClient& client) {
      fence = client.CreateFence(0, sync_flags::kNoSignalMaxValueOnTdr);
      const d3dkmthandle objects[] = {fence.handle, bad(client)};
      const uint64_t values[] = {1, 1};
      const int result = client.TrySignal(objects, values);
      EXPECT_EQ(fence.Value(), 0u);
      return result;
    });
  }
  EXPECT_EQ(event.Take(), 0u);
}

// [PGQ] 103
TEST(SimSignalFromCpu, RefusesTheFenceOfAPagingQueue) {
  ExpectHostRefuses(-EACCES, [](WorkClient& client) { return client.TrySignal(client.paging.fence, 1); });
}

// [SYN] 157
TEST(SimSyncFlags, NoSignalIsNotSignalled) {
  constexpr uint32_t kFlags = sync_flags::kNoSignal | sync_flags::kNoSignalMaxValueOnTdr;
  ExpectHostRefuses(
      -EACCES, [](WorkClient& client) { return client.TrySignal(client.CreateFence(0, kFlags).handle, 1); });
  ExpectHostRefuses(-EACCES, [](WorkClient& client) {
    return client.TryGpuSignal(client.CreateContext(), client.CreateFence(0, kFlags).handle, 1);
  });
  const SyncClient client;
  EXPECT_EQ(client.TryWait(client.CreateFence(0, kFlags).handle, 0), 0);
}

// [SYN] 157
TEST(SimSyncFlags, NoWaitIsNotAwaited) {
  ExpectHostRefuses(-EACCES, [](WorkClient& client) {
    return client.TryGpuWait(client.CreateContext(), client.CreateFence(0, sync_flags::kNoWait).handle, 0);
  });
  const SyncClient client;
  const Fence fence = client.CreateFence(0, sync_flags::kNoWait);
  EXPECT_EQ(client.TryWait(fence.handle, 0), -EACCES);
  client.Signal(fence, 1);
  EXPECT_EQ(fence.Value(), 1u);
}

// [SYN] 157: the flags are a device's, given when it opens the object.
TEST(SimSyncFlags, AreOfOneOpeningOnly) {
  const SyncClient client;
  const Fence fence = client.CreateFence(0, sync_flags::kShared);
  const Descriptor descriptor(client.Share(fence.handle));
  ExpectHostRefuses(-EACCES, [&](WorkClient& other) {
    return other.TrySignal(other.OpenFence(descriptor.get(), sync_flags::kNoSignal).handle, 1);
  });
  EXPECT_EQ(fence.Value(), 0u);
  const SyncClient other;
  const Fence deaf = other.OpenFence(descriptor.get(), sync_flags::kNoWait);
  const Fence mute = other.OpenFence(descriptor.get(), sync_flags::kNoSignal);
  EXPECT_EQ(other.TryWait(deaf.handle, 0), -EACCES);
  EXPECT_EQ(other.TrySignal(deaf.handle, 1), 0);
  EXPECT_EQ(other.TryWait(mute.handle, 1), 0);
  EXPECT_EQ(client.TryWait(fence.handle, 1), 0);
  EXPECT_EQ(client.TrySignal(fence.handle, 2), 0);
}

// ---- Waits ----

// [SYN] 146
TEST(SimWaitFromCpu, WhatHoldsAlreadyIsSignalledAtOnceAndOncePerWait) {
  const SyncClient client;
  const Fence fence = client.CreateFence(5);
  const Event event;
  for (uint64_t target : {0, 1, 5}) {
    EXPECT_EQ(client.TryWait(fence.handle, target), 0);
    client.WaitEvent(fence.handle, target, event);
    EXPECT_EQ(event.Take(1u), 1u) << target;
  }
  client.Signal(fence, 6);
  EXPECT_EQ(event.Take(), 0u) << "a wait fires once";
}

// [SYN] 146
TEST(SimWaitFromCpu, OneEventServesManyWaits) {
  const SyncClient client;
  const Fence first = client.CreateFence(), second = client.CreateFence();
  const Event event;
  client.WaitEvent(first.handle, 1, event);
  client.WaitEvent(first.handle, 1, event);
  client.WaitEvent(second.handle, 1, event);
  client.Signal(first, 1);
  client.WaitEvent(second.handle, 2, event);  // does not take back what is set already
  EXPECT_EQ(event.Take(2u), 2u);
  client.Signal(second, 7);
  EXPECT_EQ(event.Take(2u), 2u);
}

// [SYN] 166 and 167
TEST(SimWaitFromCpu, OneSignalReleasesAllThatItReaches) {
  const SyncClient client;
  const Fence fence = client.CreateFence();
  std::vector<Event> low(10), high(10);
  for (const Event& event : low) client.WaitEvent(fence.handle, 5, event);
  for (const Event& event : high) client.WaitEvent(fence.handle, 100, event);
  client.Signal(fence, 4);
  for (const Event& event : low) EXPECT_EQ(event.Take(), 0u);
  client.Signal(fence, 50);
  for (const Event& event : low) EXPECT_EQ(event.Take(1u), 1u);
  for (const Event& event : high) EXPECT_EQ(event.Take(), 0u);
}

TEST(SimWaitFromCpu, AnObjectMayBeListedTwice) {
  const SyncClient client;
  const Fence fence = client.CreateFence();
  const Event all, any;
  const d3dkmthandle objects[] = {fence.handle, fence.handle};
  const uint64_t values[] = {3, 7};
  ASSERT_EQ(client.TryWait(objects, values, false, all.fd()), 0);
  ASSERT_EQ(client.TryWait(objects, values, true, any.fd()), 0);
  client.Signal(fence, 3);
  EXPECT_EQ(any.Take(1u), 1u);
  EXPECT_EQ(all.Take(), 0u);
  client.Signal(fence, 7);
  EXPECT_EQ(all.Take(1u), 1u);
}

// [SYN] 158 and [GEN] 11
TEST(SimWaitFromCpu, TakesThirtyTwoObjectsAndNoMore) {
  const SyncClient client;
  const std::vector<d3dkmthandle> objects(33, client.CreateFence().handle);
  const std::vector<uint64_t> values(33, 0);
  EXPECT_EQ(client.TryWait(Handles(objects).first(32), Values(values).first(32)), 0);
  EXPECT_EQ(client.TryWait(objects, values), -EINVAL);
}

// [SYN] 158: for a signal in the order of a context the guest has no such limit.
TEST(SimSignalFromGpu, TakesThirtyTwoObjectsAndNoMore) {
  const std::vector<uint64_t> values(33, 1);
  const auto objects = [](WorkClient& client) {
    return std::vector<d3dkmthandle>(33, client.CreateFence().handle);
  };
  ExpectHostRefuses(-EINVAL, [&](WorkClient& client) {
    return client.TryGpuSignal(client.CreateContext(), objects(client), values);
  });
  ExpectHostRefuses(-EINVAL, [&](WorkClient& client) {
    const d3dkmthandle context = client.CreateContext();
    return client.TryGpuSignal2({&context, 1}, objects(client), values);
  });
  const SyncClient client;
  const Fence fence = client.CreateFence();
  const std::vector<d3dkmthandle> most(32, fence.handle);
  EXPECT_EQ(client.TryGpuSignal(client.CreateContext(), most, Values(values).first(32)), 0);
  client.Wait(fence, 1);
}

TEST(SimWaitFromCpu, ABadObjectRefusesTheWholeList) {
  const SyncClient client;
  const Fence fence = client.CreateFence();
  const Event event;
  const uint64_t values[] = {0, 0};
  for (d3dkmthandle bad : {Handle(0), Handle(0x40fff000), client.device}) {
    const d3dkmthandle objects[] = {fence.handle, bad};
    EXPECT_EQ(client.TryWait(objects, values, true, event.fd()), -EINVAL) << bad.v;
    EXPECT_EQ(client.TryWait(objects, values, true), -EINVAL) << bad.v;
  }
  EXPECT_EQ(event.Take(), 0u);
}

// All of the objects have to hold at once: which is looked at together, not one after the other.
TEST(SimWaitFromCpu, ARewindTakesBackWhatAnotherObjectStillWaitsFor) {
  const SyncClient client;
  const Fence first = client.CreateFence(), second = client.CreateFence();
  const Event event;
  const d3dkmthandle objects[] = {first.handle, second.handle};
  const uint64_t values[] = {1, 1};
  ASSERT_EQ(client.TryWait(objects, values, false, event.fd()), 0);
  client.Signal(first, 1);
  client.Signal(first.handle, 0, signal_flags::kAllowRewind);
  client.Signal(second, 1);
  EXPECT_EQ(event.Take(), 0u);
  client.Signal(first, 1);
  EXPECT_EQ(event.Take(1u), 1u);
}

// The event is the driver's from then on.
TEST(SimWaitFromCpu, AnEventMayBeClosedMeanwhile) {
  const SyncClient client;
  const Fence fence = client.CreateFence();
  Event event;
  const Descriptor copy(dup(event.fd()));
  client.WaitEvent(fence.handle, 1, event);
  event.Close();
  client.Signal(fence, 1);
  uint64_t count = 0;
  EXPECT_EQ(read(copy.get(), &count, sizeof(count)), ssize_t{sizeof(count)});
  EXPECT_EQ(count, 1u);
}

// ---- CPU notifications ----

TEST(SimNotification, EverySignalCounts) {
  const SyncClient client;
  Event event;
  const d3dkmthandle object = client.CreateNotification(event.fd());
  const d3dkmthandle context = client.CreateContext();
  for (int i = 0; i < 5; ++i) EXPECT_EQ(client.TryLegacySignal(context, object, 0), 0);
  client.Finish(context);
  EXPECT_EQ(event.Take(5u), 5u);
  const Descriptor copy(dup(event.fd()));
  event.Close();
  EXPECT_EQ(client.TryLegacySignal(context, object, 0), 0);
  client.Finish(context);
  uint64_t count = 0;
  EXPECT_EQ(read(copy.get(), &count, sizeof(count)), ssize_t{sizeof(count)})
      << "the driver has its own descriptor";
}

TEST(SimNotification, ADestroyedOneIsSilent) {
  const SyncClient client;
  const Event event;
  const d3dkmthandle object = client.CreateNotification(event.fd()), context = client.CreateContext();
  const Fence gate = client.CreateFence();
  client.GpuWait(context, gate, 1);
  EXPECT_EQ(client.TryLegacySignal(context, object, 0), 0);
  client.DestroySync(object);
  client.Signal(gate, 1);
  client.Finish(context);
  EXPECT_EQ(event.Take(), 0u);
}

// ---- Semaphores and mutexes ----

// [SYN] 155: as many waits pass as there were signals, and what is above the maximum is lost.
TEST(SimSemaphore, LetsAsManyPassAsItCounts) {
  const SyncClient client;
  const d3dkmthandle semaphore = client.CreateSemaphore(2, 3), signaller = client.CreateContext();
  struct Line {
    d3dkmthandle context;
    Fence passed;
  };
  std::vector<Line> lines;
  for (int i = 0; i < 6; ++i) {
    lines.push_back({client.CreateContext(), client.CreateFence()});
    ASSERT_EQ(client.TryLegacyWait(lines.back().context, semaphore, 0), 0);
    client.GpuSignal(lines.back().context, lines.back().passed, 1);
  }
  const auto passed = [&] {
    client.Finish(signaller);
    size_t count = 0;
    for (const Line& line : lines) count += line.passed.Value();
    return count;
  };
  const auto wait_for = [&](size_t count) {
    std::vector<d3dkmthandle> rest;
    while (passed() < count) {
      rest.clear();
      for (const Line& line : lines)
        if (line.passed.Value() == 0) rest.push_back(line.passed.handle);
      ASSERT_EQ(client.TryWait(rest, std::vector<uint64_t>(rest.size(), 1), true), 0);
    }
  };
  wait_for(2);
  EXPECT_EQ(passed(), 2u);
  ASSERT_EQ(client.TryLegacySignal(signaller, semaphore, 0), 0);
  wait_for(3);
  EXPECT_EQ(passed(), 3u);
  for (int i = 0; i < 3; ++i) ASSERT_EQ(client.TryLegacySignal(signaller, semaphore, 0), 0);
  wait_for(6);

  // Nobody waits now: of five signals the maximum of three is kept.
  for (int i = 0; i < 5; ++i) ASSERT_EQ(client.TryLegacySignal(signaller, semaphore, 0), 0);
  client.Finish(signaller);
  const d3dkmthandle last = client.CreateContext();
  const Fence held = client.CreateFence();
  for (int i = 0; i < 3; ++i) ASSERT_EQ(client.TryLegacyWait(last, semaphore, 0), 0);
  client.Finish(last);
  ASSERT_EQ(client.TryLegacyWait(last, semaphore, 0), 0);
  client.GpuSignal(last, held, 1);
  client.Finish(signaller);
  EXPECT_EQ(held.Value(), 0u);
}

// [SYN] 156
TEST(SimMutex, HasOneOwnerAndIsFreeWhenThatIsGone) {
  const SyncClient client;
  const d3dkmthandle mutex = client.CreateMutex(false);
  const d3dkmthandle owner = client.CreateContext(), second = client.CreateContext(),
                     third = client.CreateContext();
  const Fence second_has_it = client.CreateFence(), third_has_it = client.CreateFence();
  ASSERT_EQ(client.TryLegacyWait(owner, mutex, 0), 0);
  client.Finish(owner);
  ASSERT_EQ(client.TryLegacyWait(second, mutex, 0), 0);
  client.GpuSignal(second, second_has_it, 1);
  client.Finish(owner);
  EXPECT_EQ(second_has_it.Value(), 0u);
  ASSERT_EQ(client.TryLegacySignal(owner, mutex, 0), 0);
  client.Wait(second_has_it, 1);
  ASSERT_EQ(client.TryLegacyWait(third, mutex, 0), 0);
  client.GpuSignal(third, third_has_it, 1);
  client.Finish(owner);
  EXPECT_EQ(third_has_it.Value(), 0u);
  client.node.DestroyContext(second);
  client.Wait(third_has_it, 1);
}

// ---- Objects that go ----

// [SYN] 159
TEST(SimDestroySyncObject, ReleasesEverybodyWhoWaitsOnTheCpu) {
  const SyncClient client;
  // A wait that is in its call may still come after the destruction, and finds no fence then: another try.
  constexpr int kTries = 20;
  int waited = -EINVAL;
  for (int tries = 0; tries < kTries && waited == -EINVAL; ++tries) {
    const Fence fence = client.CreateFence();
    const Event event;
    client.WaitEvent(fence.handle, ~0ull, event);
    Waiter waiter([&] { return client.TryWait(fence.handle, 5); });
    waiter.UntilInCall();
    EXPECT_FALSE(waiter.IsDone());
    client.DestroySync(fence.handle);
    waited = waiter.Join();
    event.Wait();
    EXPECT_EQ(event.Take(1u), 1u);
  }
  EXPECT_EQ(waited, 0);
}

// [SYN] 159
TEST(SimDestroySyncObject, OfASharedOneReleasesAtOnceOrWithTheLast) {
  const SyncClient client;
  for (uint32_t flag : {0u, sync_flags::kKeepWaitersUntilLast}) {
    const Fence fence = client.CreateFence(0, sync_flags::kShared | flag);
    Descriptor descriptor(client.Share(fence.handle));
    const Fence opened = client.OpenFence(descriptor.get(), flag);
    const Event event;
    client.WaitEvent(opened.handle, 5, event);
    client.DestroySync(fence.handle);
    client.Wait(opened, 0);
    EXPECT_EQ(event.Take(flag == 0 ? 1u : 0u), flag == 0 ? 1u : 0u);
    client.DestroySync(opened.handle);
    descriptor.Close();
    if (flag != 0) event.Wait();
  }
}

// [SYN] 160
TEST(SimDestroySyncObject, ReleasesContextsAndForgetsTheirSignals) {
  const SyncClient client;
  const Fence fence = client.CreateFence(), done = client.CreateFence();
  const d3dkmthandle context = client.CreateContext();
  client.GpuWait(context, fence, 1);
  client.GpuSignal(context, fence, 2);
  client.GpuSignal(context, done, 1);
  client.DestroySync(fence.handle);
  client.Wait(done, 1);
  EXPECT_EQ(client.node.ExecutionState(client.device), kActive);
}

// [SYN] 160: while somebody else has the object, only that is decided.
TEST(SimDestroySyncObject, AnotherHandleKeepsContextsWaiting) {
  const SyncClient client;
  const Fence fence = client.CreateFence(0, sync_flags::kShared), done = client.CreateFence();
  const Descriptor descriptor(client.Share(fence.handle));
  const Fence opened = client.OpenFence(descriptor.get());
  const d3dkmthandle context = client.CreateContext(), other = client.CreateContext();
  client.GpuWait(context, fence, 1);
  client.GpuSignal(context, done, 1);
  client.DestroySync(fence.handle);
  client.Finish(other);
  EXPECT_EQ(done.Value(), 0u);
  client.Signal(opened, 1);
  client.Wait(done, 1);
}

// [DEV] 53
TEST(SimDestroySyncObject, TheDeviceReleasesThoseWhoWaitForItsFences) {
  SyncClient client;
  const d3dkmthandle device = client.node.CreateDevice(client.node.FirstAdapter());
  auto args = client.FenceArgs();
  args.device = device;
  ASSERT_EQ(client.TryCreateSync(args), 0);
  const Event event;
  ASSERT_EQ(client.TryWait(args.sync_object, 1, event.fd()), 0);
  client.node.DestroyDevice(device);
  event.Wait();
}

// ---- Addresses ----

// [SYN] 154
TEST(SimMonitoredFence, WithoutGpuAccessHasNoAddressThere) {
  const SyncClient client;
  const Fence fence = client.CreateFence(0, sync_flags::kNoGpuAccess), done = client.CreateFence();
  EXPECT_EQ(fence.gpu_address, 0u);
  const d3dkmthandle context = client.CreateContext(), waiting = client.CreateContext();
  client.GpuWait(waiting, fence, 1);
  client.GpuSignal(waiting, done, 1);
  client.GpuSignal(context, fence, 1);
  client.Wait(done, 1);
  EXPECT_EQ(fence.Value(), 1u);
}

// [SYN] 148 and 153: whatever the GPU writes there is the value.
TEST(SimMonitoredFence, AGpuWriteReleasesWaiters) {
  const WorkClient client;
  const Fence fence = client.CreateFence(), done = client.CreateFence();
  ASSERT_NE(fence.gpu_address, 0u);
  const Event event;
  client.WaitEvent(fence.handle, 7, event);
  Waiter waiter([&] { return client.TryWait(fence.handle, 7); });
  waiter.UntilInCall();
  const d3dkmthandle waiting = client.CreateContext();
  client.GpuWait(waiting, fence, 7);
  client.GpuSignal(waiting, done, 1);

  client.Run(
      client.Compile([&](dxg_commands* commands) { dxg_push_write64(commands, fence.gpu_address, 6); }));
  EXPECT_EQ(fence.Value(), 6u);
  EXPECT_FALSE(waiter.IsDone());
  EXPECT_EQ(event.Take(), 0u);
  EXPECT_EQ(done.Value(), 0u);

  client.Run(
      client.Compile([&](dxg_commands* commands) { dxg_push_atomic_add64(commands, fence.gpu_address, 1); }));
  EXPECT_EQ(waiter.Join(), 0);
  EXPECT_EQ(event.Take(1u), 1u) << "no later than the end of that command";
  client.Wait(done, 1);

  client.Run(
      client.Compile([&](dxg_commands* commands) { dxg_push_write64(commands, fence.gpu_address, 2); }));
  EXPECT_EQ(fence.Value(), 2u) << "a lower value is as good";
}

// What a client writes into its mapping is what it sees there, until the fence changes. The fence is the
// host's.
TEST(SimMonitoredFence, AClientsStoreIsNoSignal) {
  const SyncClient client;
  const Fence fence = client.CreateFence(0, sync_flags::kShared);
  const Descriptor descriptor(client.Share(fence.handle));
  const Fence opened = client.OpenFence(descriptor.get());
  const Event event;
  client.WaitEvent(fence.handle, 5, event);
  __atomic_store_n(const_cast<volatile uint64_t*>(fence.value), 100, __ATOMIC_RELEASE);
  client.Wait(fence, 0);
  EXPECT_EQ(event.Take(), 0u);
  EXPECT_EQ(opened.Value(), 0u);
  client.Signal(fence, 3);
  EXPECT_EQ(fence.Value(), 3u);
  EXPECT_EQ(event.Take(), 0u);
  client.Signal(fence, 5);
  EXPECT_EQ(event.Take(1u), 1u);
}

// [SHR] 171: one value, seen at every address.
TEST(SimMonitoredFence, HasOneValueInAllProcesses) {
  const WorkClient client;
  const Fence fence = client.CreateFence(5, sync_flags::kShared);
  const Descriptor descriptor(client.Share(fence.handle));
  Peer other([&](Peer& parent) {
    const WorkClient own;
    const Fence opened = own.OpenFence(descriptor.get());
    EXPECT_EQ(opened.Value(), 5u);
    own.Signal(opened, 6);
    parent.Send(0);
    parent.Receive();
    EXPECT_EQ(opened.Value(), 7u);
    own.Run(own.Compile([&](dxg_commands* commands) { dxg_push_write64(commands, opened.gpu_address, 9); }));
    parent.Send(0);
  });
  other.Receive();
  EXPECT_EQ(fence.Value(), 6u);
  client.Signal(fence, 7);
  Waiter waiter([&] { return client.TryWait(fence.handle, 9); });
  other.Send(0);
  EXPECT_EQ(waiter.Join(), 0);
  other.Receive();
  EXPECT_EQ(fence.Value(), 9u);
  other.Join();
}

// ---- Sharing ----

// [SHR] 174: a descriptor opens on any device of its adapter, on another adapter only with CrossAdapter; one
// adapter here.
TEST(SimOpenSyncObject, RefusesFlagsThatMakeNoSense) {
  const SyncClient client;
  const Descriptor descriptor(client.Share(client.CreateFence(0, sync_flags::kShared).handle));
  d3dkmt_opensyncobjectfromnthandle2 args;
  for (uint32_t flags : {sync_flags::kNoSignal | sync_flags::kNoWait, 1u << 9, 1u << 31})
    EXPECT_EQ(client.TryOpenSync(descriptor.get(), &args, flags), -EINVAL) << flags;
}

}  // namespace
}  // namespace dxg::conformance
