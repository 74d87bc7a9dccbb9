// CreatePagingQueue, DestroyPagingQueue, and the fence that says how far a queue is.

#include <gtest/gtest.h>

#include <cstring>
#include <set>

#include "tests/conformance/memory.h"
#include "tests/conformance/memory_client.h"
#include "tests/conformance/peer.h"
#include "tests/conformance/race.h"

namespace dxg::conformance {
namespace {

int TryCreatePagingQueue(const Node& node, d3dkmthandle device) {
  d3dkmt_createpagingqueue args = {};
  args.device = device;
  return node.TryIoctl(LX_DXCREATEPAGINGQUEUE, args);
}

// ---- Refusals ----

TEST(CreatePagingQueue, RefusesWhatIsNoDevice) {
  const MemoryClient client;
  const PagingQueue queue = client.CreatePagingQueue();
  for (d3dkmthandle bad : {Handle(0), Handle(0x40fff000), queue.handle, queue.fence})
    EXPECT_EQ(TryCreatePagingQueue(client.node, bad), -EINVAL) << bad.v;
  client.node.DestroyDevice(client.device);
  EXPECT_EQ(TryCreatePagingQueue(client.node, client.device), -EINVAL);
}

TEST(CreatePagingQueue, IsUndoneWhereItsAnswerCannotBeWritten) {
  const MemoryClient client;
  GuardedMemory args(sizeof(d3dkmt_createpagingqueue));
  args.as<d3dkmt_createpagingqueue>()->device = client.device;
  args.MakeReadOnly();
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(client.node.TryIoctlAt(LX_DXCREATEPAGINGQUEUE, args.address()), -EFAULT);
  EXPECT_EQ(client.CreatePagingQueue().Value(), 0u);
}

TEST(DestroyPagingQueue, RefusesWhatIsNoQueue) {
  const MemoryClient client;
  const PagingQueue queue = client.CreatePagingQueue();
  for (d3dkmthandle bad : {Handle(0), Handle(0x40fff000), client.device, queue.fence})
    EXPECT_EQ(client.TryDestroyPagingQueue(bad), -EINVAL) << bad.v;
  EXPECT_EQ(queue.Value(), 0u);
  EXPECT_EQ(client.TryDestroyPagingQueue(queue.handle), 0);
  EXPECT_EQ(client.TryDestroyPagingQueue(queue.handle), -EINVAL);
}

TEST(DestroyPagingQueue, RefusesTheQueueOfAnotherClient) {
  Peer other([](Peer& parent) {
    const MemoryClient client;
    PagingQueue last = client.CreatePagingQueue();
    for (int i = 0; i < 50; ++i) last = client.CreatePagingQueue();
    parent.Send(last.handle.v);
    parent.Receive();
    EXPECT_EQ(last.Value(), 0u);
    EXPECT_EQ(client.TryDestroyPagingQueue(last.handle), 0);
  });
  const MemoryClient client;
  EXPECT_EQ(client.TryDestroyPagingQueue(Handle(static_cast<uint32_t>(other.Receive()))), -EINVAL);
  other.Send(0);
  other.Join();
}

// ---- Success ----

TEST(CreatePagingQueue, WritesHandlesAndAddressAndNothingElse) {
  const MemoryClient client;
  d3dkmt_createpagingqueue args = {};
  args.device = client.device;
  const d3dkmt_createpagingqueue before = args;
  ASSERT_EQ(client.node.TryIoctl(LX_DXCREATEPAGINGQUEUE, args), 0);
  EXPECT_NE(args.paging_queue.v, 0u);
  EXPECT_NE(args.sync_object.v, 0u);
  EXPECT_NE(args.paging_queue.v, args.sync_object.v);
  EXPECT_EQ(args.fence_cpu_virtual_address % kPageBytes, 0u);
  args.paging_queue = args.sync_object = Handle(0);
  args.fence_cpu_virtual_address = 0;
  EXPECT_EQ(std::memcmp(&args, &before, sizeof(args)), 0);
}

TEST(CreatePagingQueue, FenceStartsAtZero) {
  const MemoryClient client;
  const PagingQueue queue = client.CreatePagingQueue();
  EXPECT_EQ(queue.Value(), 0u);
}

TEST(CreatePagingQueue, TakesEveryPriority) {
  const MemoryClient client;
  for (int priority : {-1, 0, 1}) {
    d3dkmt_createpagingqueue args = {};
    args.device = client.device;
    args.priority = priority;
    EXPECT_EQ(client.node.TryIoctl(LX_DXCREATEPAGINGQUEUE, args), 0) << priority;
  }
}

TEST(CreatePagingQueue, GivesEachQueueItsOwnFence) {
  const MemoryClient client;
  std::set<uint32_t> handles;
  std::set<uint64_t> pages;
  for (int i = 0; i < 20; ++i) {
    const PagingQueue queue = client.CreatePagingQueue();
    handles.insert({queue.handle.v, queue.fence.v});
    pages.insert(Address(const_cast<const uint64_t*>(queue.value)));
  }
  EXPECT_EQ(handles.size(), 40u);
  EXPECT_EQ(pages.size(), 20u);
}

// [GEN] 9: whatever an operation gives as its fence value, the fence gets there, and never goes back.
TEST(PagingFence, ReachesEveryValueThatWasPending) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const PagingQueue queue = client.CreatePagingQueue();
  const d3dkmthandle allocation = client.Create(16 * kPageBytes);
  uint64_t last = 0;
  for (int round = 0; round < 20; ++round) {
    uint64_t value = 0;
    const int result = client.TryMakeResident(queue, {&allocation, 1}, 0, &value);
    ASSERT_TRUE(result == 0 || result == kPending) << ResultName(result);
    if (result == kPending) {
      EXPECT_GT(value, last) << "values grow";
      queue.WaitFor(value);
      last = value;
    }
    EXPECT_GE(queue.Value(), last);
    client.Evict({&allocation, 1});
  }
}

TEST(PagingFence, QueuesDoNotMoveEachOther) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const PagingQueue busy = client.CreatePagingQueue(), idle = client.CreatePagingQueue();
  for (int i = 0; i < 10; ++i) {
    const d3dkmthandle allocation = client.Create(kMiB);
    client.MakeResident(busy, {&allocation, 1});
  }
  EXPECT_EQ(idle.Value(), 0u);
}

// A store is not for programs: whether it faults or is lost is the node's, but others do not see it.
TEST(PagingFence, IsSeenByTheCreatorOnly) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  const PagingQueue queue = client.CreatePagingQueue();
  const d3dkmthandle allocation = client.Create();
  client.MakeResident(queue, {&allocation, 1});
  InFreshProcess([] {
    const MemoryClient other;
    EXPECT_EQ(other.CreatePagingQueue().Value(), 0u);
  });
}

TEST(DestroyPagingQueue, TakesTheFenceAway) {
  const MemoryClient client;
  const PagingQueue queue = client.CreatePagingQueue(), kept = client.CreatePagingQueue();
  ASSERT_EQ(client.TryDestroyPagingQueue(queue.handle), 0);
  EXPECT_TRUE(IsGivenBack(const_cast<const uint64_t*>(queue.value)));
  EXPECT_EQ(kept.Value(), 0u);
}

// The answer comes after the last operation, so nobody is left waiting for a fence that is gone.
TEST(DestroyPagingQueue, WaitsForWhatIsPending) {
  SKIP_WITHOUT_ALLOCATIONS();
  const MemoryClient client;
  for (int round = 0; round < 5; ++round) {
    const PagingQueue queue = client.CreatePagingQueue(), other = client.CreatePagingQueue();
    const d3dkmthandle allocation = client.Create(8 * kMiB);
    const int result = client.TryMakeResident(queue, {&allocation, 1});
    ASSERT_TRUE(result == 0 || result == kPending) << ResultName(result);
    ASSERT_EQ(client.TryDestroyPagingQueue(queue.handle), 0);
    EXPECT_EQ(client.TryMakeResident(other, {&allocation, 1}), 0) << "it has arrived";
    client.Destroy(allocation);
  }
}

TEST(DestroyPagingQueue, HappensWithItsDevice) {
  MemoryClient client;
  const d3dkmthandle other = client.node.CreateDevice(client.node.FirstAdapter());
  const PagingQueue queue = client.CreatePagingQueueOn(other), kept = client.CreatePagingQueue();
  client.node.DestroyDevice(other);
  EXPECT_EQ(client.TryDestroyPagingQueue(queue.handle), -EINVAL);
  EXPECT_TRUE(IsGivenBack(const_cast<const uint64_t*>(queue.value)));
  EXPECT_EQ(kept.Value(), 0u);
}

TEST(DestroyPagingQueue, OneOfManyThreadsWins) {
  const MemoryClient client;
  for (int round = 0; round < 25; ++round) {
    const PagingQueue queue = client.CreatePagingQueue();
    ExpectOneWinner([&] { return client.TryDestroyPagingQueue(queue.handle); });
  }
}

}  // namespace
}  // namespace dxg::conformance
