// Shared resources of the simulated host: who may lock them, and what they count. Numbers in brackets are
// rules of docs/host-rules.md.

#include <gtest/gtest.h>

#include <vector>

#include "tests/conformance/memory_client.h"
#include "tests/conformance/peer.h"
#include "tests/conformance/sync_client.h"

namespace dxg::conformance {
namespace {

// Memory that may lie in the adapter shows only to the process that made it.
TEST(SimShare, OpenerMayNotLockWhatMayLieInTheAdapter) {
  const MemoryClient client;
  const SharedResource shared = client.CreateResource(1, kPageBytes, true);
  const Descriptor descriptor(client.Share(shared.resource));
  InFreshProcess([&] {
    const MemoryClient own;
    const SharedResource opened = own.OpenShared(descriptor.get());
    EXPECT_EQ(own.TryLock(opened.allocations[0]), -EINVAL);
    EXPECT_EQ(own.TryUnlock(opened.allocations[0]), -EINVAL);
  });
  EXPECT_EQ(client.TryLock(shared.allocations[0]), 0);
}

// [SHR] 175: locks and counts of residency are each handle's own
TEST(SimShare, EachHandleCountsForItself) {
  const MemoryClient client;
  const PagingQueue queue = client.CreatePagingQueue();
  const SharedResource shared = client.CreateResource(1, kPageBytes, true);
  const Descriptor descriptor(client.Share(shared.resource));
  const SharedResource opened = client.OpenShared(descriptor.get());
  client.MakeResident(queue, shared.allocations);
  client.MakeResident(queue, opened.allocations);
  client.Evict(shared.allocations);
  EXPECT_NE(client.Residency(shared.allocations[0]), uint32_t{_D3DKMT_ALLOCATIONRESIDENCYSTATUS_NOTRESIDENT})
      << "one memory, and the other handle wants it there";
  client.Evict(opened.allocations);
  EXPECT_EQ(client.Residency(shared.allocations[0]), uint32_t{_D3DKMT_ALLOCATIONRESIDENCYSTATUS_NOTRESIDENT});
  client.Lock(shared.allocations[0]);
  EXPECT_EQ(client.TryUnlock(opened.allocations[0]), -EINVAL);
  client.Unlock(shared.allocations[0]);
}

// [SHR] 170. Handles of what is still open would push the numbers up.
TEST(SimShare, NothingIsLeftOfWhatWasOpenedInVain) {
  InFreshProcess([] {
    const MemoryClient client;
    const SharedResource shared = client.CreateResource(8, kPageBytes, true);
    const Descriptor descriptor(client.Share(shared.resource));
    const uint32_t before = client.Create().index;
    for (int i = 0; i < 50; ++i) {
      Opening opening(client.node, client.device, descriptor.get());
      opening.args.open_alloc_info = 0x1000;
      EXPECT_EQ(opening.Try(client.node), 0);
      EXPECT_EQ(opening.args.resource.v, 0u);
    }
    EXPECT_LT(client.Create().index, before + 50 * 9 + 64);
    EXPECT_EQ(client.OpenShared(descriptor.get()).allocations.size(), 8u);
  });
}

// A creator that is gone takes its own count along, not the other's.
TEST(SimShare, UsageIsEachProcesssOwn) {
  InFreshProcess([] {
    MemoryClient client;
    const auto usage = [](MemoryClient& of) {
      uint64_t sum = 0;
      for (uint32_t group : {0u, 1u}) {
        d3dkmt_queryvideomemoryinfo info = {};
        info.adapter = of.node.FirstAdapter();
        info.memory_segment_group = group;
        of.node.Ioctl(LX_DXQUERYVIDEOMEMORYINFO, info, "QueryVideoMemoryInfo");
        sum += info.current_usage;
      }
      return sum;
    };
    const SharedResource shared = client.CreateResource(1, kMiB, true);
    const Descriptor descriptor(client.Share(shared.resource));
    client.MakeResident(client.CreatePagingQueue(), shared.allocations);
    EXPECT_EQ(usage(client), kMiB);
    InFreshProcess([&] {
      MemoryClient own;
      const SharedResource opened = own.OpenShared(descriptor.get());
      EXPECT_EQ(usage(own), 0u);
      own.MakeResident(own.CreatePagingQueue(), opened.allocations);
      EXPECT_EQ(usage(own), kMiB);
    });
    EXPECT_EQ(usage(client), kMiB);
  });
}

TEST(SimShareObjectWithHost, GivesANumberForASharedObjectOnly) {
  const SyncClient client;
  d3dkmt_shareobjectwithhost args = {};
  args.device_handle = client.device;
  args.object_handle = client.CreateFence().handle;
  EXPECT_EQ(client.node.TryIoctl(LX_DXSHAREOBJECTWITHHOST, args), -EINVAL);
  EXPECT_EQ(args.object_vail_nt_handle, 0u);
  args.object_handle = client.CreateFence(0, sync_flags::kShared).handle;
  ASSERT_EQ(client.node.TryIoctl(LX_DXSHAREOBJECTWITHHOST, args), 0);
  EXPECT_NE(args.object_vail_nt_handle, 0u);
  args.object_handle = client.device;
  EXPECT_EQ(client.node.TryIoctl(LX_DXSHAREOBJECTWITHHOST, args), -EINVAL);
}

}  // namespace
}  // namespace dxg::conformance
