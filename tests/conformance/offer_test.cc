// OfferAllocations, ReclaimAllocations2.

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "proto/contract/numbers.gen.h"
#include "tests/conformance/memory.h"
#include "tests/conformance/memory_client.h"

namespace dxg::conformance {
namespace {

constexpr uint32_t kOfferedMax = limits::kOfferAllocationsAllocationsMax;

constexpr uint32_t kNormalOffer = _D3DKMT_OFFER_PRIORITY_NORMAL;

// ---- Offer ----

TEST(OfferAllocations, RefusesBadCountsFirst) {
  const MemoryClient client;
  for (uint32_t count : {0u, kOfferedMax + 1, 0xffffffffu}) {
    d3dkmt_offerallocations args = {};
    args.allocations = kUnmappedAddress;
    args.allocation_count = count;
    EXPECT_EQ(client.node.TryIoctl(LX_DXOFFERALLOCATIONS, args), -EINVAL) << count;
  }
}

// [OFR] 122, the half of the guest
TEST(OfferAllocations, RefusesBothListsAndNeither) {
  const MemoryClient client;
  const d3dkmthandle none = Handle(0);
  d3dkmt_offerallocations args = client.OfferArgs(none, kNormalOffer);
  args.resources = args.allocations;
  EXPECT_EQ(client.node.TryIoctl(LX_DXOFFERALLOCATIONS, args), -EINVAL);
  args.resources = args.allocations = 0;
  EXPECT_EQ(client.node.TryIoctl(LX_DXOFFERALLOCATIONS, args), -EINVAL);
}

TEST(OfferAllocations, RefusesWhatIsNoDeviceBeforeItReadsTheList) {
  const MemoryClient client;
  const d3dkmthandle none = Handle(0);
  d3dkmt_offerallocations args = client.OfferArgs(none, kNormalOffer);
  args.allocations = kUnmappedAddress;
  for (d3dkmthandle bad : {Handle(0), Handle(0x40fff000), client.CreatePagingQueue().handle}) {
    args.device = bad;
    EXPECT_EQ(client.node.TryIoctl(LX_DXOFFERALLOCATIONS, args), -EINVAL);
  }
  args.device = client.device;
  EXPECT_EQ(client.node.TryIoctl(LX_DXOFFERALLOCATIONS, args), -EFAULT);
  args.resources = kKernelAddress;
  args.allocations = 0;
  EXPECT_EQ(client.node.TryIoctl(LX_DXOFFERALLOCATIONS, args), -EFAULT);
}

TEST(OfferAllocations, TakesEveryPriority) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  for (uint32_t priority : {1u, 2u, 3u, 4u}) {
    const d3dkmthandle allocation = client.Create();
    d3dkmt_offerallocations args = client.OfferArgs(allocation, priority);
    EXPECT_EQ(client.node.TryIoctl(LX_DXOFFERALLOCATIONS, args), 0) << priority;
  }
}

TEST(OfferAllocations, TakesAsManyAsTheLimit) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const std::vector<d3dkmthandle> list(kOfferedMax, client.Create());
  d3dkmt_offerallocations args = client.OfferArgs(list[0], kNormalOffer);
  args.allocation_count = kOfferedMax;
  EXPECT_EQ(client.node.TryIoctl(LX_DXOFFERALLOCATIONS, args), 0);
}

// ---- Reclaim ----

TEST(ReclaimAllocations, RefusesBadCountsFirst) {
  const MemoryClient client;
  for (uint32_t count : {0u, kOfferedMax + 1, 0xffffffffu}) {
    d3dkmt_reclaimallocations2 args = {};
    args.allocations = kUnmappedAddress;
    args.allocation_count = count;
    EXPECT_EQ(client.node.TryIoctl(LX_DXRECLAIMALLOCATIONS2, args), -EINVAL) << count;
  }
}

TEST(ReclaimAllocations, RefusesBothListsAndNeither) {
  const MemoryClient client;
  const d3dkmthandle none = Handle(0);
  d3dkmt_reclaimallocations2 args = client.ReclaimArgs(client.CreatePagingQueue(), none);
  args.resources = args.allocations;
  EXPECT_EQ(client.node.TryIoctl(LX_DXRECLAIMALLOCATIONS2, args), -EINVAL);
  args.resources = args.allocations = 0;
  EXPECT_EQ(client.node.TryIoctl(LX_DXRECLAIMALLOCATIONS2, args), -EINVAL);
}

TEST(ReclaimAllocations, RefusesWhatIsNoQueueBeforeItReadsTheList) {
  const MemoryClient client;
  const PagingQueue queue = client.CreatePagingQueue();
  const d3dkmthandle none = Handle(0);
  d3dkmt_reclaimallocations2 args = client.ReclaimArgs(queue, none);
  args.allocations = kUnmappedAddress;
  for (d3dkmthandle bad : {Handle(0), Handle(0x40fff000), client.device}) {
    args.paging_queue = bad;
    EXPECT_EQ(client.node.TryIoctl(LX_DXRECLAIMALLOCATIONS2, args), -EINVAL);
  }
  args.paging_queue = queue.handle;
  EXPECT_EQ(client.node.TryIoctl(LX_DXRECLAIMALLOCATIONS2, args), -EFAULT);
}

// With a place for results the result is 0, and the fence value says whether there is something to wait for.
TEST(ReclaimAllocations, ResultsHideThatItIsPending) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const PagingQueue queue = client.CreatePagingQueue();
  const d3dkmthandle allocation = client.Create(kMiB);
  client.MakeResident(queue, {&allocation, 1});
  for (int round = 0; round < 5; ++round) {
    d3dkmt_offerallocations offer = client.OfferArgs(allocation, kNormalOffer);
    ASSERT_EQ(client.node.TryIoctl(LX_DXOFFERALLOCATIONS, offer), 0);
    uint32_t results[2] = {77, 77};
    d3dkmt_reclaimallocations2 args = client.ReclaimArgs(queue, allocation);
    args.results = Address(results);
    ASSERT_EQ(client.node.TryIoctl(LX_DXRECLAIMALLOCATIONS2, args), 0);
    EXPECT_LE(results[0], 1u);
    EXPECT_EQ(results[1], 77u);
    queue.WaitFor(args.paging_fence_value);
  }
}

TEST(ReclaimAllocations, TakesNoPlaceForResults) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const PagingQueue queue = client.CreatePagingQueue();
  const d3dkmthandle allocation = client.Create();
  d3dkmt_offerallocations offer = client.OfferArgs(allocation, kNormalOffer);
  ASSERT_EQ(client.node.TryIoctl(LX_DXOFFERALLOCATIONS, offer), 0);
  d3dkmt_reclaimallocations2 args = client.ReclaimArgs(queue, allocation);
  const auto before = args;
  const int result = client.node.TryIoctl(LX_DXRECLAIMALLOCATIONS2, args);
  ASSERT_TRUE(result == 0 || result == kPending) << ResultName(result);
  queue.WaitFor(args.paging_fence_value);
  args.paging_fence_value = 0;
  EXPECT_EQ(std::memcmp(&args, &before, sizeof(args)), 0);
}

TEST(ReclaimAllocations, FaultsWhereResultsCannotBeWritten) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const PagingQueue queue = client.CreatePagingQueue();
  const d3dkmthandle allocation = client.Create();
  GuardedMemory memory(sizeof(uint32_t));
  for (uint64_t address : {kUnmappedAddress, kKernelAddress, memory.one_byte_short()}) {
    d3dkmt_reclaimallocations2 args = client.ReclaimArgs(queue, allocation);
    args.results = address;
    EXPECT_EQ(client.node.TryIoctl(LX_DXRECLAIMALLOCATIONS2, args), -EFAULT);
  }
}

}  // namespace
}  // namespace dxg::conformance
