// ShareObjects and OpenSyncObjectFromNtHandle2: a fence in several processes, by descriptor.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <vector>

#include "tests/conformance/descriptor_post.h"
#include "tests/conformance/memory.h"
#include "tests/conformance/peer.h"
#include "tests/conformance/sync_client.h"

namespace dxg::conformance {
namespace {

// ---- Refusals ----

TEST(ShareSyncObject, RefusesWhatWasNotMadeToBeShared) {
  const SyncClient client;
  const Event event;
  int descriptor = -1;
  for (d3dkmthandle object :
       {client.CreateFence().handle, client.CreateSemaphore(0, 1), client.CreateMutex(false),
        client.CreateNotification(event.fd()), client.CreatePagingQueue().fence}) {
    EXPECT_EQ(client.TryShare(object, &descriptor), -EINVAL) << object.v;
    EXPECT_EQ(descriptor, -1);
  }
}

TEST(ShareSyncObject, RefusesTheFenceOfAHardwareQueue) {
  SKIP_WITHOUT_HW_QUEUES();
  const SyncClient client;
  int descriptor = -1;
  EXPECT_EQ(client.TryShare(client.CreateHwQueue().progress.handle, &descriptor), -EINVAL);
}

TEST(ShareSyncObject, LooksAtCountThenListThenObject) {
  const SyncClient client;
  const d3dkmthandle object = client.CreateFence(0, sync_flags::kShared).handle;
  d3dkmt_shareobjects args = {};
  args.objects = args.shared_handle = kUnmappedAddress;
  for (uint32_t count : {0u, 2u, 3u}) {
    args.object_count = count;
    EXPECT_EQ(client.node.TryIoctl(LX_DXSHAREOBJECTS, args), -EINVAL) << count;
  }
  args.object_count = 1;
  EXPECT_EQ(client.node.TryIoctl(LX_DXSHAREOBJECTS, args), -EFAULT);
  const d3dkmthandle unknown = Handle(0x40fff000);
  args.objects = Address(&unknown);
  EXPECT_EQ(client.node.TryIoctl(LX_DXSHAREOBJECTS, args), -EINVAL);
  args.objects = Address(&object);
  EXPECT_EQ(client.node.TryIoctl(LX_DXSHAREOBJECTS, args), -EFAULT) << "where the descriptor goes";
}

TEST(OpenSyncObject, RefusesWhatIsNoSharedObject) {
  const SyncClient client;
  d3dkmt_opensyncobjectfromnthandle2 args;
  const Event event;
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const Descriptor reading(ends[0]), writing(ends[1]);
  for (int bad : {reading.get(), event.fd(), client.node.fd(), 0x3ffffff0, -1})
    EXPECT_EQ(client.TryOpenSync(bad, &args), -EINVAL) << bad;
}

// [SHR] 174
TEST(OpenSyncObject, RefusesAResource) {
  SKIP_WITHOUT_ALLOCATIONS();
  const SyncClient client;
  const Descriptor resource(client.Share(client.CreateResource(1, kPageBytes, true).resource));
  const Descriptor fence(client.Share(client.CreateFence(0, sync_flags::kShared).handle));
  d3dkmt_opensyncobjectfromnthandle2 args;
  EXPECT_EQ(client.TryOpenSync(resource.get(), &args), -EINVAL);
  d3dkmt_queryresourceinfofromnthandle info = {};
  EXPECT_EQ(client.TryQueryShared(fence.get(), &info), -EINVAL);
}

TEST(OpenSyncObject, RefusesWhatIsNoDevice) {
  SyncClient client;
  const Descriptor descriptor(client.Share(client.CreateFence(0, sync_flags::kShared).handle));
  d3dkmt_opensyncobjectfromnthandle2 args;
  for (d3dkmthandle bad : {Handle(0), Handle(0x40fff000), client.CreateFence().handle}) {
    SyncClient other;
    other.device = bad;
    EXPECT_EQ(other.TryOpenSync(descriptor.get(), &args), -EINVAL) << bad.v;
  }
}

TEST(OpenSyncObject, IsUndoneWhereItsAnswerCannotBeWritten) {
  const SyncClient client;
  const Descriptor descriptor(client.Share(client.CreateFence(5, sync_flags::kShared).handle));
  GuardedMemory args(sizeof(d3dkmt_opensyncobjectfromnthandle2));
  args.as<d3dkmt_opensyncobjectfromnthandle2>()->nt_handle = static_cast<uint64_t>(descriptor.get());
  args.as<d3dkmt_opensyncobjectfromnthandle2>()->device = client.device;
  args.as<d3dkmt_opensyncobjectfromnthandle2>()->flags.value = sync_flags::kShared;
  args.MakeReadOnly();
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(client.node.TryIoctlAt(LX_DXOPENSYNCOBJECTFROMNTHANDLE2, args.address()), -EFAULT);
  EXPECT_EQ(client.OpenFence(descriptor.get(), sync_flags::kShared).Value(), 5u);
}

// ---- Descriptors ----

TEST(ShareSyncObject, EachCallGivesANewDescriptorThatClosesOnExec) {
  const SyncClient client;
  const d3dkmthandle object = client.CreateFence(0, sync_flags::kShared).handle;
  const Descriptor first(client.Share(object)), second(client.Share(object));
  EXPECT_NE(first.get(), second.get());
  EXPECT_EQ(fcntl(first.get(), F_GETFD), FD_CLOEXEC);
}

TEST(ShareSyncObject, EveryKindThatCanBeSharedIs) {
  const SyncClient client;
  for (d3dkmthandle object :
       {client.CreateFence(0, sync_flags::kShared).handle, client.CreateSemaphore(0, 1, sync_flags::kShared),
        client.CreateMutex(false, sync_flags::kShared), client.CreateLegacyFence(0, sync_flags::kShared)}) {
    const Descriptor descriptor(client.Share(object));
    const d3dkmthandle opened = client.OpenSync(descriptor.get());
    EXPECT_NE(opened.v, object.v);
    EXPECT_EQ(client.TryDestroySync(opened), 0);
    EXPECT_EQ(client.TryDestroySync(object), 0);
  }
}

// [SHR] 169: the descriptor keeps the object.
TEST(OpenSyncObject, WorksAfterTheFirstHandleIsGone) {
  const SyncClient client;
  const Fence fence = client.CreateFence(11, sync_flags::kShared);
  const Descriptor descriptor(client.Share(fence.handle));
  client.DestroySync(fence.handle);
  const Fence opened = client.OpenFence(descriptor.get(), sync_flags::kShared);
  EXPECT_EQ(opened.Value(), 11u);
}

TEST(OpenSyncObject, WorksAfterTheProcessOfTheFirstHandleIsGone) {
  const DescriptorPost post;
  Peer owner([&](Peer&) {
    const SyncClient client;
    const Descriptor descriptor(client.Share(client.CreateFence(21, sync_flags::kShared).handle));
    post.Send(descriptor.get());
  });
  const Descriptor descriptor(post.Receive());
  owner.Join();
  const SyncClient client;
  EXPECT_EQ(client.OpenFence(descriptor.get(), sync_flags::kShared).Value(), 21u);
}

TEST(OpenSyncObject, OpenedObjectsAreShareableAgain) {
  const SyncClient client;
  const Fence fence = client.CreateFence(1, sync_flags::kShared);
  const Descriptor first(client.Share(fence.handle));
  const Fence opened = client.OpenFence(first.get(), sync_flags::kShared);
  const Descriptor second(client.Share(opened.handle));
  client.DestroySync(fence.handle);
  client.DestroySync(opened.handle);
  EXPECT_EQ(client.OpenFence(second.get(), sync_flags::kShared).Value(), 1u);
}

TEST(OpenSyncObject, EachOpeningIsAHandleOfItsOwn) {
  const SyncClient client;
  const Descriptor descriptor(client.Share(client.CreateFence(3, sync_flags::kShared).handle));
  const Fence one = client.OpenFence(descriptor.get(), sync_flags::kShared);
  const Fence two = client.OpenFence(descriptor.get(), sync_flags::kShared);
  EXPECT_NE(one.handle.v, two.handle.v);
  client.DestroySync(one.handle);
  EXPECT_EQ(client.TryDestroySync(one.handle), -EINVAL);
  EXPECT_EQ(two.Value(), 3u);
  EXPECT_EQ(client.TryDestroySync(two.handle), 0);
}

TEST(OpenSyncObject, WritesHandleAndAddressesAndNothingElse) {
  const SyncClient client;
  const Descriptor descriptor(client.Share(client.CreateFence(3, sync_flags::kShared).handle));
  auto args = Filled<d3dkmt_opensyncobjectfromnthandle2>(0);
  args.nt_handle = static_cast<uint64_t>(descriptor.get());
  args.device = client.device;
  args.flags.value = sync_flags::kShared;
  const auto before = args;
  ASSERT_EQ(client.node.TryIoctl(LX_DXOPENSYNCOBJECTFROMNTHANDLE2, args), 0);
  EXPECT_NE(args.sync_object.v, 0u);
  EXPECT_EQ(args.monitored_fence.fence_value_cpu_va % kPageBytes, 0u);
  args.sync_object = Handle(0);
  args.monitored_fence.fence_value_cpu_va = args.monitored_fence.fence_value_gpu_va = 0;
  EXPECT_EQ(std::memcmp(&args, &before, sizeof(args)), 0);
}

}  // namespace
}  // namespace dxg::conformance
