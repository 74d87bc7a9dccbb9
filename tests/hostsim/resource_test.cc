#include "hostsim/memory/resource.h"

#include <gtest/gtest.h>

#include <thread>

#include "tests/hostsim/memory_rig.h"

namespace dxg::hostsim {
namespace {

constexpr uint32_t kShareable = kResourceFlag | kSharedFlag | kNtFlag;

class Sharing : public testing::Test {
 protected:
  uint32_t Share(uint32_t object) {
    host::CreateNtSharedObject::Request request;
    request.set_object(object);
    return rig_.Ask<host::CreateNtSharedObject>({rig_.caller.process, 0}, request).reply.shared_handle();
  }
  int32_t CloseShare(uint32_t shared) {
    host::DestroyNtSharedObject::Request request;
    request.set_shared_handle(shared);
    return rig_.Ask<host::DestroyNtSharedObject>({}, request).reply.status();
  }
  host::OpenResource::Reply Open(const Caller& who, uint32_t device, uint32_t shared, uint32_t count,
                                 uint32_t nt = 1) {
    host::OpenResource::Request request;
    request.set_device(device);
    request.set_global_share(shared);
    request.set_allocation_count(count);
    request.set_nt_security_sharing(nt);
    return rig_.Ask<host::OpenResource>(who, request).reply;
  }

  FaultPlan faults_;
  MemoryRig rig_{Shipped("discrete"), &faults_};
  Caller other_ = rig_.NewCaller();
  uint32_t other_device_ = rig_.NewDevice(other_);
};

// [SHR] 168
TEST_F(Sharing, RefusesWhatWasNotMadeForIt) {
  EXPECT_EQ(Share(rig_.New(kPage)), 0u) << "an allocation";
  EXPECT_EQ(Share(rig_.NewResource(1)[0]), 0u);
  EXPECT_EQ(Share(rig_.NewResource(1, kPage, kResourceFlag | kSharedFlag)[0]), 0u) << "only in the old way";
  EXPECT_EQ(Share(0), 0u);
  EXPECT_EQ(CloseShare(0x40000000), kStatusInvalidParameter);
}

// [SHR] 173 174
TEST_F(Sharing, OpenRefusesWhatDoesNotFit) {
  const uint32_t shared = Share(rig_.NewResource(2, kPage, kShareable)[0]);
  EXPECT_EQ(Open(other_, other_device_, shared, 1).status(), kStatusInvalidParameter);
  EXPECT_EQ(Open(other_, other_device_, shared, 3).status(), kStatusInvalidParameter);
  EXPECT_EQ(Open(other_, other_device_, shared, 2, 0).status(), kStatusInvalidParameter);
  EXPECT_EQ(Open(other_, other_device_, shared + 0x40, 2).status(), kStatusInvalidHandle);
  EXPECT_EQ(Open(other_, other_device_ + 0x40, shared, 2).status(), kStatusInvalidParameter);
  AdapterInfo second;
  ASSERT_TRUE(rig_.host().AddAdapter(Shipped("discrete"), &second));
  const Caller elsewhere{other_.process, second.address};
  EXPECT_EQ(Open(elsewhere, rig_.NewDevice(elsewhere), shared, 2).status(), kStatusInvalidParameter);
  rig_.MarkAsError(other_, other_device_);
  EXPECT_EQ(Open(other_, other_device_, shared, 2).status(), kStatusDeviceRemoved);
}

// The process has two handles on one allocation.
TEST_F(Sharing, WhatIsOpenedTwiceNeedsRoomOnce) {
  constexpr uint32_t kCantTrimFurther = 1;
  ASSERT_TRUE(rig_.host().SetSegmentLimit(rig_.caller.adapter_luid, 0, 8 * kMiB));
  const auto resource = rig_.NewResource(1, 5 * kMiB, kShareable);
  const auto opened = Open(rig_.caller, rig_.device, Share(resource[0]), 1);
  ASSERT_EQ(opened.allocations_size(), 1);
  EXPECT_GE(rig_.MakeResident({resource[1], opened.allocations(0)}, kCantTrimFurther).status(), 0);
  EXPECT_EQ(rig_.Usage(), 5 * kMiB);
}

// [SHR] 173
TEST_F(Sharing, FailureAtAnyStepLeavesNothingOpen) {
  const uint32_t shared = Share(rig_.NewResource(3, kPage, kShareable)[0]);
  const Accounting before = rig_.host().Account();
  for (uint64_t step = 1; step <= 3; ++step) {
    faults_.FailAt(FaultPoint::kNoMemoryCreate, step, "OPENRESOURCE");
    EXPECT_EQ(Open(other_, other_device_, shared, 3).status(), kStatusNoMemory);
    EXPECT_EQ(rig_.host().Account().allocations, before.allocations);
    EXPECT_EQ(rig_.host().Account().resources, before.resources);
  }
  EXPECT_EQ(Open(other_, other_device_, shared, 3).status(), kStatusSuccess);
}

// [SHR] 169 170 175
TEST_F(Sharing, MemoryIsOneAndLivesWithTheLastHandle) {
  const auto made = rig_.NewResource(1, kPage, kShareable);
  const uint32_t shared = Share(made[0]);
  rig_.Poke(rig_.Lock(made[1]).cpu_visible_buffer_offset(), 4711);
  const auto first = Open(other_, other_device_, shared, 1);
  ASSERT_EQ(first.status(), kStatusSuccess);
  rig_.Destroy({}, made[0]);
  const auto second = Open(other_, other_device_, shared, 1);
  ASSERT_EQ(second.status(), kStatusSuccess) << "its creator is gone";
  EXPECT_NE(first.allocations(0), second.allocations(0));
  EXPECT_EQ(CloseShare(shared), kStatusSuccess);
  EXPECT_EQ(Open(other_, other_device_, shared, 1).status(), kStatusInvalidHandle);

  const auto queue = rig_.NewQueueFor(other_, other_device_);
  rig_.MakeResidentOn(other_, queue, {first.allocations(0), second.allocations(0)});
  rig_.Settle();
  EXPECT_EQ(rig_.Memory(other_).current_usage(), kPage) << "counted once in a process";
  host::MapGpuVirtualAddress::Request map;
  map.set_paging_queue(queue.handle);
  map.set_allocation(second.allocations(0));
  map.set_size_in_pages(1);
  const uint64_t address = rig_.Ask<host::MapGpuVirtualAddress>(other_, map).reply.virtual_address();
  rig_.Settle();
  EXPECT_EQ(rig_.GpuReadAs(other_, address), 4711u);
  rig_.EvictFor(other_, other_device_, {second.allocations(0)});
  EXPECT_EQ(rig_.GpuReadAs(other_, address), std::nullopt) << "counts are each handle's own";
  EXPECT_EQ(rig_.Memory(other_).current_usage(), kPage);

  EXPECT_EQ(rig_.DestroyFor(other_, other_device_, {}, first.resource()), kStatusSuccess);
  EXPECT_EQ(rig_.host().Account().storages, 1u);
  EXPECT_EQ(rig_.DestroyFor(other_, other_device_, {}, second.resource()), kStatusSuccess);
  EXPECT_EQ(rig_.host().Account().storages, 0u);
}

// [SHR] 170
TEST_F(Sharing, AHandleAloneKeepsTheMemory) {
  const auto made = rig_.NewResource(1, kPage, kShareable);
  const uint32_t shared = Share(made[0]);
  const uint32_t again = Share(made[0]);
  EXPECT_NE(shared, again);
  rig_.EndProcess(rig_.caller);
  EXPECT_EQ(rig_.host().Account().storages, 1u);
  EXPECT_EQ(CloseShare(shared), kStatusSuccess);
  const auto opened = Open(other_, other_device_, again, 1);
  EXPECT_EQ(opened.status(), kStatusSuccess);
  EXPECT_EQ(CloseShare(again), kStatusSuccess);
  rig_.EndProcess(other_);
  rig_.ExpectNothingLeft();
}

TEST_F(Sharing, SharedMembersStay) {
  const auto made = rig_.NewResource(2, kPage, kShareable);
  Share(made[0]);
  EXPECT_EQ(rig_.Destroy({made[1]}), kStatusInvalidParameter);
  EXPECT_EQ(rig_.Destroy({}, made[0]), kStatusSuccess);
}

TEST_F(Sharing, OnlyTheCreatorLocksWhatMayLieInTheAdapter) {
  const auto made =
      rig_.TryCreate({PrivateData(kPage), PrivateData(kPage, kAllocationSystemOnly)}, kShareable);
  const uint32_t shared = Share(made.reply.resource());
  const auto opened = Open(other_, other_device_, shared, 2);
  EXPECT_EQ(rig_.LockFor(other_, other_device_, opened.allocations(0)).status(), kStatusInvalidParameter);
  EXPECT_EQ(rig_.LockFor(other_, other_device_, opened.allocations(1)).status(), kStatusSuccess);
  const uint64_t window = rig_.Lock(made.reply.allocations(0).allocation()).cpu_visible_buffer_offset();
  EXPECT_EQ(rig_.host().FindRegion(window)->cookie, 0u) << "a file of its own";
  EXPECT_EQ(rig_.host().FindRegion(window)->bytes, kPage);
}

// Everything at once, from several processes: ends clean, and what the sanitizers say.
TEST(MemoryConcurrency, ProcessesShareFightAndEnd) {
  AdapterProfile profile = Shipped("discrete");
  profile.mutable_memory()->set_dedicated_video_bytes(4 * kMiB);
  MemoryRig rig(profile);
  const auto resource = rig.NewResource(1, kMiB, kShareable);
  host::CreateNtSharedObject::Request share;
  share.set_object(resource[0]);
  const uint32_t shared =
      rig.Ask<host::CreateNtSharedObject>({rig.caller.process, 0}, share).reply.shared_handle();
  std::atomic<int> running{4};
  std::vector<std::jthread> threads;
  for (int thread = 0; thread < 4; ++thread) {
    threads.emplace_back([&, thread] {
      Rng rng(static_cast<uint64_t>(thread));
      for (int round = 0; round < 5; ++round) {
        const Caller caller = rig.NewCaller();
        const uint32_t device = rig.NewDevice(caller);
        const auto queue = rig.NewQueueFor(caller, device);
        host::OpenResource::Request open;
        open.set_device(device);
        open.set_global_share(shared);
        open.set_allocation_count(1);
        open.set_nt_security_sharing(1);
        std::vector<uint32_t> all = {rig.Ask<host::OpenResource>(caller, open).reply.allocations(0)};
        for (int step = 0; step < 100; ++step) {
          const uint32_t one = all[rng.Below(all.size())];
          host::MapGpuVirtualAddress::Request map;
          uint8_t byte[1];
          GpuFault fault;
          switch (rng.Below(5)) {
            case 0:
              all.push_back(rig.NewFor(caller, device, (1 + rng.Below(64)) * kPage));
              break;
            case 1:
              rig.MakeResidentOn(caller, queue, {one}, static_cast<uint32_t>(rng.Below(2)));
              break;
            case 2:
              rig.EvictFor(caller, device, {one}, static_cast<uint32_t>(rng.Below(2)));
              break;
            case 3:
              map.set_paging_queue(queue.handle);
              map.set_allocation(one);
              map.set_size_in_pages(1);
              rig.host().ReadGpu(caller,
                                 rig.Ask<host::MapGpuVirtualAddress>(caller, map).reply.virtual_address(),
                                 byte, &fault);
              break;
            default:
              rig.LockFor(caller, device, one);
              break;
          }
        }
        rig.EndProcess(caller);
      }
      --running;
    });
  }
  while (running != 0) rig.clock.AdvanceNs(1'000'000);  // time goes on under them
  threads.clear();
  rig.EndProcess(rig.caller);
  host::DestroyNtSharedObject::Request close;
  close.set_shared_handle(shared);
  rig.Ask<host::DestroyNtSharedObject>({}, close);
  rig.Settle();
  rig.ExpectNothingLeft();
}

// -- The escapes that make trouble.

class Trouble : public testing::Test {
 protected:
  static AdapterProfile Profile() {
    AdapterProfile profile = Shipped("discrete");
    profile.mutable_policy()->set_test_escapes(true);
    return profile;
  }
  // What comes back; empty: refused.
  std::string Escape(uint32_t op, uint64_t first, uint64_t second) {
    std::string data(24, '\0');
    Put<uint32_t>(BytesOf(data), 0, op);
    Put<uint64_t>(BytesOf(data), 8, first);
    Put<uint64_t>(BytesOf(data), 16, second);
    host::Escape::Request request;
    request.set_adapter(rig_.adapter().host_handle);
    request.set_type(1);
    request.set_priv_drv_data(data);
    request.set_priv_drv_data_size(24);
    return rig_.Ask<host::Escape>(rig_.caller, request).reply.priv_drv_data();
  }

  MemoryRig rig_{Profile()};
};

TEST_F(Trouble, RefusesUnknownOperations) {
  for (const uint32_t op : {1u, 2u, 7u, 9u, 17u, ~0u}) EXPECT_EQ(Escape(op, 0, 0), "") << op;
  EXPECT_EQ(Escape(0, 4, 0), "") << "an unknown fault";
  EXPECT_EQ(Escape(16, rig_.device, 0), "") << "no queue";
  MemoryRig plain;
  host::Escape::Request request;
  request.set_adapter(plain.adapter().host_handle);
  request.set_type(1);
  request.set_priv_drv_data(std::string(24, '\0'));
  request.set_priv_drv_data_size(24);
  EXPECT_EQ(plain.Ask<host::Escape>(plain.caller, request).reply.priv_drv_data(), "") << "only where allowed";
}

TEST_F(Trouble, BudgetIsSetAndRead) {
  EXPECT_NE(Escape(8, 64 * kMiB, 32 * kMiB), "");
  const std::string back = Escape(11, 0, 0);
  ASSERT_EQ(back.size(), 24u);
  EXPECT_EQ(Get<uint64_t>(BytesOf(std::string_view(back)), 8), 64 * kMiB);
  EXPECT_EQ(Get<uint64_t>(BytesOf(std::string_view(back)), 16), 32 * kMiB);
  EXPECT_EQ(rig_.Budget(0), 64 * kMiB);
  EXPECT_EQ(rig_.MakeResident({rig_.New(65 * kMiB)}).num_bytes_to_trim(), kMiB);
  EXPECT_NE(Escape(8, 0, 0), "") << "as the profile has it";
  EXPECT_EQ(rig_.Budget(0), 8 * kGiB / 100 * 90);
}

TEST_F(Trouble, DelayHoldsOneQueueAndOthersGoOn) {
  const auto other = rig_.NewQueue();
  EXPECT_NE(Escape(16, rig_.queue.handle | 5ull << 32, 0), "");
  rig_.MakeResident({rig_.New(kPage)});
  rig_.MakeResidentOn(rig_.caller, other, {rig_.New(kPage)});
  rig_.clock.AdvanceNs(4'000'000);
  EXPECT_EQ(rig_.FenceOf(other), 1u);
  EXPECT_EQ(rig_.FenceOf(rig_.queue), 0u);
  rig_.clock.AdvanceNs(2'000'000);
  EXPECT_EQ(rig_.FenceOf(rig_.queue), 1u);
  EXPECT_NE(Escape(16, 0xFFFFFFFFull << 32, 0), "") << "all of it, for ever";
  rig_.MakeResident({rig_.New(kPage)});
  rig_.Settle();
  EXPECT_EQ(rig_.FenceOf(rig_.queue), 1u);
  EXPECT_NE(Escape(16, 0, 0), "");
  rig_.Settle();
  EXPECT_EQ(rig_.FenceOf(rig_.queue), 2u);
}

TEST_F(Trouble, FaultsFailTheNthAllocationAndDiscardOffers) {
  EXPECT_NE(Escape(0, 1ull | 2ull << 32, 0), "");
  EXPECT_NE(rig_.TryAllocation(kPage), 0u);
  EXPECT_EQ(rig_.TryAllocation(kPage), 0u);
  const uint32_t allocation = rig_.New(kPage);
  const uint64_t window = rig_.Lock(allocation).cpu_visible_buffer_offset();
  rig_.Poke(window, 1);
  host::OfferAllocations::Request offer;
  offer.set_device(rig_.device);
  offer.set_priority(3);
  offer.set_allocation_count(1);
  offer.add_allocations(allocation);
  rig_.Ask<host::OfferAllocations>(rig_.caller, offer);
  EXPECT_EQ(rig_.Peek(window), 0u) << "discarded at once";
}

TEST_F(Trouble, EvictTakesOutWhatLingers) {
  const uint32_t allocation = rig_.New(kPage);
  rig_.BringIn({allocation});
  rig_.Evict({allocation}, 1);
  EXPECT_EQ(rig_.WhereIs(allocation), 1u);
  EXPECT_NE(Escape(5, 0, 0), "");
  EXPECT_EQ(rig_.WhereIs(allocation), 3u);
}

}  // namespace
}  // namespace dxg::hostsim
