#include <gtest/gtest.h>

#include <functional>
#include <ostream>
#include <string>
#include <vector>

#include "tests/guest/counted_memory.h"
#include "tests/hostsim/gpu_rig.h"

// A creating command that fails, at whichever of its steps, leaves nothing behind. Each command is made to
// fail at every step that can fail, and then all books of the host are as before.

namespace dxg::hostsim {
namespace {

constexpr uint32_t kSharedResource = kResourceFlag | kSharedFlag | kNtFlag;

// All that the host counts for its guest.
struct Books {
  explicit Books(GpuRig& rig)
      : account(rig.host().Account()),
        usage{rig.Usage(0), rig.Usage(1)},
        changes(rig.recorded.changes.size()),
        events(rig.recorded.events.size()),
        timers(rig.clock.Pending()) {
    account.machine_bytes = 0;  // the machine takes pages back when it likes
  }
  Accounting account;
  uint64_t usage[2];
  size_t changes;
  size_t events;
  size_t timers;
};

void ExpectSame(const Books& now, const Books& before, const std::string& where) {
  EXPECT_EQ(now.account.devices, before.account.devices) << where;
  EXPECT_EQ(now.account.contexts, before.account.contexts) << where;
  EXPECT_EQ(now.account.hw_queues, before.account.hw_queues) << where;
  EXPECT_EQ(now.account.paging_queues, before.account.paging_queues) << where;
  EXPECT_EQ(now.account.resources, before.account.resources) << where;
  EXPECT_EQ(now.account.allocations, before.account.allocations) << where;
  EXPECT_EQ(now.account.storages, before.account.storages) << where;
  EXPECT_EQ(now.account.mappings, before.account.mappings) << where;
  EXPECT_EQ(now.account.sync_objects, before.account.sync_objects) << where;
  EXPECT_EQ(now.account.shared, before.account.shared) << where;
  EXPECT_EQ(now.account.regions, before.account.regions) << where;
  EXPECT_EQ(now.account.window_bytes, before.account.window_bytes) << where;
  EXPECT_TRUE(now.account == before.account) << where << ": the rest of the account";
  EXPECT_EQ(now.usage[0], before.usage[0]) << where;
  EXPECT_EQ(now.usage[1], before.usage[1]) << where;
  EXPECT_EQ(now.changes, before.changes) << where;
  EXPECT_EQ(now.events, before.events) << where;
  EXPECT_EQ(now.timers, before.timers) << where;
}

// What the commands need that are about to fail. Other processes than the rig's own have all the objects that
// the table of that one is not to be filled with.
struct Stage {
  explicit Stage(GpuRig& rig)
      : rig(rig),
        hardware(rig.TryContext(rig.caller, rig.device, 0, 0, GpuRig::kHwQueueSupported)),
        resource(rig.NewResource(1)[0]),
        other(rig.NewCaller()),
        other_device(rig.NewDevice(other)),
        fence(rig.TryFor(other, other_device, 5, kAnySharing).global),
        semaphore(rig.TryFor(other, other_device, 2, kAnySharing, 1).global) {
    const auto created =
        rig.Ask<host::CreateAllocation>(
               other, MemoryRig::CreateRequest(other_device, std::vector<std::string>(3, PrivateData(kPage)),
                                               kSharedResource))
            .reply;
    shared_resource = rig.NtShare(other, created.resource());
    EXPECT_NE(shared_resource, 0u);
    EXPECT_NE(fence, 0u);
    EXPECT_NE(semaphore, 0u);
  }
  GpuRig& rig;
  uint32_t hardware;  // a context that takes hardware queues
  uint32_t resource;
  Caller other;
  uint32_t other_device;
  uint32_t fence;  // global handles
  uint32_t semaphore;
  uint32_t shared_resource;  // of three allocations
};

struct Creation {
  const char* name;
  uint32_t objects;  // that it makes in the table of its process
  bool address;      // that it takes of the GPU's
  std::function<bool(Stage&)> run;
};

const Creation kCreations[] = {
    {"Device", 1, false, [](Stage& s) { return s.rig.TryDevice(s.rig.caller) != 0; }},
    {"Context", 1, false, [](Stage& s) { return s.rig.TryContext(s.rig.caller, s.rig.device) != 0; }},
    {"HwQueue", 2, true, [](Stage& s) { return s.rig.TryHwQueue(s.hardware).status() == kStatusSuccess; }},
    {"PagingQueue", 2, false, [](Stage& s) { return s.rig.TryQueue(s.rig.device).paging_queue() != 0; }},
    {"Fence", 1, true, [](Stage& s) { return s.rig.Try(5, 0).handle != 0; }},
    {"SharedFence", 1, true, [](Stage& s) { return s.rig.Try(5, kAnySharing).handle != 0; }},
    {"Mutex", 1, false, [](Stage& s) { return s.rig.Try(1, 0).handle != 0; }},
    {"OpenFence", 1, true,
     [](Stage& s) { return s.rig.OpenFor(s.rig.caller, s.rig.device, s.fence).handle != 0; }},
    {"OpenSemaphore", 1, false,
     [](Stage& s) { return s.rig.OpenFor(s.rig.caller, s.rig.device, s.semaphore).handle != 0; }},
    {"Allocations", 3, false,
     [](Stage& s) { return s.rig.TryCreate(std::vector<std::string>(3, PrivateData(kPage))).accepted; }},
    {"Resource", 4, false,
     [](Stage& s) {
       return s.rig.TryCreate(std::vector<std::string>(3, PrivateData(kPage)), kSharedResource).accepted;
     }},
    {"MoreOfAResource", 3, false,
     [](Stage& s) {
       return s.rig.TryCreate(std::vector<std::string>(3, PrivateData(kPage)), 0, s.resource).accepted;
     }},
    {"OpenResource", 4, false,
     [](Stage& s) {
       host::OpenResource::Request request;
       request.set_device(s.rig.device);
       request.set_global_share(s.shared_resource);
       request.set_allocation_count(3);
       request.set_nt_security_sharing(1);
       return s.rig.Ask<host::OpenResource>(s.rig.caller, request).reply.status() == kStatusSuccess;
     }},
};

void PrintTo(const Creation& creation, std::ostream* out) { *out << creation.name; }

class FailedCreation : public testing::TestWithParam<Creation> {};
INSTANTIATE_TEST_SUITE_P(All, FailedCreation, testing::ValuesIn(kCreations),
                         [](const auto& info) { return info.param.name; });

// The table of the process has room for all but one of the objects, for all but two, and so on.
TEST_P(FailedCreation, AtAFullTableLeavesNothing) {
  constexpr uint32_t kObjectsMax = 64;
  for (uint32_t room = 0; room <= GetParam().objects; ++room) {
    GpuRig rig(Shipped("discrete"), nullptr, nullptr, false, kObjectsMax);
    Stage stage(rig);
    std::vector<uint32_t> fill;  // mutexes: they are nothing but an object
    while (const uint32_t one = rig.Try(1, 0).handle) fill.push_back(one);
    ASSERT_GE(fill.size(), room);
    for (uint32_t i = 0; i < room; ++i) EXPECT_EQ(rig.DestroySync(fill[i]), kStatusSuccess);
    const Books before(rig);
    const std::string where = "room for " + std::to_string(room);
    if (room == GetParam().objects) {
      EXPECT_TRUE(GetParam().run(stage)) << where;
      EXPECT_EQ(rig.Try(1, 0).handle, 0u) << "exactly full";
    } else {
      EXPECT_FALSE(GetParam().run(stage)) << where;
      ExpectSame(Books(rig), before, where);
      for (uint32_t i = 0; i < room; ++i) EXPECT_NE(rig.Try(1, 0).handle, 0u) << where << ", still";
    }
    rig.EndProcess(stage.other);
    EXPECT_EQ(rig.NtUnshare(stage.shared_resource), kStatusSuccess);
    rig.EndAndExpectNothing();
  }
}

// Memory gives out at the first step that asks for some, at the second, and so on.
TEST_P(FailedCreation, WithoutMemoryLeavesNothing) {
  FaultPlan faults;
  GpuRig rig(Shipped("discrete"), &faults);
  Stage stage(rig);
  EXPECT_TRUE(GetParam().run(stage)) << "so that what is only made once is there";
  for (uint64_t step = 1;; ++step) {
    ASSERT_LE(step, 8u) << "it never succeeds";
    faults.FailAt(FaultPoint::kNoMemoryCreate, step);
    const uint64_t struck_before = faults.Count(FaultPoint::kNoMemoryCreate).struck;
    const Books before(rig);
    const bool created = GetParam().run(stage);
    const bool struck = faults.Count(FaultPoint::kNoMemoryCreate).struck != struck_before;
    EXPECT_NE(created, struck) << step;
    if (!struck) {
      EXPECT_GT(step, 1u) << "nothing of it can fail";
      break;
    }
    ExpectSame(Books(rig), before, "step " + std::to_string(step));
  }
}

// The machine itself runs out of memory: at the first allocation of the command, at the second, and so on.
TEST_P(FailedCreation, WhereTheMachineHasNoMemoryLeavesNothing) {
  GpuRig rig;
  Stage stage(rig);
  EXPECT_TRUE(GetParam().run(stage)) << "so that what is only made once is there";
  for (uint64_t nth = 1;; ++nth) {
    ASSERT_LE(nth, 10000u) << "it never succeeds";
    bool failed = false;
    rig.around = [&](const std::function<void()>& submit) {
      guest::FailAllocation(nth);
      submit();
      failed = guest::AllocationsSince() >= nth;
      guest::FailAllocation(0);
    };
    const Books before(rig);
    const bool created = GetParam().run(stage);
    rig.around = nullptr;
    EXPECT_NE(created, failed) << nth;
    if (!failed) {
      EXPECT_GT(nth, 1u) << "nothing of it can fail";
      break;
    }
    ExpectSame(Books(rig), before, "allocation " + std::to_string(nth));
  }
  rig.EndProcess(stage.other);
  EXPECT_EQ(rig.NtUnshare(stage.shared_resource), kStatusSuccess);
  rig.EndAndExpectNothing();
}

// No GPU address is free.
TEST_P(FailedCreation, WithoutAnAddressLeavesNothing) {
  AdapterProfile profile = Shipped("discrete");
  profile.mutable_caps()->set_virtual_address_bits(32);
  GpuRig rig(profile);
  Stage stage(rig);
  EXPECT_TRUE(GetParam().run(stage)) << "so that what is only made once is there";
  for (uint64_t bytes = 1ull << 31; bytes >= GpuVa::kReserveUnit; bytes /= 2) {
    while (rig.TryReserve(bytes).virtual_address() != 0) {
    }
  }
  const uint32_t page = rig.New(kPage);
  while (rig.TryMap(rig.MapRequest(page, 1)).status() >= 0) {
  }
  rig.Settle();
  const Books before(rig);
  EXPECT_EQ(GetParam().run(stage), !GetParam().address);
  if (GetParam().address) ExpectSame(Books(rig), before, "no address");
}

// Also the commands that only take addresses.
TEST(FailedMapping, LeavesNothing) {
  GpuRig rig;
  const uint32_t allocation = rig.New(4 * kPage);
  const uint64_t reserved = rig.Reserve(GpuVa::kReserveUnit);
  rig.Map(allocation, 1, reserved);
  const Books before(rig);
  EXPECT_LT(rig.TryMap(rig.MapRequest(allocation, 5)).status(), 0) << "more than it has";
  EXPECT_LT(rig.TryMap(rig.MapRequest(allocation, 4, reserved + GpuVa::kReserveUnit - 3 * kPage)).status(), 0)
      << "its last page would be behind the reservation";
  EXPECT_EQ(rig.TryReserve(GpuVa::kReserveUnit, reserved).virtual_address(), 0u) << "taken";
  EXPECT_EQ(rig.Free(reserved, 2 * GpuVa::kReserveUnit), kStatusInvalidParameter);
  ExpectSame(Books(rig), before, "refused");
  EXPECT_EQ(rig.Free(reserved, GpuVa::kReserveUnit), kStatusSuccess);
}

// A list that fails at its last element changes nothing of the elements before it.
TEST(FailedResidency, LeavesNothing) {
  AdapterProfile profile = Shipped("discrete");
  profile.mutable_memory()->set_dedicated_video_bytes(32 * kMiB);
  profile.mutable_memory()->set_budget_percent(100);
  GpuRig rig(profile);
  const uint32_t small = rig.New(kMiB);
  const uint32_t large = rig.New(64 * kMiB, 0, 1);
  const Books before(rig);
  EXPECT_LT(rig.MakeResident({small, large}).status(), 0) << "no room for the last one";
  EXPECT_LT(rig.MakeResident({small, large + 0x4000}).status(), 0) << "the last one is none";
  ExpectSame(Books(rig), before, "refused");
  EXPECT_EQ(rig.WhereIs(small), static_cast<uint32_t>(Residency::kNotResident));
}

}  // namespace
}  // namespace dxg::hostsim
