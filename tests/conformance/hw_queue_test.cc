// Hardware queues and submission: what the driver itself refuses, and in which order it looks.

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

// ---- Signals and waits of a queue ----

// The lists of a wait are read before its queue is looked up.
TEST(HwQueueWait, LooksAtCountThenListsThenQueue) {
  const SyncClient client;
  const Fence fence = client.CreateFence();
  const uint64_t value = 0;
  d3dkmt_submitwaitforsyncobjectstohwqueue args = {};
  args.hwqueue = kUnknownHandle;
  args.objects = args.fence_values = kUnmappedAddress;
  for (uint32_t count : {0u, 33u}) {
    args.object_count = count;
    EXPECT_EQ(client.node.TryIoctl(LX_DXSUBMITWAITFORSYNCOBJECTSTOHWQUEUE, args), -EINVAL) << count;
  }
  args.object_count = 1;
  EXPECT_EQ(client.node.TryIoctl(LX_DXSUBMITWAITFORSYNCOBJECTSTOHWQUEUE, args), -EFAULT);
  args.objects = Address(&fence.handle);
  EXPECT_EQ(client.node.TryIoctl(LX_DXSUBMITWAITFORSYNCOBJECTSTOHWQUEUE, args), -EFAULT);
  args.fence_values = Address(&value);
  EXPECT_EQ(client.node.TryIoctl(LX_DXSUBMITWAITFORSYNCOBJECTSTOHWQUEUE, args), -EINVAL);
}

TEST(HwQueueSignal, LooksAtCountsThenFirstQueueThenLists) {
  SKIP_WITHOUT_HW_QUEUES();
  const SyncClient client;
  const HwQueue queue = client.CreateHwQueue();
  d3dkmt_submitsignalsyncobjectstohwqueue args = {};
  args.hwqueues = args.objects = args.fence_values = kUnmappedAddress;
  args.object_count = 1;
  for (uint32_t count : {0u, 65u}) {
    args.hwqueue_count = count;
    EXPECT_EQ(client.node.TryIoctl(LX_DXSUBMITSIGNALSYNCOBJECTSTOHWQUEUE, args), -EINVAL) << count;
  }
  args.hwqueue_count = 1;
  for (uint32_t count : {0u, 33u}) {
    args.object_count = count;
    EXPECT_EQ(client.node.TryIoctl(LX_DXSUBMITSIGNALSYNCOBJECTSTOHWQUEUE, args), -EINVAL) << count;
  }
  args.object_count = 1;
  EXPECT_EQ(client.node.TryIoctl(LX_DXSUBMITSIGNALSYNCOBJECTSTOHWQUEUE, args), -EFAULT);
  args.hwqueues = Address(&kUnknownHandle);
  EXPECT_EQ(client.node.TryIoctl(LX_DXSUBMITSIGNALSYNCOBJECTSTOHWQUEUE, args), -EINVAL);
  args.hwqueues = Address(&queue.handle);
  EXPECT_EQ(client.node.TryIoctl(LX_DXSUBMITSIGNALSYNCOBJECTSTOHWQUEUE, args), -EFAULT);
}

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

// ---- SubmitCommand, SubmitCommandToHwQueue ----

TEST(SubmitCommand, LooksAtCountsThenContextThenLists) {
  SKIP_WITHOUT_CONTEXTS();
  const SyncClient client;
  d3dkmt_submitcommand args = {};
  args.command_buffer = 0x10000;
  args.command_length = 64;
  args.broadcast_context[0] = kUnknownHandle;
  args.history_buffer_array = args.priv_drv_data = kUnmappedAddress;
  args.priv_drv_data_size = 4;
  for (uint32_t count : {0u, 65u, 0xffffffffu}) {
    args.broadcast_context_count = count;
    EXPECT_EQ(client.node.TryIoctl(LX_DXSUBMITCOMMAND, args), -EINVAL) << count;
  }
  args.broadcast_context_count = 1;
  EXPECT_EQ(client.node.TryIoctl(LX_DXSUBMITCOMMAND, args), -EINVAL) << "the context";
  args.broadcast_context[0] = client.CreateContext();
  EXPECT_EQ(client.node.TryIoctl(LX_DXSUBMITCOMMAND, args), -EFAULT) << "the private data";
  args.priv_drv_data_size = 0;
  args.num_history_buffers = 1;
  EXPECT_EQ(client.node.TryIoctl(LX_DXSUBMITCOMMAND, args), -EFAULT) << "the history";
  args.num_history_buffers = 1025;
  EXPECT_EQ(client.node.TryIoctl(LX_DXSUBMITCOMMAND, args), -EINVAL);
}

TEST(SubmitCommand, MorePrivateDataThanAMessageHoldsIsRefused) {
  SKIP_WITHOUT_CONTEXTS();
  const SyncClient client;
  std::vector<uint8_t> data(kMessageMax, 0);
  d3dkmt_submitcommand args = {};
  args.command_buffer = 0x10000;
  args.command_length = 64;
  args.broadcast_context_count = 1;
  args.broadcast_context[0] = client.CreateContext();
  args.priv_drv_data = Address(data.data());
  args.priv_drv_data_size = kMessageMax;
  EXPECT_EQ(client.node.TryIoctl(LX_DXSUBMITCOMMAND, args), -EINVAL);
}

TEST(SubmitCommandToHwQueue, LooksAtSizesThenQueueThenLists) {
  SKIP_WITHOUT_HW_QUEUES();
  const SyncClient client;
  const HwQueue queue = client.CreateHwQueue();
  d3dkmt_submitcommandtohwqueue args = {};
  args.hwqueue = kUnknownHandle;
  args.hwqueue_progress_fence_id = 1;
  args.command_buffer = 0x10000;
  args.command_length = 64;
  args.written_primaries = args.priv_drv_data = kUnmappedAddress;
  args.num_primaries = kMessageMax + 1;
  EXPECT_EQ(client.node.TryIoctl(LX_DXSUBMITCOMMANDTOHWQUEUE, args), -EINVAL);
  args.num_primaries = 1;
  EXPECT_EQ(client.node.TryIoctl(LX_DXSUBMITCOMMANDTOHWQUEUE, args), -EINVAL) << "the queue";
  args.hwqueue = queue.handle;
  EXPECT_EQ(client.node.TryIoctl(LX_DXSUBMITCOMMANDTOHWQUEUE, args), -EFAULT) << "the primaries";
  args.num_primaries = 0;
  args.priv_drv_data_size = 1;
  EXPECT_EQ(client.node.TryIoctl(LX_DXSUBMITCOMMANDTOHWQUEUE, args), -EFAULT) << "the private data";
  EXPECT_EQ(queue.progress.Value(), 0u);
}

}  // namespace
}  // namespace dxg::conformance
