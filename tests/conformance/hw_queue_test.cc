// Hardware queues: what the driver itself refuses, and in which order it looks.

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "tests/conformance/limits.h"
#include "tests/conformance/memory.h"
#include "tests/conformance/peer.h"
#include "tests/conformance/sync_client.h"

namespace dxg::conformance {
namespace {

// ---- CreateHwQueue, DestroyHwQueue ----

TEST(CreateHwQueue, RefusesWhatIsNoContext) {
  const SyncClient client;
  HwQueue queue;
  for (d3dkmthandle bad : {Handle(0), kUnknownHandle, client.device})
    EXPECT_EQ(client.TryCreateHwQueue(bad, &queue), -EINVAL) << bad.v;
}

TEST(CreateHwQueue, LooksAtContextThenSizeThenData) {
  SKIP_WITHOUT_HW_QUEUES();
  const SyncClient client;
  d3dkmt_createhwqueue args = {};
  args.context = kUnknownHandle;
  args.priv_drv_data = kUnmappedAddress;
  args.priv_drv_data_size = 4;
  EXPECT_EQ(client.node.TryIoctl(LX_DXCREATEHWQUEUE, args), -EINVAL);
  args.context = client.CreateContextWith(context_flags::kHwQueues);
  EXPECT_EQ(client.node.TryIoctl(LX_DXCREATEHWQUEUE, args), -EFAULT);
  args.priv_drv_data_size = kMessageMax + 1;
  EXPECT_EQ(client.node.TryIoctl(LX_DXCREATEHWQUEUE, args), -EINVAL);
}

TEST(CreateHwQueue, WritesItsFourFieldsAndNothingElse) {
  SKIP_WITHOUT_HW_QUEUES();
  const SyncClient client;
  d3dkmt_createhwqueue args = {};
  args.context = client.CreateContextWith(context_flags::kHwQueues);
  const auto before = args;
  ASSERT_EQ(client.node.TryIoctl(LX_DXCREATEHWQUEUE, args), 0);
  EXPECT_NE(args.queue.v, 0u);
  EXPECT_NE(args.queue_progress_fence.v, 0u);
  EXPECT_NE(args.queue.v, args.queue_progress_fence.v);
  EXPECT_EQ(args.queue_progress_fence_cpu_va % kPageBytes, 0u);
  args.queue = args.queue_progress_fence = Handle(0);
  args.queue_progress_fence_cpu_va = args.queue_progress_fence_gpu_va = 0;
  EXPECT_EQ(std::memcmp(&args, &before, sizeof(args)), 0);
}

TEST(CreateHwQueue, IsUndoneWhereItsAnswerCannotBeWritten) {
  SKIP_WITHOUT_HW_QUEUES();
  const SyncClient client;
  GuardedMemory args(sizeof(d3dkmt_createhwqueue));
  args.as<d3dkmt_createhwqueue>()->context = client.CreateContextWith(context_flags::kHwQueues);
  args.MakeReadOnly();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(client.node.TryIoctlAt(LX_DXCREATEHWQUEUE, args.address()), -EFAULT);
  EXPECT_EQ(client.CreateHwQueue().progress.Value(), 0u);
}

TEST(CreateHwQueue, OneContextHasMany) {
  SKIP_WITHOUT_HW_QUEUES();
  const SyncClient client;
  const d3dkmthandle context = client.CreateContextWith(context_flags::kHwQueues);
  HwQueue first, second;
  ASSERT_EQ(client.TryCreateHwQueue(context, &first), 0);
  ASSERT_EQ(client.TryCreateHwQueue(context, &second), 0);
  EXPECT_NE(first.handle.v, second.handle.v);
  EXPECT_NE(first.progress.value, second.progress.value);
}

TEST(DestroyHwQueue, RefusesWhatIsNoQueue) {
  SKIP_WITHOUT_HW_QUEUES();
  const SyncClient client;
  const HwQueue queue = client.CreateHwQueue();
  for (d3dkmthandle bad : {Handle(0), kUnknownHandle, client.device, queue.progress.handle})
    EXPECT_EQ(client.TryDestroyHwQueue(bad), -EINVAL) << bad.v;
  EXPECT_EQ(client.TryDestroyHwQueue(queue.handle), 0);
  EXPECT_EQ(client.TryDestroyHwQueue(queue.handle), -EINVAL);
  EXPECT_TRUE(IsGivenBack(const_cast<const uint64_t*>(queue.progress.value)));
}

// [CTX] 66
TEST(DestroyHwQueue, TakesTheFenceAlong) {
  SKIP_WITHOUT_HW_QUEUES();
  const SyncClient client;
  const d3dkmthandle context = client.CreateContext();
  const HwQueue queue = client.CreateHwQueue();
  EXPECT_EQ(client.TryGpuWait(context, queue.progress.handle, 0), 0);
  ASSERT_EQ(client.TryDestroyHwQueue(queue.handle), 0);
  EXPECT_EQ(client.TryGpuWait(context, queue.progress.handle, 0), -EINVAL);
  EXPECT_EQ(client.TryHwWait(queue, queue.progress.handle, 0), -EINVAL);
}

TEST(DestroyHwQueue, HappensWithItsContextAndItsDevice) {
  SKIP_WITHOUT_HW_QUEUES();
  const SyncClient client;
  const d3dkmthandle context = client.CreateContextWith(context_flags::kHwQueues);
  HwQueue queue;
  ASSERT_EQ(client.TryCreateHwQueue(context, &queue), 0);
  client.node.DestroyContext(context);
  EXPECT_EQ(client.TryDestroyHwQueue(queue.handle), -EINVAL);
  const HwQueue another = client.CreateHwQueue();
  client.node.DestroyDevice(client.device);
  EXPECT_EQ(client.TryDestroyHwQueue(another.handle), -EINVAL);
}

// ---- All calls of a queue ----

TEST(HwQueueCalls, RefuseAContext) {
  SKIP_WITHOUT_HW_QUEUES();
  const SyncClient client;
  const d3dkmthandle context = client.CreateContextWith(context_flags::kHwQueues);
  const Fence fence = client.CreateFence();
  const uint64_t value = 0;
  EXPECT_EQ(client.TryHwWait(context, {&fence.handle, 1}, {&value, 1}), -EINVAL);
  EXPECT_EQ(client.TryHwSignal({&context, 1}, {&fence.handle, 1}, {&value, 1}), -EINVAL);
  EXPECT_EQ(client.TryHwSubmit(context, 1, 0x10000, 64), -EINVAL);
}

}  // namespace
}  // namespace dxg::conformance
