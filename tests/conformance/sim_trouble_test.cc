// Memory while the simulated host is in trouble: paging that stands still, budgets that shrink, offers that
// are lost. Escapes of the host make it (docs/simulated-gpu.md), and serve every client alike, so each test
// ends what it has begun. Numbers in brackets are rules of docs/host-rules.md.

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <thread>
#include <vector>

#include "tests/conformance/memory_client.h"
#include "tests/conformance/peer.h"
#include "tests/conformance/sim_queries.h"

namespace dxg::conformance {
namespace {

constexpr uint32_t kSetFault = 0, kEvictAll = 5, kSetBudget = 8, kDelayExecution = 16;
constexpr uint32_t kAlwaysDiscard = 1, kNeverDiscard = 2;
constexpr uint32_t kForever = 0xffffffff;

// | what | 0 | two numbers of 4 bytes, or one of 8 | one of 8 |
void Escape(Node& node, uint32_t what, uint64_t first = 0, uint64_t second = 0) {
  std::array<uint64_t, 3> data = {what, first, second};
  d3dkmt_escape args = {};
  args.adapter = node.FirstAdapter();
  args.type = _D3DKMT_ESCAPE_VIDMM;
  args.priv_drv_data = Address(data.data());
  args.priv_drv_data_size = sizeof(data);
  node.Ioctl(LX_DXESCAPE, args, "Escape");
}

uint64_t Pair(uint32_t low, uint32_t high) { return uint64_t{high} << 32 | low; }

// Paging stands still while this lives: all of it, or that of one queue.
class Stall {
 public:
  explicit Stall(Node& node, d3dkmthandle queue = Handle(0)) : node_(node), queue_(queue) {
    Escape(node_, kDelayExecution, Pair(queue_.v, kForever));
  }
  Stall(const Stall&) = delete;
  Stall& operator=(const Stall&) = delete;
  ~Stall() { End(); }
  void End() {
    if (!ended_) Escape(node_, kDelayExecution, Pair(queue_.v, 0));
    ended_ = true;
  }

 private:
  Node& node_;
  d3dkmthandle queue_;
  bool ended_ = false;
};

d3dkmt_queryvideomemoryinfo Memory(Node& node) {
  d3dkmt_queryvideomemoryinfo args = {};
  args.adapter = node.FirstAdapter();
  node.Ioctl(LX_DXQUERYVIDEOMEMORYINFO, args, "QueryVideoMemoryInfo");
  return args;
}

// ---- Paging that stands still ----

// [PGQ] 98, 99, 100
TEST(SimTroublePaging, PendingStaysPendingUntilItIsDone) {
  MemoryClient client;
  const PagingQueue queue = client.CreatePagingQueue();
  const std::vector<d3dkmthandle> list = client.CreateMany(3, kMiB);
  Stall stall(client.node);
  uint64_t last = 0;
  for (d3dkmthandle allocation : list) {
    uint64_t value = 0;
    EXPECT_EQ(client.TryMakeResident(queue, {&allocation, 1}, 0, &value), kPending);
    EXPECT_GT(value, last);
    last = value;
    EXPECT_EQ(client.Residency(allocation), kNotResident);
  }
  EXPECT_EQ(queue.Value(), 0u);
  for (d3dkmthandle allocation : list)
    EXPECT_EQ(client.TryMakeResident(queue, {&allocation, 1}), kPending) << "on its way is not there";
  EXPECT_EQ(Memory(client.node).current_usage, 3 * kMiB) << "it counts from the call on";
  stall.End();
  queue.WaitFor(last);
  for (d3dkmthandle allocation : list) EXPECT_NE(client.Residency(allocation), kNotResident);
}

TEST(SimTroublePaging, MapAndReserveArePendingToo) {
  MemoryClient client;
  const PagingQueue queue = client.CreatePagingQueue();
  Stall stall(client.node);
  d3dddi_mapgpuvirtualaddress map = {};
  map.paging_queue = queue.handle;
  map.allocation = client.Create();
  map.size_in_pages = 1;
  EXPECT_EQ(client.node.TryIoctl(LX_DXMAPGPUVIRTUALADDRESS, map), kPending);
  EXPECT_NE(map.virtual_address, 0u);
  EXPECT_GT(map.paging_fence_value, 0u);
  EXPECT_EQ(queue.Value(), 0u);
  d3dkmt_freegpuvirtualaddress free = {};
  free.adapter = client.node.FirstAdapter();
  free.base_address = map.virtual_address;
  free.size = kPageBytes;
  EXPECT_EQ(client.node.TryIoctl(LX_DXFREEGPUVIRTUALADDRESS, free), 0) << "what is pending is dropped";
  stall.End();
  queue.WaitFor(map.paging_fence_value);
}

// [PGQ] 97
TEST(SimTroublePaging, StalledQueueHoldsNoOther) {
  MemoryClient client;
  const PagingQueue stalled = client.CreatePagingQueue(), free = client.CreatePagingQueue();
  const std::vector<d3dkmthandle> list = client.CreateMany(2, kMiB);
  Stall stall(client.node, stalled.handle);
  EXPECT_EQ(client.TryMakeResident(stalled, {&list[0], 1}), kPending);
  client.MakeResident(free, {&list[1], 1});
  EXPECT_EQ(stalled.Value(), 0u);
}

// Locks do not wait for paging.
TEST(SimTroublePaging, BytesAreThereAllTheWhile) {
  MemoryClient client;
  const PagingQueue queue = client.CreatePagingQueue();
  const d3dkmthandle allocation = client.Create(kMiB);
  Stall stall(client.node);
  EXPECT_EQ(client.TryMakeResident(queue, {&allocation, 1}), kPending);
  FillPattern({client.Lock(allocation), kMiB}, 1);
  client.Unlock(allocation);
  stall.End();
  client.MakeResident(queue, {&allocation, 1});
  EXPECT_EQ(FindWrongByte({client.Lock(allocation), kMiB}, 1), -1);
}

// [LCK] 96
TEST(SimTroublePaging, ReclaimedMemoryIsLockedWhileItsFenceIsPending) {
  MemoryClient client;
  const PagingQueue queue = client.CreatePagingQueue();
  const d3dkmthandle allocation = client.Create(kMiB);
  client.MakeResident(queue, {&allocation, 1});
  client.Offer(allocation, _D3DKMT_OFFER_PRIORITY_LOW);
  Escape(client.node, kEvictAll);  // so that it has to come back
  EXPECT_EQ(client.TryLock(allocation), -EINVAL);
  Stall stall(client.node);
  uint32_t result = 77;
  auto reclaim = client.ReclaimArgs(queue, allocation, &result);
  EXPECT_EQ(client.node.TryIoctl(LX_DXRECLAIMALLOCATIONS2, reclaim), 0);
  EXPECT_GT(reclaim.paging_fence_value, queue.Value());
  EXPECT_EQ(client.TryLock(allocation), 0);
  stall.End();
  queue.WaitFor(reclaim.paging_fence_value);
}

TEST(SimTroublePaging, DeviceThatEndsOrFailsWaitsForNothing) {
  MemoryClient client;
  const Stall stall(client.node);
  const d3dkmthandle ends = client.node.CreateDevice(client.node.FirstAdapter());
  const d3dkmthandle lost = client.CreateOn(ends, kMiB);
  EXPECT_EQ(client.TryMakeResident(client.CreatePagingQueueOn(ends), {&lost, 1}), kPending);
  client.node.DestroyDevice(ends);
  const PagingQueue queue = client.CreatePagingQueue();
  const d3dkmthandle allocation = client.Create(kMiB);
  uint64_t value = 0;
  EXPECT_EQ(client.TryMakeResident(queue, {&allocation, 1}, 0, &value), kPending);
  d3dkmt_markdeviceaserror mark = {client.device, _D3DKMT_DEVICE_ERROR_REASON_GENERIC};
  ASSERT_EQ(client.node.TryIoctl(LX_DXMARKDEVICEASERROR, mark), 0);
  queue.WaitFor(value);
  EXPECT_EQ(client.TryDestroyPagingQueue(queue.handle), 0);
}

// [PGQ] 102
TEST(SimTroublePaging, DestroyOfAQueueAnswersWhenAllIsDone) {
  MemoryClient client;
  const PagingQueue queue = client.CreatePagingQueue(), other = client.CreatePagingQueue();
  const d3dkmthandle allocation = client.Create(kMiB);
  Stall stall(client.node);
  EXPECT_EQ(client.TryMakeResident(queue, {&allocation, 1}), kPending);
  std::thread destroyer = StartThread([&] {
    EXPECT_EQ(client.TryDestroyPagingQueue(queue.handle), 0);
    EXPECT_EQ(client.TryMakeResident(other, {&allocation, 1}), 0) << "it has arrived";
  });
  while (client.TryMakeResident(queue, {&allocation, 1}) != -EINVAL)
    std::this_thread::yield();  // gone at once
  stall.End();
  destroyer.join();
}

TEST(SimTroublePaging, ClientKilledWhileItWaitsLeavesNothing) {
  MemoryClient client;
  const uint64_t before = Segments(client.node)[0].resident;
  const Stall stall(client.node);
  Peer other([](Peer& parent) {
    MemoryClient client;
    const PagingQueue queue = client.CreatePagingQueue();
    const d3dkmthandle allocation = client.Create(kMiB);
    EXPECT_EQ(client.TryMakeResident(queue, {&allocation, 1}), kPending);
    parent.Send(0);
    client.TryDestroyPagingQueue(queue.handle);  // never answered
  });
  other.Receive();
  other.Kill();
  EXPECT_TRUE(Eventually([&] { return Segments(client.node)[0].resident == before; }));
}

// ---- Memory that runs short ----

// [RES] 107, 108
TEST(SimTroubleBudget, TrimmingAsMuchAsItSaysIsEnough) {
  InFreshProcess([] {
    MemoryClient client;
    const PagingQueue queue = client.CreatePagingQueue();
    const std::vector<d3dkmthandle> list = client.CreateMany(16, kMiB);
    client.MakeResident(queue, list);
    Escape(client.node, kSetBudget, 12 * kMiB, 0);
    const uint64_t budget = Memory(client.node).budget;
    EXPECT_LE(budget, 12 * kMiB);
    EXPECT_EQ(Memory(client.node).current_usage, 16 * kMiB) << "nobody is thrown out for a budget";
    const d3dkmthandle more = client.Create(kMiB);
    EXPECT_EQ(client.TryMakeResident(queue, {&more, 1}), -ENOMEM);
    uint64_t trim = 0;
    size_t evicted = 0;
    do EXPECT_EQ(client.TryEvict({&list[evicted++], 1}, 0, &trim), 0);
    while (trim != 0 && evicted < list.size());
    EXPECT_EQ((16 - evicted) * kMiB, budget / kMiB * kMiB);
    EXPECT_EQ(client.TryMakeResident(queue, {&more, 1}), -ENOMEM) << "exactly full";
    client.Evict({&list[evicted], 1});
    client.MakeResident(queue, {&more, 1});
    Escape(client.node, kSetBudget, 0, 0);
  });
}

// [RES] 112, 113: what has to go keeps its bytes
TEST(SimTroubleBudget, BytesSurviveWhateverIsMadeResidentAfterThem) {
  InFreshProcess([] {
    MemoryClient client;
    const PagingQueue queue = client.CreatePagingQueue();
    const std::vector<d3dkmthandle> list = client.CreateMany(24, 8 * kMiB);  // three times what there is
    for (size_t i = 0; i < list.size(); ++i) {
      const std::span memory(client.Lock(list[i]), 8 * kMiB);
      FillPattern(memory.first(kPageBytes), i);
      client.MakeResident(queue, {&list[i], 1});
      EXPECT_EQ(client.TryEvict({&list[i], 1}, kOnlyIfNecessary), 0);
    }
    uint32_t resident = 0;
    for (size_t i = 0; i < list.size(); ++i) {
      if (client.Residency(list[i]) != kNotResident) ++resident;
      EXPECT_EQ(FindWrongByte({client.Lock(list[i]), kPageBytes}, i), -1) << i;
    }
    EXPECT_GE(resident, 1u);
    EXPECT_LE(resident, 8u);
    Escape(client.node, kEvictAll);
    for (d3dkmthandle allocation : list) EXPECT_EQ(client.Residency(allocation), kNotResident);
  });
}

// [RES] 109
TEST(SimTroubleBudget, CannotTrimFurtherIsServedUntilMemoryIsFull) {
  InFreshProcess([] {
    MemoryClient client;
    const PagingQueue queue = client.CreatePagingQueue();
    std::vector<d3dkmthandle> list = client.CreateMany(64, kMiB);
    uint32_t fit = 0;
    for (d3dkmthandle allocation : list)
      if (client.TryMakeResident(queue, {&allocation, 1}) != -ENOMEM) ++fit;
    EXPECT_EQ(fit, Memory(client.node).budget / kMiB);
    for (d3dkmthandle allocation : list)
      EXPECT_NE(client.TryMakeResident(queue, {&allocation, 1}, kCantTrimFurther), -ENOMEM);
    const d3dkmthandle one_more = client.Create();
    EXPECT_EQ(client.TryMakeResident(queue, {&one_more, 1}, kCantTrimFurther), -ENOMEM);
  });
}

// [ALC] 74
TEST(SimTroubleAllocation, OneOfManyWithoutMemoryLeavesNothing) {
  InFreshProcess([] {
    MemoryClient client;
    for (uint32_t which : {1u, 3u, 5u}) {
      Escape(client.node, kSetFault, Pair(0, which));
      Creation creation(client.device, 5);
      creation.args.flags.create_resource = 1;
      EXPECT_EQ(creation.Try(client.node), -EOVERFLOW) << which;
      EXPECT_EQ(creation.args.resource.v, 0u);
      EXPECT_EQ(creation.infos[0].allocation.v, 0u);
      Creation again(client.device, 5);
      EXPECT_EQ(again.Try(client.node), 0) << "once only";
    }
  });
}

// ---- Offers ----

// [OFR] 125
TEST(SimTroubleOffer, IsDiscardedOrKeptAsTheHostPleases) {
  InFreshProcess([] {
    MemoryClient client;
    const PagingQueue queue = client.CreatePagingQueue();
    for (uint32_t fault : {kAlwaysDiscard, kNeverDiscard, kAlwaysDiscard}) {
      Escape(client.node, kSetFault, Pair(fault, 0));
      const d3dkmthandle allocation = client.Create();
      FillPattern({client.Lock(allocation), kPageBytes}, fault);
      client.Unlock(allocation);
      client.MakeResident(queue, {&allocation, 1});
      client.Offer(allocation, _D3DKMT_OFFER_PRIORITY_HIGH);
      uint32_t result = 77;
      auto reclaim = client.ReclaimArgs(queue, allocation, &result);
      EXPECT_EQ(client.node.TryIoctl(LX_DXRECLAIMALLOCATIONS2, reclaim), 0);
      EXPECT_EQ(result, uint32_t{fault == kAlwaysDiscard ? _D3DDDI_RECLAIM_RESULT_DISCARDED
                                                         : _D3DDDI_RECLAIM_RESULT_OK});
      EXPECT_EQ(FindWrongByte({client.Lock(allocation), kPageBytes}, fault) == -1, fault == kNeverDiscard);
    }
    Escape(client.node, kSetFault);
  });
}

// ---- Private data of another driver ----

// Programs of another GPU driver get memory all the same, and without any data sharing shows the driver's
// slip: it refuses the first time only.
TEST(SimTroubleAllocation, WithoutPrivateDataIsSharedTheSecondTime) {
  const MemoryClient client;
  Creation creation(client.device);
  creation.MakeShared();
  creation.SetData(0, std::vector<uint8_t>{});
  ASSERT_EQ(creation.Try(client.node), 0);
  EXPECT_TRUE(IsZero({client.Lock(creation.infos[0].allocation), 16 * kPageBytes}));
  int descriptor = -1;
  EXPECT_EQ(client.TryShare(creation.args.resource, &descriptor), -EINVAL);
  const Descriptor second(client.Share(creation.args.resource));
  d3dkmt_queryresourceinfofromnthandle info = {};
  ASSERT_EQ(client.TryQueryShared(second.get(), &info), 0);
  EXPECT_EQ(info.allocation_count, 1u);
  EXPECT_EQ(info.total_priv_drv_data_size, 0u);
  EXPECT_EQ(client.OpenShared(second.get()).allocations.size(), 1u);
}

TEST(SimTroubleAllocation, DataOfAnotherDriverComesBackAsItWas) {
  const MemoryClient client;
  Creation creation(client.device, 2);
  creation.SetData(0, std::vector<uint8_t>(1000, 0xEE));
  creation.SetData(1, std::vector<uint8_t>(3, 0x11));
  ASSERT_EQ(creation.Try(client.node), 0);
  EXPECT_EQ(creation.data[0], std::vector<uint8_t>(1000, 0xEE));
  EXPECT_EQ(creation.data[1], std::vector<uint8_t>(3, 0x11));
}

}  // namespace
}  // namespace dxg::conformance
