// Signals and waits, from the CPU and in the order of a context: what the driver itself refuses, and in which
// order it looks. What the host then does is in the suites Sim*.

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <vector>

#include "tests/conformance/memory.h"
#include "tests/conformance/peer.h"
#include "tests/conformance/sync_client.h"

namespace dxg::conformance {
namespace {

// ---- SignalSynchronizationObjectFromCpu ----

TEST(SignalFromCpu, LooksAtCountThenDeviceThenLists) {
  const SyncClient client;
  d3dkmt_signalsynchronizationobjectfromcpu args = {};
  args.objects = args.fence_values = kUnmappedAddress;
  for (uint32_t count : {0u, 33u, 0xffffffffu}) {
    args.object_count = count;
    args.device = client.device;
    EXPECT_EQ(client.node.TryIoctl(LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMCPU, args), -EINVAL) << count;
  }
  args.object_count = 1;
  args.device = kUnknownHandle;
  EXPECT_EQ(client.node.TryIoctl(LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMCPU, args), -EINVAL);
  args.device = client.device;
  EXPECT_EQ(client.node.TryIoctl(LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMCPU, args), -EFAULT);
  const Fence fence = client.CreateFence();
  args.objects = Address(&fence.handle);
  EXPECT_EQ(client.node.TryIoctl(LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMCPU, args), -EFAULT);
  EXPECT_EQ(fence.Value(), 0u);
}

TEST(SignalFromCpu, RefusesWhatIsNoDevice) {
  const SyncClient client;
  const Fence fence = client.CreateFence();
  const uint64_t value = 1;
  d3dkmt_signalsynchronizationobjectfromcpu args = {};
  args.object_count = 1;
  args.objects = Address(&fence.handle);
  args.fence_values = Address(&value);
  for (d3dkmthandle bad : {Handle(0), kUnknownHandle, fence.handle}) {
    args.device = bad;
    EXPECT_EQ(client.node.TryIoctl(LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMCPU, args), -EINVAL) << bad.v;
  }
  EXPECT_EQ(fence.Value(), 0u);
}

// ---- WaitForSynchronizationObjectFromCpu ----

TEST(WaitFromCpu, LooksAtCountThenEventThenDeviceThenLists) {
  const SyncClient client;
  const Fence fence = client.CreateFence();
  d3dkmt_waitforsynchronizationobjectfromcpu args = {};
  args.device = client.device;
  args.objects = args.fence_values = kUnmappedAddress;
  for (uint32_t count : {0u, 131073u, 0xffffffffu}) {
    args.object_count = count;
    EXPECT_EQ(client.node.TryIoctl(LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMCPU, args), -EINVAL) << count;
  }
  args.object_count = 1;
  args.async_event = 0x3ffffff0;
  EXPECT_EQ(client.node.TryIoctl(LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMCPU, args), -EINVAL) << "the event";
  args.async_event = 0;
  args.device = kUnknownHandle;
  EXPECT_EQ(client.node.TryIoctl(LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMCPU, args), -EINVAL) << "the device";
  args.device = client.device;
  EXPECT_EQ(client.node.TryIoctl(LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMCPU, args), -EFAULT) << "the objects";
  args.objects = Address(&fence.handle);
  EXPECT_EQ(client.node.TryIoctl(LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMCPU, args), -EFAULT) << "the values";
}

TEST(WaitFromCpu, MoreObjectsThanAMessageHoldsAreRefused) {
  const SyncClient client;
  const Fence fence = client.CreateFence();
  const std::vector<d3dkmthandle> objects(10917, fence.handle);
  const std::vector<uint64_t> values(objects.size(), 0);
  EXPECT_EQ(client.TryWait(objects, values), -EINVAL);
}

TEST(WaitFromCpu, AnEventIsAnEventfd) {
  const SyncClient client;
  const Fence fence = client.CreateFence();
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const Descriptor reading(ends[0]), writing(ends[1]);
  for (int bad : {reading.get(), client.node.fd(), 0x3ffffff0, -1})
    EXPECT_EQ(client.TryWait(fence.handle, 0, bad), -EINVAL) << bad;
}

// Whoever is refused hears nothing later, and the event is free again.
TEST(WaitFromCpu, ARefusedWaitNeverSignalsItsEvent) {
  const SyncClient client;
  const Fence fence = client.CreateFence();
  const Event event;
  d3dkmt_waitforsynchronizationobjectfromcpu args = {};
  args.device = client.device;
  args.object_count = 1;
  args.objects = Address(&fence.handle);
  args.fence_values = kUnmappedAddress;
  args.async_event = static_cast<uint64_t>(event.fd());
  for (int i = 0; i < 10; ++i)
    EXPECT_EQ(client.node.TryIoctl(LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMCPU, args), -EFAULT);
  client.Signal(fence, 10);
  client.Wait(fence, 10);
  EXPECT_EQ(event.Take(), 0u);
}

TEST(WaitFromCpu, RefusesTheFenceOfAnotherClient) {
  Peer other([](Peer& parent) {
    const SyncClient client;
    Fence last = client.CreateFence();
    for (int i = 0; i < 60; ++i) last = client.CreateFence();
    parent.Send(last.handle.v);
    parent.Receive();
  });
  const SyncClient client;
  const d3dkmthandle foreign = Handle(static_cast<uint32_t>(other.Receive()));
  EXPECT_EQ(client.TryWait(foreign, 0), -EINVAL);
  other.Send(0);
  other.Join();
}

// ---- In the order of a context ----

TEST(SignalFromGpu, LooksAtCountThenContextThenLists) {
  SKIP_WITHOUT_CONTEXTS();
  const SyncClient client;
  const d3dkmthandle context = client.CreateContext();
  d3dkmt_signalsynchronizationobjectfromgpu args = {};
  args.objects = args.monitored_fence_values = kUnmappedAddress;
  for (uint32_t count : {0u, 131073u}) {
    args.object_count = count;
    args.context = context;
    EXPECT_EQ(client.node.TryIoctl(LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMGPU, args), -EINVAL) << count;
  }
  args.object_count = 1;
  args.context = kUnknownHandle;
  EXPECT_EQ(client.node.TryIoctl(LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMGPU, args), -EINVAL);
  args.context = context;
  EXPECT_EQ(client.node.TryIoctl(LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMGPU, args), -EFAULT);
}

TEST(SignalFromGpu, MoreObjectsThanAMessageHoldsAreRefused) {
  SKIP_WITHOUT_CONTEXTS();
  const SyncClient client;
  const d3dkmthandle context = client.CreateContext();
  const Fence fence = client.CreateFence();
  const std::vector<d3dkmthandle> objects(10917, fence.handle);
  const std::vector<uint64_t> values(objects.size(), 1);
  EXPECT_EQ(client.TryGpuSignal(context, objects, values), -EINVAL);
  EXPECT_EQ(fence.Value(), 0u);
}

// The first context is read before the event is looked at, the other lists after the context is found.
TEST(SignalFromGpu2, LooksAtCountsThenFirstContextThenEventThenLists) {
  SKIP_WITHOUT_CONTEXTS();
  const SyncClient client;
  const d3dkmthandle context = client.CreateContext();
  d3dkmt_signalsynchronizationobjectfromgpu2 args = {};
  args.object_count = args.context_count = 1;
  args.objects = args.contexts = args.monitored_fence_values = kUnmappedAddress;
  EXPECT_EQ(client.node.TryIoctl(LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMGPU2, args), -EFAULT) << "the context";
  args.contexts = Address(&kUnknownHandle);
  EXPECT_EQ(client.node.TryIoctl(LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMGPU2, args), -EINVAL);
  args.contexts = Address(&context);
  EXPECT_EQ(client.node.TryIoctl(LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMGPU2, args), -EFAULT) << "the objects";

  args.flags.enqueue_cpu_event = 1;
  EXPECT_EQ(client.node.TryIoctl(LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMGPU2, args), -EINVAL)
      << "objects and an event";
  args.object_count = 0;
  args.cpu_event_handle = 0;
  EXPECT_EQ(client.node.TryIoctl(LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMGPU2, args), -EINVAL) << "no event";
  args.cpu_event_handle = 0x3ffffff0;
  args.contexts = kUnmappedAddress;
  EXPECT_EQ(client.node.TryIoctl(LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMGPU2, args), -EFAULT)
      << "the context first";
  args.contexts = Address(&context);
  EXPECT_EQ(client.node.TryIoctl(LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMGPU2, args), -EINVAL) << "no such event";
}

TEST(LegacySignal, LooksAtCountsThenEventThenContext) {
  SKIP_WITHOUT_CONTEXTS();
  const SyncClient client;
  const d3dkmthandle context = client.CreateContext();
  d3dkmt_signalsynchronizationobject2 args = {};
  args.context = context;
  args.object_count = 33;
  EXPECT_EQ(client.node.TryIoctl(LX_DXSIGNALSYNCHRONIZATIONOBJECT, args), -EINVAL);
  args.object_count = 0;
  args.context_count = 64;
  EXPECT_EQ(client.node.TryIoctl(LX_DXSIGNALSYNCHRONIZATIONOBJECT, args), -EINVAL);
  args.context_count = 0;
  args.flags.enqueue_cpu_event = 1;
  args.cpu_event_handle = static_cast<uint64_t>(client.node.fd());
  EXPECT_EQ(client.node.TryIoctl(LX_DXSIGNALSYNCHRONIZATIONOBJECT, args), -EINVAL) << "not an eventfd";
  const Event event;
  args.cpu_event_handle = static_cast<uint64_t>(event.fd());
  args.context = kUnknownHandle;
  EXPECT_EQ(client.node.TryIoctl(LX_DXSIGNALSYNCHRONIZATIONOBJECT, args), -EINVAL);
  client.Finish(context);
  EXPECT_EQ(event.Take(), 0u);
}

TEST(LegacyWait, RefusesCountsAndContexts) {
  SKIP_WITHOUT_CONTEXTS();
  const SyncClient client;
  d3dkmt_waitforsynchronizationobject2 args = {};
  args.context = client.CreateContext();
  for (uint32_t count : {0u, 33u, 0xffffffffu}) {
    args.object_count = count;
    EXPECT_EQ(client.node.TryIoctl(LX_DXWAITFORSYNCHRONIZATIONOBJECT, args), -EINVAL) << count;
  }
  args.object_count = 1;
  for (d3dkmthandle bad : {Handle(0), kUnknownHandle, client.device}) {
    args.context = bad;
    EXPECT_EQ(client.node.TryIoctl(LX_DXWAITFORSYNCHRONIZATIONOBJECT, args), -EINVAL) << bad.v;
  }
}

// The objects are read before the context is looked up, the values after; the limit is looked at last.
TEST(WaitFromGpu, LooksAtObjectsThenContextThenFirstObjectThenValues) {
  SKIP_WITHOUT_CONTEXTS();
  const SyncClient client;
  const d3dkmthandle context = client.CreateContext();
  const Fence fence = client.CreateFence();
  d3dkmt_waitforsynchronizationobjectfromgpu args = {};
  args.context = kUnknownHandle;
  args.objects = args.monitored_fence_values = kUnmappedAddress;
  for (uint32_t count : {0u, 131073u}) {
    args.object_count = count;
    EXPECT_EQ(client.node.TryIoctl(LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMGPU, args), -EINVAL) << count;
  }
  args.object_count = 1;
  EXPECT_EQ(client.node.TryIoctl(LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMGPU, args), -EFAULT) << "the objects";
  args.objects = Address(&fence.handle);
  EXPECT_EQ(client.node.TryIoctl(LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMGPU, args), -EINVAL) << "the context";
  args.context = context;
  for (d3dkmthandle bad : {Handle(0), kUnknownHandle, client.device, context}) {
    args.objects = Address(&bad);
    EXPECT_EQ(client.node.TryIoctl(LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMGPU, args), -EINVAL) << bad.v;
  }
  args.objects = Address(&fence.handle);
  EXPECT_EQ(client.node.TryIoctl(LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMGPU, args), -EFAULT) << "the values";

  const std::vector<d3dkmthandle> objects(33, fence.handle);
  const std::vector<uint64_t> values(33, 0);
  args.object_count = 33;
  args.objects = Address(objects.data());
  EXPECT_EQ(client.node.TryIoctl(LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMGPU, args), -EFAULT)
      << "values before the limit";
  args.monitored_fence_values = Address(values.data());
  EXPECT_EQ(client.node.TryIoctl(LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMGPU, args), -EINVAL) << "the limit";
  EXPECT_EQ(client.TryGpuWait(context, Handles(objects).first(32), Values(values).first(32)), 0);
  client.Finish(context);
}

// ---- Of stale and foreign contexts ----

TEST(GpuSignalsAndWaits, RefuseADestroyedContext) {
  SKIP_WITHOUT_CONTEXTS();
  const SyncClient client;
  const d3dkmthandle context = client.CreateContext();
  const Fence fence = client.CreateFence();
  client.node.DestroyContext(context);
  const uint64_t value = 1;
  EXPECT_EQ(client.TryGpuSignal(context, fence.handle, 1), -EINVAL);
  EXPECT_EQ(client.TryGpuSignal2({&context, 1}, {&fence.handle, 1}, {&value, 1}), -EINVAL);
  EXPECT_EQ(client.TryGpuWait(context, fence.handle, 0), -EINVAL);
  EXPECT_EQ(client.TryLegacySignal(context, fence.handle, 1), -EINVAL);
  EXPECT_EQ(client.TryLegacyWait(context, fence.handle, 0), -EINVAL);
  EXPECT_EQ(client.TrySubmit(context, 0x10000, 64), -EINVAL);
  EXPECT_EQ(fence.Value(), 0u);
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

}  // namespace
}  // namespace dxg::conformance
