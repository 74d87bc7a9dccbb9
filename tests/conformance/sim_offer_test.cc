// Offers under the simulated host's memory pressure. Numbers in brackets are rules of docs/host-rules.md.

#include <gtest/gtest.h>

#include <vector>

#include "tests/conformance/memory_client.h"
#include "tests/conformance/peer.h"
#include "tests/conformance/sim_queries.h"

namespace dxg::conformance {
namespace {

constexpr uint32_t kAllowDecommit = 2;
constexpr uint32_t kOk = _D3DDDI_RECLAIM_RESULT_OK;
constexpr uint32_t kDiscarded = _D3DDDI_RECLAIM_RESULT_DISCARDED;
constexpr uint32_t kNotCommitted = _D3DDDI_RECLAIM_RESULT_NOT_COMMITTED;

struct Offerer {
  MemoryClient client;
  PagingQueue queue = client.CreatePagingQueue();

  void Offer(d3dkmthandle allocation, uint32_t priority, uint32_t flags = 0) {
    client.Offer(allocation, priority, flags);
  }

  // The result; the fence may be pending still.
  uint32_t Reclaim(d3dkmthandle allocation, uint64_t* fence_value = nullptr) {
    uint32_t result = 77;
    auto args = client.ReclaimArgs(queue, allocation, &result);
    client.node.Ioctl(LX_DXRECLAIMALLOCATIONS2, args, "ReclaimAllocations2");
    if (fence_value != nullptr) *fence_value = args.paging_fence_value;
    return result;
  }

  // Makes so many pieces resident that they push out what only lingers, and destroys them.
  void Press(uint32_t pieces, uint64_t bytes) {
    std::vector<d3dkmthandle> others;
    for (uint32_t i = 0; i < pieces; ++i) {
      others.push_back(client.Create(bytes));
      const int result = client.TryMakeResident(queue, {&others.back(), 1}, kCantTrimFurther);
      EXPECT_TRUE(result == 0 || result == kPending) << ResultName(result);
    }
    for (d3dkmthandle other : others) client.Destroy(other);
  }

  // Resident, with a pattern at its start and its end.
  d3dkmthandle CreateFilled(uint64_t bytes, uint64_t seed, bool resident = true) {
    const d3dkmthandle allocation = client.Create(bytes);
    std::byte* const memory = client.Lock(allocation);
    FillPattern({memory, kPageBytes}, seed);
    FillPattern({memory + bytes - kPageBytes, kPageBytes}, seed + 1);
    client.Unlock(allocation);
    const int result = resident ? client.TryMakeResident(queue, {&allocation, 1}) : 0;
    EXPECT_TRUE(result == 0 || result == kPending) << ResultName(result);
    return allocation;
  }

  bool IsIntact(d3dkmthandle allocation, uint64_t bytes, uint64_t seed) {
    const std::byte* const memory = client.Lock(allocation);
    const bool intact = FindWrongByte({memory, kPageBytes}, seed) == -1 &&
                        FindWrongByte({memory + bytes - kPageBytes, kPageBytes}, seed + 1) == -1;
    client.Unlock(allocation);
    return intact;
  }
};

// [OFR] 125
TEST(SimOffer, WithoutPressureNothingIsLost) {
  Offerer offerer;
  for (uint32_t priority : {1u, 2u, 3u, 4u})
    for (bool resident : {false, true}) {
      const d3dkmthandle allocation = offerer.CreateFilled(kMiB, priority, resident);
      offerer.Offer(allocation, priority);
      offerer.Offer(allocation, priority);  // twice is as good as once
      EXPECT_EQ(offerer.Reclaim(allocation), kOk);
      EXPECT_TRUE(offerer.IsIntact(allocation, kMiB, priority));
    }
}

TEST(SimOffer, ReclaimOfWhatWasNeverOfferedIsOk) {
  Offerer offerer;
  const d3dkmthandle allocation = offerer.CreateFilled(kMiB, 1);
  EXPECT_EQ(offerer.Reclaim(allocation), kOk);
  EXPECT_TRUE(offerer.IsIntact(allocation, kMiB, 1));
}

TEST(SimOffer, RefusesAListWithABadHandle) {
  Offerer offerer;
  const d3dkmthandle good = offerer.client.Create(), stale = offerer.client.Create();
  offerer.client.Destroy(stale);
  const d3dkmthandle other = offerer.client.node.CreateDevice(offerer.client.node.FirstAdapter());
  for (d3dkmthandle bad : {Handle(0), stale, offerer.client.device, offerer.client.CreateOn(other)}) {
    const d3dkmthandle list[] = {good, bad};
    auto offer = offerer.client.OfferArgs(list[0], _D3DKMT_OFFER_PRIORITY_LOW);
    offer.allocation_count = 2;
    EXPECT_EQ(offerer.client.node.TryIoctl(LX_DXOFFERALLOCATIONS, offer), -EINVAL);
    auto reclaim = offerer.client.ReclaimArgs(offerer.queue, list[0]);
    reclaim.allocation_count = 2;
    EXPECT_EQ(offerer.client.node.TryIoctl(LX_DXRECLAIMALLOCATIONS2, reclaim), -EINVAL);
  }
  EXPECT_EQ(offerer.client.TryLock(good), 0) << "it was not offered";
}

TEST(SimOffer, OfResources) {
  Offerer offerer;
  const SharedResource resource = offerer.client.CreateResource(3);
  d3dkmt_offerallocations offer = {};
  offer.device = offerer.client.device;
  offer.resources = Address(&resource.resource);
  offer.allocation_count = 1;
  offer.priority = 1;
  ASSERT_EQ(offerer.client.node.TryIoctl(LX_DXOFFERALLOCATIONS, offer), 0);
  for (d3dkmthandle allocation : resource.allocations) EXPECT_EQ(offerer.client.TryLock(allocation), -EINVAL);
  uint32_t results[2] = {77, 77};
  d3dkmt_reclaimallocations2 reclaim = {};
  reclaim.paging_queue = offerer.queue.handle;
  reclaim.resources = Address(&resource.resource);
  reclaim.allocation_count = 1;
  reclaim.results = Address(results);
  ASSERT_EQ(offerer.client.node.TryIoctl(LX_DXRECLAIMALLOCATIONS2, reclaim), 0);
  EXPECT_EQ(results[0], kOk);
  EXPECT_EQ(results[1], 77u) << "one word for a resource";
  for (d3dkmthandle allocation : resource.allocations) EXPECT_EQ(offerer.client.TryLock(allocation), 0);
}

// [OFR] 124: the low ones go first, and what was never offered loses nothing
TEST(SimOffer, UnderPressureTheLowOnesGoFirst) {
  for (uint32_t lost : {0u, 1u, 2u, 3u})
    InFreshProcess([lost] {
      Offerer offerer;
      const uint64_t piece = GetSegmentGroupSizes(offerer.client.node).local / 8 / kPageBytes * kPageBytes;
      const d3dkmthandle high = offerer.CreateFilled(piece, 10), low = offerer.CreateFilled(piece, 20),
                         kept = offerer.CreateFilled(piece, 30), normal = offerer.CreateFilled(piece, 40);
      offerer.Offer(high, _D3DKMT_OFFER_PRIORITY_HIGH);
      offerer.Offer(low, _D3DKMT_OFFER_PRIORITY_LOW);
      offerer.Offer(normal, _D3DKMT_OFFER_PRIORITY_NORMAL);
      offerer.Press(4 + lost, piece);  // there is room for four more
      EXPECT_EQ(offerer.Reclaim(low), lost >= 1 ? kDiscarded : kOk);
      EXPECT_EQ(offerer.Reclaim(normal), lost >= 2 ? kDiscarded : kOk);
      EXPECT_EQ(offerer.Reclaim(high), lost >= 3 ? kDiscarded : kOk);
      EXPECT_EQ(offerer.IsIntact(low, piece, 20), lost < 1);
      EXPECT_EQ(offerer.IsIntact(normal, piece, 40), lost < 2);
      EXPECT_EQ(offerer.IsIntact(high, piece, 10), lost < 3);
      EXPECT_TRUE(offerer.IsIntact(kept, piece, 30));
    });
}

// [OFR] 125: memory that was discarded can be used again
TEST(SimOffer, DiscardedMemoryIsReclaimedWithoutItsContent) {
  InFreshProcess([] {
    Offerer offerer;
    const uint64_t piece = GetSegmentGroupSizes(offerer.client.node).local / 4 / kPageBytes * kPageBytes;
    const d3dkmthandle offered = offerer.CreateFilled(piece, 1);
    offerer.client.Evict({&offered, 1});
    const d3dkmthandle resident = offerer.CreateFilled(piece, 3);
    offerer.Offer(resident, _D3DKMT_OFFER_PRIORITY_LOW);
    offerer.Press(4, piece);
    EXPECT_EQ(offerer.Reclaim(resident), kDiscarded);
    EXPECT_FALSE(offerer.IsIntact(resident, piece, 3));
    FillPattern({offerer.client.Lock(resident), kPageBytes}, 5);
    EXPECT_EQ(offerer.Reclaim(resident), kOk) << "once";
    EXPECT_TRUE(offerer.IsIntact(offered, piece, 1)) << "never offered";
  });
}

// [OFR] 126
TEST(SimOffer, OnlyWithLeaveItIsDecommittedAndThenForGood) {
  InFreshProcess([] {
    Offerer offerer;
    const uint64_t piece = GetSegmentGroupSizes(offerer.client.node).local / 4 / kPageBytes * kPageBytes;
    const d3dkmthandle allowed = offerer.CreateFilled(piece, 1);
    offerer.Offer(allowed, _D3DKMT_OFFER_PRIORITY_LOW, kAllowDecommit);
    const d3dkmthandle in_time = offerer.client.Create();
    offerer.Offer(in_time, _D3DKMT_OFFER_PRIORITY_LOW, kAllowDecommit);
    EXPECT_EQ(offerer.Reclaim(in_time), kOk);
    offerer.Press(4, piece);
    for (int i = 0; i < 2; ++i) EXPECT_EQ(offerer.Reclaim(allowed), kNotCommitted);
    d3dddi_mapgpuvirtualaddress map = {};
    map.paging_queue = offerer.queue.handle;
    map.allocation = allowed;
    map.size_in_pages = 1;
    EXPECT_EQ(offerer.client.node.TryIoctl(LX_DXMAPGPUVIRTUALADDRESS, map), -EINVAL);
    EXPECT_EQ(offerer.client.TryMakeResident(offerer.queue, {&allowed, 1}), -EINVAL);
    EXPECT_EQ(offerer.client.TryLock(allowed), -EINVAL);
    offerer.client.Destroy(allowed);
  });
}

// [OFR] 127
TEST(SimOffer, ReclaimBringsBackWhatIsListed) {
  Offerer offerer;
  const d3dkmthandle allocation = offerer.CreateFilled(kMiB, 1);
  offerer.client.MakeResident(offerer.queue, {&allocation, 1});
  const uint32_t where = offerer.client.Residency(allocation);
  offerer.Offer(allocation, _D3DKMT_OFFER_PRIORITY_HIGH);
  uint64_t fence_value = 0;
  EXPECT_EQ(offerer.Reclaim(allocation, &fence_value), kOk);
  offerer.queue.WaitFor(fence_value);
  EXPECT_EQ(offerer.client.Residency(allocation), where);
  EXPECT_EQ(offerer.client.TryMakeResident(offerer.queue, {&allocation, 1}), 0) << "it is there";
}

TEST(SimOffer, UsageIsWithoutWhatIsOffered) {
  InFreshProcess([] {
    Offerer offerer;
    const auto usage = [&] {
      d3dkmt_queryvideomemoryinfo info = {};
      info.adapter = offerer.client.node.FirstAdapter();
      offerer.client.node.Ioctl(LX_DXQUERYVIDEOMEMORYINFO, info, "QueryVideoMemoryInfo");
      return info.current_usage;
    };
    const d3dkmthandle allocation = offerer.CreateFilled(kMiB, 1);
    EXPECT_EQ(usage(), kMiB);
    offerer.Offer(allocation, _D3DKMT_OFFER_PRIORITY_LOW);
    EXPECT_EQ(usage(), 0u);
    EXPECT_EQ(offerer.Reclaim(allocation), kOk);
    EXPECT_EQ(usage(), kMiB);
    offerer.client.Evict({&allocation, 1});
    EXPECT_EQ(usage(), 0u);
  });
}

}  // namespace
}  // namespace dxg::conformance
