#include <gtest/gtest.h>

#include <array>

#include "tests/hostsim/memory_rig.h"

namespace dxg::hostsim {
namespace {

constexpr uint32_t kCantTrimFurther = 1;
constexpr uint32_t kMustSucceed = 2;
constexpr uint32_t kOnlyIfNecessary = 1;

// 8 MiB of its own memory, 16 MiB of the system's; all of it is budget, and nothing takes time.
AdapterProfile Small() {
  AdapterProfile profile = Shipped("discrete");
  profile.mutable_memory()->set_dedicated_video_bytes(8 * kMiB);
  profile.mutable_memory()->set_shared_system_bytes(16 * kMiB);
  profile.mutable_memory()->set_budget_percent(100);
  profile.mutable_paging()->set_immediate(true);
  return profile;
}

// A process beside the rig's own.
struct Other {
  explicit Other(MemoryRig& rig)
      : rig(rig),
        caller(rig.NewCaller()),
        device(rig.NewDevice(caller)),
        queue(rig.NewQueueFor(caller, device)) {}
  uint32_t New(uint64_t bytes) { return rig.NewFor(caller, device, bytes); }
  int32_t MakeResident(const std::vector<uint32_t>& list, uint32_t flags = 0) {
    return rig.MakeResidentOn(caller, queue, list, flags).status();
  }
  MemoryRig& rig;
  Caller caller;
  uint32_t device;
  MemoryRig::Queue queue;
};

TEST(MakeResident, RefusesNonsense) {
  MemoryRig rig;
  const uint32_t allocation = rig.New(kPage);
  EXPECT_EQ(rig.MakeResident({}).status(), kStatusInvalidParameter);
  EXPECT_EQ(rig.MakeResident({allocation}, kMustSucceed).status(), kStatusInvalidParameter);
  EXPECT_EQ(rig.MakeResident({allocation}, 4).status(), kStatusInvalidParameter);
  EXPECT_EQ(rig.MakeResident({allocation, 0}).status(), kStatusInvalidParameter);
  EXPECT_EQ(rig.MakeResident(std::vector<uint32_t>(10241, allocation)).status(), kStatusInvalidParameter);
  EXPECT_EQ(rig.Usage(), 0u);
  rig.MarkAsError(rig.caller, rig.device);
  EXPECT_EQ(rig.MakeResident({allocation}).status(), kStatusDeviceRemoved);
  EXPECT_TRUE(rig.Evict({allocation}).accepted);
}

// [RES] 105
TEST(MakeResident, IsCountedPerOccurrence) {
  MemoryRig rig;
  const uint32_t allocation = rig.New(kPage);
  rig.BringIn({allocation, allocation});
  rig.BringIn({allocation});
  for (int left = 2; left >= 0; --left) {
    EXPECT_EQ(rig.WhereIs(allocation), 1u);
    EXPECT_EQ(rig.Usage(), kPage);
    EXPECT_TRUE(rig.Evict({allocation}).accepted);
  }
  EXPECT_EQ(rig.WhereIs(allocation), 3u);
  EXPECT_EQ(rig.Usage(), 0u);
}

// [RES] 105
TEST(MakeResident, AnAllocationThatIsInTheListTwiceNeedsRoomOnce) {
  MemoryRig rig(Small());
  const uint32_t allocation = rig.New(5 * kMiB);
  EXPECT_EQ(rig.MakeResident({allocation, allocation}).status(), kStatusSuccess);
  EXPECT_EQ(rig.Usage(), 5 * kMiB);
}

// [RES] 106
TEST(MakeResident, GpuMayUseItFromTheValueOn) {
  MemoryRig rig;
  const uint32_t allocation = rig.New(kPage);
  const uint64_t address = rig.Map(allocation, 1);
  EXPECT_EQ(rig.GpuRead(address), std::nullopt);
  EXPECT_EQ(rig.fault.reason, GpuFault::kNotResident);
  const auto pending = rig.MakeResident({allocation});
  EXPECT_EQ(rig.GpuRead(address), std::nullopt) << "on its way";
  while (rig.FenceOf(rig.queue) < pending.paging_fence_value()) ASSERT_TRUE(rig.clock.AdvanceToNext());
  EXPECT_EQ(rig.GpuRead(address), 0u);
}

// [RES] 107
TEST(MakeResident, OverBudgetChangesNothingAndSaysHowMuch) {
  MemoryRig rig(Small());
  const uint32_t small = rig.New(kMiB);
  const uint32_t large = rig.New(8 * kMiB);
  const auto refused = rig.MakeResident({small, large});
  EXPECT_EQ(refused.status(), kStatusNoMemory);
  EXPECT_EQ(refused.num_bytes_to_trim(), kMiB);
  EXPECT_EQ(rig.WhereIs(small), 3u);
  EXPECT_EQ(rig.Usage(), 0u);
  EXPECT_EQ(rig.host().Account().listed_bytes[kLocal], 0u);
}

// [RES] 107
TEST(MakeResident, InjectedFailureAsksForSomething) {
  FaultPlan faults;
  MemoryRig rig(Small(), &faults);
  const uint32_t allocation = rig.New(kMiB);
  faults.FailAt(FaultPoint::kNoMemoryResident, 1);
  const auto refused = rig.MakeResident({allocation});
  EXPECT_EQ(refused.status(), kStatusNoMemory);
  EXPECT_GT(refused.num_bytes_to_trim(), 0u);
  EXPECT_EQ(rig.Usage(), 0u);
  EXPECT_EQ(rig.MakeResident({allocation}).status(), kStatusSuccess);
}

// [RES] 108
TEST(MakeResident, TrimmingThatMuchMakesTheRetrySucceed) {
  Rng rng(3);
  for (int round = 0; round < 50; ++round) {
    MemoryRig rig(Small());
    std::vector<std::pair<uint32_t, uint64_t>> in;
    for (;;) {
      const uint64_t bytes = (1 + rng.Below(512)) * kPage;
      const uint32_t allocation = rig.New(bytes);
      const auto reply = rig.MakeResident({allocation});
      if (reply.status() == kStatusSuccess) {
        in.emplace_back(allocation, bytes);
        continue;
      }
      EXPECT_EQ(reply.num_bytes_to_trim(), rig.Usage() + bytes - rig.Budget());
      uint64_t trimmed = 0;
      while (trimmed < reply.num_bytes_to_trim()) {
        trimmed += in.back().second;
        rig.Evict({in.back().first});
        in.pop_back();
      }
      EXPECT_EQ(rig.MakeResident({allocation}).status(), kStatusSuccess);
      break;
    }
  }
}

// [RES] 109
TEST(MakeResident, CantTrimFurtherGoesAboveTheBudgetAndNotAboveThePool) {
  MemoryRig rig(Small());
  Other other(rig);
  EXPECT_EQ(rig.Budget(), 4 * kMiB) << "two share it";
  const uint32_t most = rig.New(6 * kMiB);
  EXPECT_EQ(rig.MakeResident({most}).status(), kStatusNoMemory);
  EXPECT_EQ(rig.MakeResident({most}, kCantTrimFurther).status(), kStatusSuccess);
  EXPECT_EQ(rig.Usage(), 6 * kMiB);
  EXPECT_EQ(rig.Evict({rig.New(kPage)}).reply.num_bytes_to_trim(), 2 * kMiB) << "still above the budget";
  const uint32_t more = rig.New(3 * kMiB);
  const auto refused = rig.MakeResident({more}, kCantTrimFurther);
  EXPECT_EQ(refused.status(), kStatusNoMemory);
  EXPECT_EQ(refused.num_bytes_to_trim(), kMiB);
  EXPECT_EQ(other.MakeResident({other.New(3 * kMiB)}), kStatusNoMemory)
      << "within its budget, but there is no room";
  EXPECT_EQ(other.MakeResident({other.New(2 * kMiB)}), kStatusSuccess);
}

// [RES] 110
TEST(MakeResident, UnmeetableMustSucceedFailsTheDevice) {
  MemoryRig rig(Small());
  const uint32_t too_large = rig.New(9 * kMiB);
  EXPECT_EQ(rig.MakeResident({too_large}, kCantTrimFurther).status(), kStatusNoMemory);
  EXPECT_EQ(rig.State(rig.caller, rig.device), std::make_tuple(kStatusSuccess, 1u));
  EXPECT_EQ(rig.MakeResident({too_large}, kCantTrimFurther | kMustSucceed).status(), kStatusNoMemory);
  EXPECT_EQ(rig.State(rig.caller, rig.device), std::make_tuple(kStatusSuccess, 5u));
  EXPECT_EQ(rig.recorded.changes.size(), 1u);
}

// [RES] 111
TEST(MakeResident, ListOfAnotherDeviceChangesNoCount) {
  MemoryRig rig;
  const uint32_t own = rig.New(kPage);
  const uint32_t other = rig.NewFor(rig.caller, rig.NewDevice(rig.caller), kPage);
  EXPECT_EQ(rig.MakeResident({own, other}).status(), kStatusInvalidParameter);
  EXPECT_EQ(rig.WhereIs(own), 3u);
  rig.BringIn({own});
  EXPECT_FALSE(rig.Evict({own, other}).accepted);
  EXPECT_EQ(rig.WhereIs(own), 1u);
}

TEST(Evict, RefusesNonsense) {
  MemoryRig rig;
  const uint32_t allocation = rig.New(kPage);
  EXPECT_FALSE(rig.Evict({}).accepted);
  EXPECT_FALSE(rig.Evict({allocation}, 4).accepted);
  EXPECT_FALSE(rig.EvictFor(rig.caller, rig.device + 0x4000, {allocation}).accepted);
}

// [RES] 112 113
TEST(Evict, KeepsContentAndAddress) {
  MemoryRig rig;
  const uint32_t allocation = rig.New(kPage);
  rig.BringIn({allocation});
  const uint64_t address = rig.Map(allocation, 1);
  EXPECT_TRUE(rig.GpuWrite(address, 99));
  rig.Evict({allocation});
  EXPECT_EQ(rig.GpuRead(address), std::nullopt);
  EXPECT_EQ(rig.fault.reason, GpuFault::kNotResident);
  EXPECT_EQ(rig.fault.address.value, address);
  rig.BringIn({allocation});
  EXPECT_EQ(rig.GpuRead(address), 99u);
}

// [RES] 114
TEST(Evict, OnlyIfNecessaryLingersUntilRoomIsNeeded) {
  MemoryRig rig(Small());
  const uint32_t lingers = rig.New(6 * kMiB);
  rig.MakeResident({lingers});
  rig.Evict({lingers}, kOnlyIfNecessary);
  EXPECT_EQ(rig.WhereIs(lingers), 1u);
  EXPECT_EQ(rig.Usage(), 0u) << "not wanted any more";
  const uint64_t address = rig.Map(lingers, 1);
  EXPECT_EQ(rig.GpuRead(address), std::nullopt) << "there, and still illegal";
  EXPECT_EQ(rig.MakeResident({rig.New(4 * kMiB)}).status(), kStatusSuccess);
  EXPECT_EQ(rig.WhereIs(lingers), 3u);
}

TEST(Evict, LessMissedOnesGoFirst) {
  MemoryRig rig(Small());
  const std::vector<uint32_t> all = {rig.New(2 * kMiB), rig.New(2 * kMiB), rig.New(2 * kMiB),
                                     rig.New(2 * kMiB)};
  host::SetAllocationPriority::Request priority;
  priority.set_device(rig.device);
  priority.set_allocation_count(1);
  priority.add_allocations(all[2]);
  priority.add_priorities(0x28000000);
  EXPECT_EQ(rig.Ask<host::SetAllocationPriority>(rig.caller, priority).reply.status(), kStatusSuccess);
  rig.MakeResident(all);
  for (const uint32_t allocation : all) rig.Evict({allocation}, kOnlyIfNecessary);
  auto where = [&] {
    std::string there;
    for (const uint32_t allocation : all) there += rig.WhereIs(allocation) == 1 ? 'X' : '-';
    return there;
  };
  EXPECT_EQ(where(), "XXXX");
  rig.MakeResident({rig.New(kMiB)});
  EXPECT_EQ(where(), "XX-X") << "the lowest priority";
  rig.MakeResident({rig.New(2 * kMiB)});
  EXPECT_EQ(where(), "-X-X") << "the oldest";
}

// The order in which they were evicted counts, not the one in which they came or became resident.
TEST(Evict, TheOneThatWasEvictedFirstGoesFirst) {
  MemoryRig rig(Small());
  const std::vector<uint32_t> all = {rig.New(2 * kMiB), rig.New(2 * kMiB), rig.New(2 * kMiB),
                                     rig.New(2 * kMiB)};
  rig.BringIn(all);
  for (const size_t i : {2u, 0u, 3u, 1u}) rig.Evict({all[i]}, kOnlyIfNecessary);
  auto where = [&] {
    std::string there;
    for (const uint32_t allocation : all) there += rig.WhereIs(allocation) == 1 ? 'X' : '-';
    return there;
  };
  EXPECT_EQ(where(), "XXXX");
  for (const char* after : {"XX-X", "-X-X", "-X--", "----"}) {
    rig.BringIn({rig.New(2 * kMiB)});
    EXPECT_EQ(where(), after);
  }
}

// [RES] 116 117 [MSC] 182
TEST(Usage, AddsUpInEveryQueryWhateverHappens) {
  for (uint64_t seed = 0; seed < 10; ++seed) {
    MemoryRig rig(Small());
    Other other(rig);
    Rng rng(seed);
    std::vector<std::pair<bool, uint32_t>> all;
    for (int step = 0; step < 300; ++step) {
      const bool mine = rng.Below(2) != 0;
      const uint64_t bytes = (1 + rng.Below(300)) * kPage;
      if (rng.Below(4) == 0 || all.empty()) {
        all.emplace_back(mine, mine ? rig.New(bytes) : other.New(bytes));
        continue;
      }
      const auto [own, handle] = all[rng.Below(all.size())];
      const Caller& who = own ? rig.caller : other.caller;
      const uint32_t device = own ? rig.device : other.device;
      switch (rng.Below(4)) {
        case 0:
        case 1:
          rig.MakeResidentOn(who, own ? rig.queue : other.queue, {handle},
                             static_cast<uint32_t>(rng.Below(2)));
          break;
        case 2:
          rig.EvictFor(who, device, {handle}, static_cast<uint32_t>(rng.Below(2)));
          break;
        default:
          rig.host().SetSegmentLimit(rig.caller.adapter_luid, 0, (2 + rng.Below(7)) * kMiB);
          break;
      }
      const Accounting now = rig.host().Account();
      for (const uint32_t group : {0u, 1u}) {
        const uint64_t sum =
            rig.Memory(rig.caller, group).current_usage() + rig.Memory(other.caller, group).current_usage();
        ASSERT_EQ(sum, now.listed_bytes[group]);
        ASSERT_LE(now.listed_bytes[group], now.placed_bytes[group]);
        ASSERT_LE(now.placed_bytes[group], group == 0 ? 8 * kMiB : 16 * kMiB);
      }
    }
    for (const auto& [own, handle] : all) {
      rig.DestroyFor(own ? rig.caller : other.caller, own ? rig.device : other.device, {handle});
    }
    EXPECT_EQ(rig.Usage() + rig.Memory(other.caller).current_usage(), 0u);
    rig.EndProcess(other.caller);
    rig.EndAndExpectNothing();
  }
}

TEST(Segment, ThatShrinksMovesTheLeastImportantOutAndBack) {
  MemoryRig rig(Small());
  const uint32_t low = rig.New(4 * kMiB);
  const uint32_t high = rig.New(4 * kMiB);
  rig.MakeResident({low, high});
  const uint64_t address = rig.Map(low, 1);
  ASSERT_TRUE(rig.GpuWrite(address, 5));
  EXPECT_TRUE(rig.host().SetSegmentLimit(rig.caller.adapter_luid, 0, 4 * kMiB));
  EXPECT_EQ(rig.WhereIs(low), 2u) << "in system memory";
  EXPECT_EQ(rig.WhereIs(high), 1u);
  EXPECT_EQ(rig.GpuRead(address), 5u);
  EXPECT_EQ(rig.Usage(0), 4 * kMiB);
  EXPECT_EQ(rig.Usage(1), 4 * kMiB);
  EXPECT_EQ(rig.Budget(0), 4 * kMiB);
  rig.Evict({high});
  EXPECT_EQ(rig.WhereIs(low), 1u) << "there is room again";
  EXPECT_EQ(rig.Usage(1), 0u);
  EXPECT_FALSE(rig.host().SetSegmentLimit(rig.caller.adapter_luid, 2, kMiB));
}

TEST(Segment, ThatGrowsTakesTheMostImportantBackFirst) {
  MemoryRig rig(Small());
  const uint32_t older = rig.New(3 * kMiB), newer = rig.New(3 * kMiB), newest = rig.New(2 * kMiB);
  const auto where = [&] { return std::array{rig.WhereIs(older), rig.WhereIs(newer), rig.WhereIs(newest)}; };
  constexpr uint32_t kIn = 1, kSystem = 2;
  rig.MakeResident({older, newer, newest});
  rig.host().SetSegmentLimit(rig.caller.adapter_luid, 0, 2 * kMiB);
  EXPECT_EQ(where(), (std::array{kSystem, kSystem, kIn}));
  rig.host().SetSegmentLimit(rig.caller.adapter_luid, 0, 5 * kMiB);
  EXPECT_EQ(where(), (std::array{kSystem, kIn, kIn}));
  rig.host().SetSegmentLimit(rig.caller.adapter_luid, 0, 8 * kMiB);
  EXPECT_EQ(where(), (std::array{kIn, kIn, kIn}));
}

TEST(Segment, ThatIsPartlyLostFailsWithinTheBudget) {
  AdapterProfile profile = Small();
  profile.mutable_trouble()->set_lose_video_bytes(6 * kMiB);
  MemoryRig rig(profile);
  EXPECT_EQ(rig.Budget(), 8 * kMiB);
  const auto refused = rig.MakeResident({rig.New(3 * kMiB)});
  EXPECT_EQ(refused.status(), kStatusNoMemory);
  EXPECT_EQ(refused.num_bytes_to_trim(), kMiB);
}

// [RES] 120
TEST(QueryResidency, MergesAResourceToItsWorst) {
  MemoryRig rig(Small());
  const auto made =
      rig.TryCreate({PrivateData(kPage), PrivateData(kPage, kAllocationSystemOnly)}, kResourceFlag);
  const uint32_t resource = made.reply.resource();
  const uint32_t local = made.reply.allocations(0).allocation();
  const uint32_t system = made.reply.allocations(1).allocation();
  auto merged = [&] { return rig.Residency({}, resource).residency_status(0); };
  EXPECT_EQ(merged(), 3u);
  rig.MakeResident({local});
  EXPECT_EQ(merged(), 3u) << "a part is not there";
  rig.MakeResident({system});
  EXPECT_EQ(merged(), 2u) << "a part is in system memory";
  EXPECT_EQ(rig.Residency({local, system}).residency_status(1), 2u);
  EXPECT_EQ(rig.Residency({}).status(), kStatusInvalidParameter);
  EXPECT_EQ(rig.Residency({local}, resource).status(), kStatusInvalidParameter);
  EXPECT_EQ(rig.Residency({}, local).status(), kStatusInvalidParameter);
}

// [RES] 121
TEST(Priority, RoundTripsAndNeedsExactlyOneForm) {
  MemoryRig rig;
  const auto resource = rig.NewResource(2);
  auto set = [&](uint32_t of, const std::vector<uint32_t>& list, const std::vector<uint32_t>& priorities) {
    host::SetAllocationPriority::Request request;
    request.set_device(rig.device);
    request.set_resource(of);
    request.set_allocation_count(static_cast<uint32_t>(list.size()));
    for (const uint32_t handle : list) request.add_allocations(handle);
    for (const uint32_t priority : priorities) request.add_priorities(priority);
    return rig.Ask<host::SetAllocationPriority>(rig.caller, request).reply.status();
  };
  auto get = [&](uint32_t of, const std::vector<uint32_t>& list) {
    host::GetAllocationPriority::Request request;
    request.set_device(rig.device);
    request.set_resource(of);
    request.set_allocation_count(static_cast<uint32_t>(list.size()));
    for (const uint32_t handle : list) request.add_allocations(handle);
    const auto reply = rig.Ask<host::GetAllocationPriority>(rig.caller, request).reply;
    EXPECT_EQ(reply.status(), list.empty() == (of != 0) ? kStatusSuccess : kStatusInvalidParameter);
    return std::vector<uint32_t>(reply.priorities().begin(), reply.priorities().end());
  };
  using Priorities = std::vector<uint32_t>;
  EXPECT_EQ(get(0, {resource[1], resource[2]}), (Priorities{0x78000000, 0x78000000}));
  EXPECT_EQ(set(0, {}, {}), kStatusInvalidParameter);
  EXPECT_EQ(set(resource[0], {resource[1]}, {1}), kStatusInvalidParameter);
  EXPECT_EQ(set(0, {resource[1]}, {}), kStatusInvalidParameter);
  EXPECT_EQ(get(0, {}), Priorities{});
  EXPECT_EQ(get(resource[0], {resource[1]}), Priorities{});
  EXPECT_EQ(set(0, {resource[1], resource[2]}, {0x12345678, 0xC8000000}), kStatusSuccess);
  EXPECT_EQ(get(0, {resource[2], resource[1]}), (Priorities{0xC8000000, 0x12345678}));
  EXPECT_EQ(set(resource[0], {}, {0xA0000000}), kStatusSuccess);
  EXPECT_EQ(get(resource[0], {}), Priorities{0xA0000000});
  EXPECT_EQ(get(0, {resource[2]}), Priorities{0xA0000000});
}

TEST(UpdateProperty, MovesToWhereItMayBe) {
  MemoryRig rig;
  const uint32_t allocation = rig.New(kPage);
  rig.BringIn({allocation});
  host::UpdateAllocationProperty::Request request;
  request.set_paging_queue(rig.queue.handle);
  request.set_allocation(allocation);
  auto update = [&](uint32_t mask, uint32_t supported, uint32_t preferred) {
    request.set_property_mask(mask);
    request.set_supported_segment_set(supported);
    request.set_preferred_segment(preferred);
    return rig.Ask<host::UpdateAllocationProperty>(rig.caller, request).reply.status();
  };
  EXPECT_EQ(update(16, 0, 0), kStatusInvalidParameter);
  EXPECT_EQ(update(2, 0, 0), kStatusInvalidParameter);
  EXPECT_EQ(update(2, 4, 0), kStatusInvalidParameter) << "two segments";
  EXPECT_EQ(update(4, 0, 3), kStatusInvalidParameter);
  EXPECT_EQ(update(6, 2, 1), kStatusInvalidParameter) << "prefers what it may not have";
  EXPECT_EQ(update(2, 3, 0), kStatusSuccess) << "nothing changes";
  EXPECT_EQ(update(6, 2, 2), kStatusPending);
  rig.Settle();
  EXPECT_EQ(rig.WhereIs(allocation), 2u);
  EXPECT_EQ(rig.Usage(0), 0u);
  EXPECT_EQ(rig.Usage(1), kPage);
}

// -- Offers.

class Offers : public testing::Test {
 protected:
  int32_t Offer(const std::vector<uint32_t>& list, uint32_t priority = 1, uint32_t flags = 0,
                uint32_t resources = 0) {
    host::OfferAllocations::Request request;
    request.set_device(rig_.device);
    request.set_priority(priority);
    request.set_flags(flags);
    request.set_resources(resources);
    request.set_allocation_count(static_cast<uint32_t>(list.size()));
    for (const uint32_t handle : list) request.add_allocations(handle);
    return rig_.Ask<host::OfferAllocations>(rig_.caller, request).reply.status();
  }
  host::ReclaimAllocations::Reply Reclaim(const std::vector<uint32_t>& list, uint32_t resources = 0) {
    host::ReclaimAllocations::Request request;
    request.set_paging_queue(rig_.queue.handle);
    request.set_resources(resources);
    request.set_write_results(1);
    request.set_allocation_count(static_cast<uint32_t>(list.size()));
    for (const uint32_t handle : list) request.add_allocations(handle);
    return rig_.Ask<host::ReclaimAllocations>(rig_.caller, request).reply;
  }
  // In memory, and with its own handle as content.
  uint32_t Marked(uint64_t bytes) {
    const uint32_t allocation = rig_.New(bytes);
    rig_.BringIn({allocation});
    rig_.Poke(rig_.Lock(allocation).cpu_visible_buffer_offset(), allocation);
    return allocation;
  }
  bool Intact(uint32_t allocation) {
    return rig_.Peek(rig_.Lock(allocation).cpu_visible_buffer_offset()) == allocation;
  }

  MemoryRig rig_{Small()};
};

// [OFR] 122
TEST_F(Offers, RefuseWrongPrioritiesFlagsAndLists) {
  const uint32_t allocation = rig_.New(kPage);
  for (const uint32_t priority : {0u, 5u, ~0u}) {
    EXPECT_EQ(Offer({allocation}, priority), kStatusInvalidParameter) << priority;
  }
  EXPECT_EQ(Offer({allocation}, 1, 4), kStatusInvalidParameter);
  EXPECT_EQ(Offer({}), kStatusInvalidParameter);
  EXPECT_EQ(Offer({allocation}, 1, 0, 1), kStatusInvalidParameter) << "no resource";
  EXPECT_EQ(Offer({allocation}, 1, 0, 2), kStatusInvalidParameter);
  EXPECT_EQ(Reclaim({}).status(), kStatusInvalidParameter);
  EXPECT_EQ(Reclaim({allocation}, 1).status(), kStatusInvalidParameter);
  EXPECT_EQ(Reclaim({allocation}).results(0), 0u) << "never offered";
}

// [OFR] 124
TEST_F(Offers, AreDiscardedLowBeforeNormalBeforeHighBeforeWhatLingers) {
  const uint32_t high = Marked(kMiB);
  const uint32_t normal = Marked(kMiB);
  const uint32_t low = Marked(kMiB);
  const uint32_t lingers = Marked(kMiB);
  const uint32_t kept = Marked(kMiB);
  EXPECT_EQ(Offer({high}, 3), kStatusSuccess);
  EXPECT_EQ(Offer({normal}, 2), kStatusSuccess);
  EXPECT_EQ(Offer({low}, 1), kStatusSuccess);
  rig_.Evict({lingers}, kOnlyIfNecessary);
  auto there = [&] {
    std::string places;
    for (const uint32_t one : {low, normal, high, lingers, kept})
      places += rig_.WhereIs(one) == 1 ? 'X' : '-';
    return places;
  };
  rig_.MakeResident({rig_.New(3 * kMiB)});
  EXPECT_EQ(there(), "XXXXX");
  for (const char* after : {"-XXXX", "--XXX", "---XX", "----X"}) {
    rig_.MakeResident({rig_.New(kMiB)});
    EXPECT_EQ(there(), after);
  }
  EXPECT_TRUE(Intact(kept));
  EXPECT_TRUE(Intact(lingers)) << "never offered, never lost";
}

// [OFR] 125
TEST_F(Offers, ReclaimedWithoutPressureAreIntact) {
  const uint32_t allocation = Marked(kMiB);
  ASSERT_EQ(Offer({allocation}), kStatusSuccess);
  EXPECT_EQ(rig_.Usage(), 0u);
  EXPECT_EQ(Offer({allocation}, 3), kStatusSuccess) << "again: a new priority";
  const auto reply = Reclaim({allocation});
  EXPECT_EQ(reply.status(), kStatusSuccess);
  EXPECT_EQ(reply.results(0), 0u);
  EXPECT_TRUE(Intact(allocation));
  EXPECT_EQ(rig_.Usage(), kMiB);
}

// [OFR] 125
TEST_F(Offers, ReclaimedAfterADiscardAreUsableAndEmpty) {
  const uint32_t allocation = Marked(4 * kMiB);
  ASSERT_EQ(Offer({allocation}), kStatusSuccess);
  const uint32_t presses = rig_.New(6 * kMiB);
  ASSERT_EQ(rig_.MakeResident({presses}).status(), kStatusSuccess);
  rig_.Evict({presses});
  EXPECT_EQ(Reclaim({allocation}).results(0), 1u);
  EXPECT_EQ(rig_.Peek(rig_.Lock(allocation).cpu_visible_buffer_offset()), 0u);
  EXPECT_EQ(rig_.WhereIs(allocation), 1u);
  EXPECT_EQ(Reclaim({allocation}).results(0), 0u) << "only once";
}

// [OFR] 126
TEST_F(Offers, OnlyADecommittedOneIsDeadForGood) {
  const uint32_t allocation = Marked(4 * kMiB);
  ASSERT_EQ(Offer({allocation}, 1, 2), kStatusSuccess);
  EXPECT_EQ(Reclaim({allocation}).results(0), 0u) << "nobody needed the room";
  ASSERT_EQ(Offer({allocation}, 1, 2), kStatusSuccess);
  const uint32_t presses = rig_.New(6 * kMiB);
  ASSERT_EQ(rig_.MakeResident({presses}).status(), kStatusSuccess);
  rig_.Evict({presses});
  EXPECT_EQ(Reclaim({allocation}).results(0), 2u);
  EXPECT_EQ(Reclaim({allocation}).results(0), 2u);
  EXPECT_EQ(rig_.TryMap(rig_.MapRequest(allocation, 1)).status(), kStatusInvalidParameter);
  EXPECT_EQ(rig_.MakeResident({allocation}).status(), kStatusInvalidParameter);
  EXPECT_EQ(rig_.Destroy({allocation}), kStatusSuccess);
}

// [LCK] 96
TEST_F(Offers, CannotBeLockedUntilReclaimed) {
  const uint32_t allocation = rig_.New(kPage);
  ASSERT_EQ(Offer({allocation}), kStatusSuccess);
  EXPECT_EQ(rig_.Lock(allocation).status(), kStatusInvalidParameter);
  Reclaim({allocation});
  EXPECT_EQ(rig_.Lock(allocation).status(), kStatusSuccess);
}

TEST_F(Offers, OfAResourceHaveOneResult) {
  const auto resource = rig_.NewResource(3);
  ASSERT_EQ(Offer({resource[0]}, 1, 0, 1), kStatusSuccess);
  EXPECT_EQ(rig_.Lock(resource[2]).status(), kStatusInvalidParameter);
  const auto reply = Reclaim({resource[0]}, 1);
  EXPECT_EQ(reply.results_size(), 1);
  EXPECT_EQ(reply.results(0), 0u);
}

TEST_F(Offers, AreNotReclaimedWhereThereIsNoRoom) {
  const uint32_t allocation = rig_.New(4 * kMiB, 0, 1);
  rig_.BringIn({allocation});
  Offer({allocation});
  rig_.MakeResident({rig_.New(8 * kMiB)});
  rig_.MakeResident({rig_.New(16 * kMiB, kAllocationSystemOnly)});
  EXPECT_EQ(Reclaim({allocation}).status(), kStatusNoMemory);
  EXPECT_EQ(rig_.Lock(allocation).status(), kStatusInvalidParameter) << "still offered";
}

// Each of the two would have room alone.
TEST_F(Offers, OfTwoAreNotReclaimedWhereThereIsRoomForOne) {
  const uint32_t first = rig_.New(4 * kMiB, 0, 1);
  const uint32_t second = rig_.New(4 * kMiB, 0, 1);
  rig_.BringIn({first, second});
  Offer({first, second});
  const uint32_t own = rig_.New(8 * kMiB);
  rig_.BringIn({own, rig_.New(12 * kMiB, kAllocationSystemOnly)});
  EXPECT_EQ(Reclaim({first, second}).status(), kStatusNoMemory);
  for (const uint32_t one : {first, second}) {
    EXPECT_EQ(rig_.Lock(one).status(), kStatusInvalidParameter) << "still offered";
  }
  EXPECT_GE(Reclaim({second}).status(), 0) << "room for one";
  EXPECT_EQ(Reclaim({first}).status(), kStatusNoMemory) << "and for no more";
  rig_.Evict({own});
  EXPECT_GE(Reclaim({first}).status(), 0);
}

// [OFR] 127
TEST(Reclaim, OfAListedOneIsBackAtItsValue) {
  MemoryRig rig;
  const uint32_t allocation = rig.New(kPage);
  rig.BringIn({allocation});
  const uint64_t address = rig.Map(allocation, 1);
  host::OfferAllocations::Request offer;
  offer.set_device(rig.device);
  offer.set_priority(1);
  offer.set_allocation_count(1);
  offer.add_allocations(allocation);
  rig.Ask<host::OfferAllocations>(rig.caller, offer);
  EXPECT_EQ(rig.GpuRead(address), std::nullopt);
  host::Escape::Request trim;
  host::ReclaimAllocations::Request reclaim;
  reclaim.set_paging_queue(rig.queue.handle);
  reclaim.set_allocation_count(1);
  reclaim.add_allocations(allocation);
  rig.host().SetSegmentLimit(rig.caller.adapter_luid, 0, 0);
  rig.host().SetSegmentLimit(rig.caller.adapter_luid, 0, ~0ull);
  const auto reply = rig.Ask<host::ReclaimAllocations>(rig.caller, reclaim).reply;
  EXPECT_EQ(reply.status(), kStatusPending);
  EXPECT_EQ(reply.results_size(), 0) << "not asked for";
  EXPECT_EQ(rig.GpuRead(address), std::nullopt);
  EXPECT_EQ(rig.Lock(allocation).status(), kStatusSuccess) << "the CPU need not wait";
  rig.Settle();
  EXPECT_EQ(rig.FenceOf(rig.queue), reply.paging_fence_value());
  EXPECT_EQ(rig.GpuRead(address), 0u);
}

}  // namespace
}  // namespace dxg::hostsim
