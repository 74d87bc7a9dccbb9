#include "hostsim/memory/paging_queue.h"

#include <gtest/gtest.h>

#include <future>

#include "tests/hostsim/memory_rig.h"

namespace dxg::hostsim {
namespace {

// A destroy that may have to wait.
struct Destroyed {
  explicit Destroyed(MemoryRig& rig, uint32_t queue) {
    host::DestroyPagingQueue::Request request;
    request.set_paging_queue(queue);
    rig.host().Submit(rig.caller, 10, request, &reply, [this](bool was_accepted) {
      accepted = was_accepted;
      ++completions;
    });
  }
  host::DestroyPagingQueue::Reply reply;
  bool accepted = false;
  int completions = 0;
};

TEST(PagingQueue, RefusesWhatItIsNot) {
  MemoryRig rig;
  EXPECT_EQ(rig.TryQueue(rig.device, 2).paging_queue(), 0u);
  EXPECT_EQ(rig.TryQueue(rig.device, -2).paging_queue(), 0u);
  EXPECT_EQ(rig.TryQueue(rig.device, 0, 1).paging_queue(), 0u);
  EXPECT_EQ(rig.TryQueue(rig.device + 0x4000).paging_queue(), 0u);
  EXPECT_EQ(rig.TryQueue(rig.queue.handle).paging_queue(), 0u);
  Destroyed no_queue(rig, rig.queue.fence);
  EXPECT_EQ(no_queue.completions, 1);
  EXPECT_FALSE(no_queue.accepted);
  rig.MarkAsError(rig.caller, rig.device);
  EXPECT_EQ(rig.TryQueue(rig.device).paging_queue(), 0u);
}

TEST(PagingQueue, NoMemoryLeavesNothing) {
  FaultPlan faults;
  MemoryRig rig(Shipped("discrete"), &faults);
  const Accounting before = rig.host().Account();
  faults.FailAt(FaultPoint::kNoMemoryCreate, 1, "CREATEPAGINGQUEUE");
  EXPECT_EQ(rig.TryQueue(rig.device).paging_queue(), 0u);
  EXPECT_EQ(rig.host().Account().sync_objects, before.sync_objects);
  EXPECT_EQ(rig.host().Account().paging_queues, before.paging_queues);
  EXPECT_NE(rig.TryQueue(rig.device).paging_queue(), 0u);
}

// [PGQ] 97
TEST(PagingQueue, FencesBeginAtZeroAndAreIndependent) {
  MemoryRig rig;
  const auto other = rig.NewQueue();
  EXPECT_EQ(rig.FenceOf(rig.queue), 0u);
  EXPECT_EQ(rig.FenceOf(other), 0u);
  EXPECT_NE(rig.queue.fence_address / kPage, other.fence_address / kPage) << "a page each";
  rig.BringIn({rig.New(kPage)});
  EXPECT_EQ(rig.FenceOf(rig.queue), 1u);
  EXPECT_EQ(rig.FenceOf(other), 0u);
}

// [PGQ] 98
TEST(PagingQueue, PendingValuesIncrease) {
  MemoryRig rig;
  uint64_t last = 0;
  for (int i = 0; i < 20; ++i) {
    const uint32_t allocation = rig.New(kPage);
    const auto resident = rig.MakeResident({allocation});
    ASSERT_EQ(resident.status(), kStatusPending);
    EXPECT_GT(resident.paging_fence_value(), last);
    const auto mapped = rig.TryMap(rig.MapRequest(allocation, 1));
    ASSERT_EQ(mapped.status(), kStatusPending);
    EXPECT_GT(mapped.paging_fence_value(), resident.paging_fence_value());
    last = mapped.paging_fence_value();
    if (i % 3 == 0) rig.clock.AdvanceToNext();
  }
}

// [PGQ] 99
TEST(PagingQueue, SuccessIsReachedAndPendingWillBeOnce) {
  MemoryRig rig;
  const uint32_t allocation = rig.New(kPage);
  const auto pending = rig.MakeResident({allocation});
  ASSERT_EQ(pending.status(), kStatusPending);
  EXPECT_LT(rig.FenceOf(rig.queue), pending.paging_fence_value());
  const auto again = rig.MakeResident({allocation});
  EXPECT_EQ(again.status(), kStatusPending) << "still on its way";
  rig.Settle();
  EXPECT_EQ(rig.FenceOf(rig.queue), again.paging_fence_value());
  const auto done = rig.MakeResident({allocation});
  EXPECT_EQ(done.status(), kStatusSuccess);
  EXPECT_EQ(done.paging_fence_value(), rig.FenceOf(rig.queue));
}

// [PGQ] 99
TEST(PagingQueue, ImmediateProfileNeverLeavesAnythingPending) {
  MemoryRig rig(ImmediatePaging());
  const uint32_t allocation = rig.New(kGiB);
  const auto resident = rig.MakeResident({allocation});
  EXPECT_EQ(resident.status(), kStatusSuccess);
  EXPECT_EQ(resident.paging_fence_value(), 0u);
  const auto mapped = rig.TryMap(rig.MapRequest(allocation, 1));
  EXPECT_EQ(mapped.status(), kStatusSuccess);
  EXPECT_EQ(rig.GpuRead(mapped.virtual_address()), 0u);
  EXPECT_EQ(rig.clock.Pending(), 0u);
}

TEST(PagingQueue, TakesTheProfilesTime) {
  AdapterProfile profile = Shipped("discrete");
  profile.mutable_paging()->set_bytes_per_second(kGiB);
  profile.mutable_paging()->set_operation_ns(1000);
  MemoryRig rig(profile);
  const auto pending = rig.MakeResident({rig.New(kGiB / 2)});
  rig.clock.AdvanceNs(500'000'999);
  EXPECT_EQ(rig.FenceOf(rig.queue), 0u);
  rig.clock.AdvanceNs(1);
  EXPECT_EQ(rig.FenceOf(rig.queue), pending.paging_fence_value());
}

// [PGQ] 100
TEST(PagingQueue, ValueShownMeansAllEarlierEffects) {
  MemoryRig rig;
  Rng rng(7);
  struct Step {
    uint64_t value;
    uint64_t address;
  };
  std::vector<Step> steps;
  for (int i = 0; i < 30; ++i) {
    const uint32_t allocation = rig.New((1 + rng.Below(64)) * kPage);
    rig.MakeResident({allocation});
    const auto mapped = rig.TryMap(rig.MapRequest(allocation, 1));
    steps.push_back({mapped.paging_fence_value(), mapped.virtual_address()});
  }
  while (rig.clock.AdvanceToNext()) {
    const uint64_t shown = rig.FenceOf(rig.queue);
    for (const Step& step : steps) {
      EXPECT_EQ(rig.GpuRead(step.address).has_value(), step.value <= shown) << step.value << ' ' << shown;
    }
  }
}

// [PGQ] 101
TEST(PagingQueue, HigherPriorityIsServedFirst) {
  MemoryRig rig;
  const auto low = rig.NewQueue(-1);
  const auto high = rig.NewQueue(1);
  rig.MakeResidentOn(rig.caller, low, {rig.New(kMiB)});  // on its way before the others come
  for (int i = 0; i < 5; ++i) {
    rig.MakeResidentOn(rig.caller, low, {rig.New(kMiB)});
    rig.MakeResidentOn(rig.caller, high, {rig.New(kMiB)});
  }
  while (rig.FenceOf(high) < 5) ASSERT_TRUE(rig.clock.AdvanceToNext());
  EXPECT_EQ(rig.FenceOf(low), 1u);
  rig.Settle();
  EXPECT_EQ(rig.FenceOf(low), 6u);
}

// [PGQ] 102
TEST(PagingQueue, DestroyWaitsForAllOutstandingValues) {
  MemoryRig rig;
  const uint32_t allocation = rig.New(kMiB);
  rig.MakeResident({allocation});
  const auto last = rig.TryMap(rig.MapRequest(allocation, 1));
  const uint64_t fence_address = rig.queue.fence_address;
  const auto fence_value = [&] { return rig.Peek(fence_address); };
  Destroyed destroyed(rig, rig.queue.handle);
  EXPECT_EQ(destroyed.completions, 0);
  EXPECT_EQ(rig.MakeResident({allocation}).status(), kStatusInvalidParameter) << "takes nothing more";
  EXPECT_TRUE(rig.clock.AdvanceToNext());
  EXPECT_EQ(destroyed.completions, 0) << "one of two";
  EXPECT_EQ(fence_value(), 1u);
  rig.Settle();
  EXPECT_EQ(destroyed.completions, 1);
  EXPECT_TRUE(destroyed.accepted);
  EXPECT_EQ(rig.GpuRead(last.virtual_address()), 0u) << "carried out";
  EXPECT_EQ(rig.host().Account().paging_queues, 0u);
  EXPECT_EQ(rig.host().Account().sync_objects, 0u);
  Destroyed again(rig, rig.queue.handle);
  EXPECT_FALSE(again.accepted);
  Destroyed idle(rig, rig.NewQueue().handle);
  EXPECT_EQ(idle.completions, 1) << "nothing to wait for";
}

// [PGQ] 102
TEST(PagingQueue, WhateverEndsTheDeviceEndsTheWait) {
  for (int way = 0; way < 6; ++way) {
    auto rig = std::make_unique<MemoryRig>();
    rig->MakeResident({rig->New(kMiB)});
    Destroyed destroyed(*rig, rig->queue.handle);
    EXPECT_EQ(destroyed.completions, 0);
    switch (way) {
      case 0:
        rig->DestroyDevice(rig->caller, rig->device);
        break;
      case 1:
        rig->EndProcess(rig->caller);
        break;
      case 2:
        rig->host().RemoveAdapter(rig->caller.adapter_luid);
        break;
      case 3:
        rig->host().ResetAdapter(rig->caller.adapter_luid);
        break;
      case 4:
        rig->MarkAsError(rig->caller, rig->device);
        break;
      default:
        rig.reset();
        break;
    }
    EXPECT_EQ(destroyed.completions, 1) << way;
    if (rig) rig->Settle();
    EXPECT_EQ(destroyed.completions, 1) << way;
    if (rig && way != 1) rig->EndProcess(rig->caller);
    if (rig) rig->ExpectNothingLeft();
  }
}

// [PGQ] 99
TEST(PagingQueue, DeviceErrorRaisesItsFencesToTheEnd) {
  for (const bool reset : {false, true}) {
    MemoryRig rig;
    const uint32_t allocation = rig.New(kMiB);
    rig.MakeResident({allocation});
    const uint64_t address = rig.queue.fence_address;
    if (reset) {
      rig.host().ResetAdapter(rig.caller.adapter_luid);
    } else {
      rig.MarkAsError(rig.caller, rig.device);
    }
    EXPECT_EQ(rig.Peek(address), ~0ull);
    rig.Settle();
    EXPECT_EQ(rig.Peek(address), ~0ull) << "what was on its way does not come back";
    EXPECT_EQ(rig.MakeResident({allocation}).status(), kStatusDeviceRemoved);
  }
}

TEST(PagingQueue, StalledProfileHoldsEverything) {
  AdapterProfile profile = Shipped("discrete");
  profile.mutable_paging()->set_stalled(true);
  MemoryRig rig(profile);
  EXPECT_EQ(rig.MakeResident({rig.New(kPage)}).status(), kStatusPending);
  rig.clock.AdvanceNs(1'000'000'000'000);
  EXPECT_EQ(rig.FenceOf(rig.queue), 0u);
  Destroyed destroyed(rig, rig.queue.handle);
  EXPECT_EQ(destroyed.completions, 0);
  rig.EndAndExpectNothing();
  EXPECT_EQ(destroyed.completions, 1);
}

TEST(World, VirtualTimersRunInOrder) {
  VirtualClock clock(100);
  std::string order;
  clock.CallAt(300, [&] { order += 'c'; });
  clock.CallAt(200, [&] {
    order += 'a';
    EXPECT_EQ(clock.NowNs(), 200u);
    clock.CallAt(250, [&] { order += 'x'; });
  });
  clock.CallAt(200, [&] { order += 'b'; });
  EXPECT_EQ(clock.Pending(), 3u);
  clock.AdvanceNs(150);
  EXPECT_EQ(order, "abx");
  EXPECT_EQ(clock.NowNs(), 250u);
  EXPECT_TRUE(clock.AdvanceToNext());
  EXPECT_FALSE(clock.AdvanceToNext());
  EXPECT_EQ(order, "abxc");
}

TEST(World, RealTimersRunInOrderAndStopWithTheClock) {
  std::mutex mutex;
  std::condition_variable changed;
  std::string order;
  {
    RealClock clock;
    const uint64_t now = clock.NowNs();
    auto note = [&](char what) {
      return [&, what] {
        std::lock_guard lock(mutex);
        order += what;
        changed.notify_one();
      };
    };
    // Its thread is held until all are there, however long that takes.
    std::promise<void> all_there;
    clock.CallAt(now, [&all_there] { all_there.get_future().wait(); });
    clock.CallAt(now + 2, note('b'));
    clock.CallAt(now + 1, note('a'));
    clock.CallAt(~0ull, note('!'));
    all_there.set_value();
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return order.size() == 2; });
  }
  EXPECT_EQ(order, "ab");
}

}  // namespace
}  // namespace dxg::hostsim
