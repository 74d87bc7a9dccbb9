// CreateSynchronizationObject, DestroySynchronizationObject: what the driver itself decides about fences and
// events.

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <set>
#include <vector>

#include "tests/conformance/memory.h"
#include "tests/conformance/peer.h"
#include "tests/conformance/race.h"
#include "tests/conformance/sync_client.h"

namespace dxg::conformance {
namespace {

int TryCreateNotification(const SyncClient& client, uint64_t event, uint64_t* id = nullptr) {
  auto args = client.ObjectArgs(_D3DDDI_CPU_NOTIFICATION);
  args.info.cpu_notification.event = event;
  const int result = client.TryCreateSync(args);
  if (id != nullptr) *id = args.info.cpu_notification.event;
  return result;
}

// ---- Refusals ----

TEST(CreateSyncObject, RefusesWhatIsNoDevice) {
  const SyncClient client;
  const Fence fence = client.CreateFence();
  for (d3dkmthandle bad : {Handle(0), Handle(0x40fff000), fence.handle}) {
    auto args = client.FenceArgs();
    args.device = bad;
    EXPECT_EQ(client.TryCreateSync(args), -EINVAL) << bad.v;
  }
  client.node.DestroyDevice(client.device);
  auto args = client.FenceArgs();
  EXPECT_EQ(client.TryCreateSync(args), -EINVAL);
}

TEST(CreateSyncObject, SharedTakesTheFlagOfSecurityToo) {
  const SyncClient client;
  for (uint32_t type : {_D3DDDI_SYNCHRONIZATION_MUTEX, _D3DDDI_SEMAPHORE, _D3DDDI_FENCE,
                        _D3DDDI_CPU_NOTIFICATION, _D3DDDI_MONITORED_FENCE}) {
    auto args = client.FenceArgs(0, 1);
    args.info.type = type;
    EXPECT_EQ(client.TryCreateSync(args), -EINVAL) << type;
  }
}

TEST(CreateSyncObject, AnEventIsAnEventfd) {
  const SyncClient client;
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const Descriptor reading(ends[0]), writing(ends[1]);
  Event closed;
  const int number = closed.fd();
  closed.Close();
  for (uint64_t bad : std::vector<uint64_t>{uint64_t(reading.get()), uint64_t(client.node.fd()),
                                            uint64_t(number), uint64_t{0x3ffffff0}, ~0ull, uint64_t{1} << 31})
    EXPECT_EQ(TryCreateNotification(client, bad), -EINVAL) << bad;
}

TEST(CreateSyncObject, IsUndoneWhereItsAnswerCannotBeWritten) {
  const SyncClient client;
  GuardedMemory args(sizeof(d3dkmt_createsynchronizationobject2));
  *args.as<d3dkmt_createsynchronizationobject2>() = client.FenceArgs();
  args.MakeReadOnly();
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(client.node.TryIoctlAt(LX_DXCREATESYNCHRONIZATIONOBJECT, args.address()), -EFAULT);
  EXPECT_EQ(client.CreateFence(7).Value(), 7u);
}

TEST(DestroySyncObject, RefusesWhatIsNone) {
  const SyncClient client;
  const Fence fence = client.CreateFence();
  const PagingQueue queue = client.CreatePagingQueue();
  for (d3dkmthandle bad : {Handle(0), Handle(0x40fff000), client.device, queue.handle})
    EXPECT_EQ(client.TryDestroySync(bad), -EINVAL) << bad.v;
  EXPECT_EQ(client.TryDestroySync(fence.handle), 0);
  EXPECT_EQ(client.TryDestroySync(fence.handle), -EINVAL);
}

TEST(DestroySyncObject, RefusesTheFenceOfAQueue) {
  SKIP_WITHOUT_HW_QUEUES();
  const SyncClient client;
  const PagingQueue paging = client.CreatePagingQueue();
  const HwQueue hardware = client.CreateHwQueue();
  EXPECT_EQ(client.TryDestroySync(paging.fence), -EINVAL);
  EXPECT_EQ(client.TryDestroySync(hardware.progress.handle), -EINVAL);
  EXPECT_EQ(paging.Value(), 0u);
  EXPECT_EQ(hardware.progress.Value(), 0u);
}

TEST(DestroySyncObject, RefusesThatOfAnotherClient) {
  Peer other([](Peer& parent) {
    const SyncClient client;
    Fence last = client.CreateFence();
    for (int i = 0; i < 50; ++i) last = client.CreateFence();
    parent.Send(last.handle.v);
    parent.Receive();
    EXPECT_EQ(client.TryDestroySync(last.handle), 0);
  });
  const SyncClient client;
  EXPECT_EQ(client.TryDestroySync(Handle(static_cast<uint32_t>(other.Receive()))), -EINVAL);
  other.Send(0);
  other.Join();
}

// ---- Monitored fences ----

TEST(CreateSyncObject, WritesHandleAndAddressesOfAFenceAndNothingElse) {
  const SyncClient client;
  auto args = client.FenceArgs(42);
  const auto before = args;
  ASSERT_EQ(client.TryCreateSync(args), 0);
  EXPECT_NE(args.sync_object.v, 0u);
  EXPECT_NE(args.info.monitored_fence.fence_cpu_virtual_address, 0u);
  EXPECT_EQ(args.info.monitored_fence.fence_cpu_virtual_address % kPageBytes, 0u);
  EXPECT_EQ(args.info.monitored_fence.fence_gpu_virtual_address % sizeof(uint64_t), 0u);
  args.sync_object = Handle(0);
  args.info.monitored_fence.fence_cpu_virtual_address = args.info.monitored_fence.fence_gpu_virtual_address =
      0;
  EXPECT_EQ(std::memcmp(&args, &before, sizeof(args)), 0);
}

TEST(CreateSyncObject, AFenceShowsItsInitialValue) {
  const SyncClient client;
  for (uint64_t initial : std::vector<uint64_t>{0, 1, 0xffffffff, uint64_t{1} << 32, ~0ull - 1, ~0ull})
    EXPECT_EQ(client.CreateFence(initial).Value(), initial);
}

TEST(CreateSyncObject, EachFenceHasItsOwnPage) {
  const SyncClient client;
  std::set<uint32_t> handles;
  std::set<uint64_t> pages;
  for (uint64_t i = 0; i < 40; ++i) {
    const Fence fence = client.CreateFence(i);
    handles.insert(fence.handle.v);
    pages.insert(Address(const_cast<const uint64_t*>(fence.value)) / kPageBytes);
    EXPECT_EQ(fence.Value(), i);
  }
  EXPECT_EQ(handles.size(), 40u);
  EXPECT_EQ(pages.size(), 40u);
}

TEST(DestroySyncObject, TakesThePageAway) {
  const SyncClient client;
  const Fence fence = client.CreateFence(1), kept = client.CreateFence(2);
  ASSERT_EQ(client.TryDestroySync(fence.handle), 0);
  EXPECT_TRUE(IsGivenBack(const_cast<const uint64_t*>(fence.value)));
  EXPECT_EQ(kept.Value(), 2u);
}

// A monitored fence belongs to its device; the older objects to the adapter.
TEST(DestroySyncObject, AMonitoredFenceGoesWithItsDevice) {
  SyncClient client;
  const Fence fence = client.CreateFence();
  const d3dkmthandle semaphore = client.CreateSemaphore(0, 1), mutex = client.CreateMutex(false);
  const Event event;
  const d3dkmthandle notification = client.CreateNotification(event.fd());
  client.node.DestroyDevice(client.device);
  EXPECT_EQ(client.TryDestroySync(fence.handle), -EINVAL);
  EXPECT_TRUE(IsGivenBack(const_cast<const uint64_t*>(fence.value)));
  for (d3dkmthandle older : {semaphore, mutex, notification}) EXPECT_EQ(client.TryDestroySync(older), 0);
}

TEST(DestroySyncObject, OneOfManyThreadsWins) {
  const SyncClient client;
  for (int round = 0; round < 25; ++round) {
    const Fence fence = client.CreateFence();
    ExpectOneWinner([&] { return client.TryDestroySync(fence.handle); });
  }
}

TEST(DestroySyncObject, HappensWithTheProcess) {
  Peer other([](Peer& parent) {
    const SyncClient client;
    for (int i = 0; i < 100; ++i) client.CreateFence();
    parent.Send(0);
    parent.Receive();
  });
  other.Receive();
  other.Kill();
  const SyncClient client;
  EXPECT_EQ(client.CreateFence(3).Value(), 3u);
}

// ---- Events ----

// The descriptor goes in, the number that the host knows the event by comes out.
TEST(CreateSyncObject, ANotificationReadsBackAsANewEventId) {
  const SyncClient client;
  const Event event;
  uint64_t last = 1;  // ids begin at 2
  for (int i = 0; i < 5; ++i) {
    uint64_t id = 0;
    ASSERT_EQ(TryCreateNotification(client, static_cast<uint64_t>(event.fd()), &id), 0);
    EXPECT_GT(id, last) << "never reused";
    last = id;
  }
}

TEST(CreateSyncObject, OnlyTheLowHalfOfAnEventCounts) {
  const SyncClient client;
  const Event event;
  EXPECT_EQ(TryCreateNotification(client, uint64_t{1} << 32 | static_cast<uint64_t>(event.fd())), 0);
}

TEST(CreateSyncObject, TheSameEventServesManyObjects) {
  const SyncClient client;
  const Event event;
  std::vector<d3dkmthandle> objects;
  for (int i = 0; i < 20; ++i) objects.push_back(client.CreateNotification(event.fd()));
  for (d3dkmthandle object : objects) EXPECT_EQ(client.TryDestroySync(object), 0);
  EXPECT_EQ(event.Take(), 0u) << "destroying signals nothing";
}

}  // namespace
}  // namespace dxg::conformance
