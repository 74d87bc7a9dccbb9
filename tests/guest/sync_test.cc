// Sync objects and hardware queues: what lives and dies with what, and what is unmapped.
#include <algorithm>

#include "tests/guest/rig.h"

namespace dxg::guest {
namespace {

class SyncTest : public FenceTest {
 protected:
  SyncTest() {
    d3dkmt_createcontextvirtual made{};
    made.device.v = device;
    EXPECT_EQ(Call(file, 100, LX_DXCREATECONTEXTVIRTUAL, &made), 0);
    context = made.context.v;
    delivery.steps.clear();
    host.asked.clear();
  }
  ~SyncTest() override {
    for (const auto& [descriptor, object] : delivery.files) driver.Release(object);
  }

  uint32_t CreateSync(d3dddi_synchronizationobject_type type, uint32_t flags = 0) {
    d3dkmt_createsynchronizationobject2 args{};
    args.device.v = device;
    args.info.type = type;
    args.info.flags.value = flags;
    if (type == _D3DDDI_CPU_NOTIFICATION) args.info.cpu_notification.event = kEventfd;
    result = Call(file, 100, LX_DXCREATESYNCHRONIZATIONOBJECT, &args);
    event = args.info.cpu_notification.event;
    return args.sync_object.v;
  }
  int32_t DestroySync(uint32_t handle) {
    d3dkmt_destroysynchronizationobject args{};
    args.sync_object.v = handle;
    return Call(file, 100, LX_DXDESTROYSYNCHRONIZATIONOBJECT, &args);
  }
  d3dkmt_createhwqueue CreateHwQueue() {
    d3dkmt_createhwqueue args{};
    args.context.v = context;
    result = Call(file, 100, LX_DXCREATEHWQUEUE, &args);
    return args;
  }
  int32_t WaitOnGpu(uint32_t object) {
    uint64_t value = 1;
    d3dkmt_waitforsynchronizationobjectfromgpu args{};
    args.context.v = context;
    args.object_count = 1;
    args.objects = reinterpret_cast<uint64_t>(&object);
    args.monitored_fence_values = reinterpret_cast<uint64_t>(&value);
    return Call(file, 100, LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMGPU, &args);
  }
  size_t Asked(const char* command) {
    return static_cast<size_t>(std::count(host.asked.begin(), host.asked.end(), command));
  }
  size_t Unmapped() {
    return static_cast<size_t>(
        std::count_if(delivery.steps.begin(), delivery.steps.end(),
                      [](const auto& step) { return step.kind == client::Step::Kind::kUnmap; }));
  }

  uint64_t event = 0;
  uint32_t context = 0;
  int32_t result = 0;
};

TEST_F(SyncTest, AMonitoredFenceEndsWithItsDeviceWithoutAWord) {
  const uint32_t fence = CreateSync(_D3DDDI_MONITORED_FENCE),
                 mutex = CreateSync(_D3DDDI_SYNCHRONIZATION_MUTEX);
  ASSERT_EQ(result, 0);
  d3dkmt_destroydevice args{};
  args.device.v = device;
  EXPECT_EQ(Call(file, 100, LX_DXDESTROYDEVICE, &args), 0);
  EXPECT_EQ(Asked("DESTROYSYNCOBJECT"), 0u);
  EXPECT_EQ(Unmapped(), 1u);
  EXPECT_EQ(DestroySync(fence), -EINVAL);
  EXPECT_EQ(DestroySync(mutex), 0);
  EXPECT_EQ(DestroySync(mutex), -EINVAL);
  EXPECT_EQ(Asked("DESTROYSYNCOBJECT"), 1u);
}

TEST_F(SyncTest, ADestroyedFenceIsUnmapped) {
  const uint32_t fence = CreateSync(_D3DDDI_PERIODIC_MONITORED_FENCE);
  ASSERT_EQ(result, 0);
  EXPECT_EQ(Unmapped(), 0u);
  EXPECT_EQ(DestroySync(fence), 0);
  EXPECT_EQ(Unmapped(), 1u);
}

TEST_F(SyncTest, AFenceWhosePageIsNowhereIsDestroyed) {
  host.next_lock = 0x1000;
  (void)CreateSync(_D3DDDI_MONITORED_FENCE);
  EXPECT_EQ(result, -ENOMEM);
  EXPECT_EQ(Asked("DESTROYSYNCOBJECT"), 1u);
  (void)CreateHwQueue();
  EXPECT_EQ(result, -ENOMEM);
  EXPECT_EQ(Asked("DESTROYHWQUEUE"), 1u);
}

TEST_F(SyncTest, ACpuNotificationIsRaisedUntilItIsDestroyed) {
  const uint32_t notification = CreateSync(_D3DDDI_CPU_NOTIFICATION);
  ASSERT_EQ(result, 0);
  EXPECT_GE(event, 2u);
  for (int i = 0; i < 3; ++i) driver.GuestEvent(event);
  EXPECT_EQ(eventfd().count, 3);
  EXPECT_EQ(DestroySync(notification), 0);
  driver.GuestEvent(event);
  EXPECT_EQ(eventfd().count, 3);
  EXPECT_EQ(delivery.eventfds[kEventfd].use_count(), 1);
}

TEST_F(SyncTest, ACpuNotificationThatFailsHoldsNoEventfd) {
  host.refuse = {"CREATESYNCOBJECT"};
  (void)CreateSync(_D3DDDI_CPU_NOTIFICATION);
  EXPECT_EQ(result, -EOVERFLOW);
  EXPECT_EQ(driver.events().size(), 0u);
  EXPECT_EQ(delivery.eventfds[kEventfd].use_count(), 1);
}

// In none of the calls that take one, and nothing is left.
TEST_F(SyncTest, AnEventfdTooManyIsNoMemory) {
  delivery.eventfd_refusal = Status::Refuse(ENOMEM, "there are 4096 of it");
  (void)CreateSync(_D3DDDI_CPU_NOTIFICATION);
  EXPECT_EQ(result, -ENOMEM);
  uint32_t object = CreateSync(_D3DDDI_MONITORED_FENCE);
  uint64_t value = 1;
  d3dkmt_waitforsynchronizationobjectfromcpu wait{};
  wait.device.v = device;
  wait.object_count = 1;
  wait.objects = reinterpret_cast<uint64_t>(&object);
  wait.fence_values = reinterpret_cast<uint64_t>(&value);
  wait.async_event = kEventfd;
  EXPECT_EQ(Call(file, 100, LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMCPU, &wait), -ENOMEM);
  d3dkmt_signalsynchronizationobject2 signal{};
  signal.context.v = context;
  signal.flags.enqueue_cpu_event = 1;
  signal.cpu_event_handle = kEventfd;
  EXPECT_EQ(Call(file, 100, LX_DXSIGNALSYNCHRONIZATIONOBJECT, &signal), -ENOMEM);
  EXPECT_EQ(driver.events().size(), 0u);
}

TEST_F(SyncTest, AQueuesFenceCanBeWaitedForAndNotDestroyed) {
  const auto queue = CreateHwQueue();
  ASSERT_EQ(result, 0);
  EXPECT_EQ(WaitOnGpu(queue.queue_progress_fence.v), 0);
  EXPECT_EQ(DestroySync(queue.queue_progress_fence.v), -EINVAL);
  EXPECT_EQ(WaitOnGpu(queue.queue.v), -EINVAL);
  d3dkmt_destroyhwqueue args{queue.queue};
  EXPECT_EQ(Call(file, 100, LX_DXDESTROYHWQUEUE, &args), 0);
  EXPECT_EQ(Unmapped(), 1u);
  EXPECT_EQ(WaitOnGpu(queue.queue_progress_fence.v), -EINVAL);
  EXPECT_EQ(Call(file, 100, LX_DXDESTROYHWQUEUE, &args), -EINVAL);
}

TEST_F(SyncTest, AContextTakesItsQueuesAlong) {
  const auto queue = CreateHwQueue();
  ASSERT_EQ(result, 0);
  d3dkmt_destroycontext args{};
  args.context.v = context;
  EXPECT_EQ(Call(file, 100, LX_DXDESTROYCONTEXT, &args), 0);
  EXPECT_EQ(Asked("DESTROYHWQUEUE"), 0u);
  EXPECT_EQ(Unmapped(), 1u);
  d3dkmt_destroyhwqueue gone{queue.queue};
  EXPECT_EQ(Call(file, 100, LX_DXDESTROYHWQUEUE, &gone), -EINVAL);
}

TEST_F(SyncTest, ADeviceTakesItsQueuesAlong) {
  (void)CreateHwQueue();
  ASSERT_EQ(result, 0);
  d3dkmt_destroydevice args{};
  args.device.v = device;
  EXPECT_EQ(Call(file, 100, LX_DXDESTROYDEVICE, &args), 0);
  EXPECT_EQ(Asked("DESTROYHWQUEUE"), 0u);
  EXPECT_EQ(Unmapped(), 1u);
}

class SharedFenceTest : public SyncTest {
 protected:
  SharedFenceTest() {
    uint32_t fence = CreateSync(_D3DDDI_MONITORED_FENCE, /*shared, nt_security_sharing*/ 3);
    EXPECT_EQ(result, 0);
    d3dkmt_shareobjects share{};
    share.object_count = 1;
    share.objects = reinterpret_cast<uint64_t>(&fence);
    share.shared_handle = reinterpret_cast<uint64_t>(&descriptor);
    EXPECT_EQ(Call(file, 100, LX_DXSHAREOBJECTS, &share), 0);
    EXPECT_EQ(DestroySync(fence), 0);
  }

  uint64_t descriptor = 0;
};

TEST_F(SharedFenceTest, ADescriptorOutlivesTheFenceAndOpensIt) {
  d3dkmt_opensyncobjectfromnthandle2 open{};
  open.nt_handle = descriptor;
  open.device.v = device;
  ASSERT_EQ(Call(file, 100, LX_DXOPENSYNCOBJECTFROMNTHANDLE2, &open), 0);
  EXPECT_EQ(WaitOnGpu(open.sync_object.v), 0);
  // A resource's calls do not take it.
  d3dkmt_queryresourceinfofromnthandle query{};
  query.device.v = device;
  query.nt_handle = descriptor;
  EXPECT_EQ(Call(file, 100, LX_DXQUERYRESOURCEINFOFROMNTHANDLE, &query), -EINVAL);
  EXPECT_EQ(Asked("DESTROYNTSHAREDOBJECT"), 0u);
  driver.Release(delivery.files.extract(static_cast<int>(descriptor)).mapped());
  EXPECT_EQ(Asked("DESTROYNTSHAREDOBJECT"), 1u);
}

TEST_F(SharedFenceTest, AHostThatOpensNothingIsToldToDestroyNothing) {
  host.after_answer = [](const HostCall& call) {
    if (auto* opened = dynamic_cast<host::OpenSyncObject::Reply*>(call.reply)) opened->Clear();
  };
  d3dkmt_opensyncobjectfromnthandle2 open{};
  open.nt_handle = descriptor;
  open.device.v = device;
  const size_t before = Asked("DESTROYSYNCOBJECT");
  EXPECT_EQ(Call(file, 100, LX_DXOPENSYNCOBJECTFROMNTHANDLE2, &open), -ENOMEM);
  EXPECT_EQ(Asked("DESTROYSYNCOBJECT"), before);
}

TEST_F(SyncTest, AsynchronousCallsSucceedWhateverTheHostThinks) {
  HostAdapter info;
  info.luid = 0x1234;
  info.address = 8;
  info.async_messages = true;
  driver.AdapterArrived(info);
  d3dkmt_openadapterfromluid open{};
  std::memcpy(&open.adapter_luid, &info.luid, sizeof(info.luid));
  ASSERT_EQ(Call(file, 100, LX_DXOPENADAPTERFROMLUID, &open), 0);
  device = CreateDevice(file, 100, open.adapter_handle.v);
  uint32_t object = 0x40000040;
  uint64_t value = 1;
  d3dkmt_signalsynchronizationobjectfromcpu signal{};
  signal.device.v = device;
  signal.object_count = 1;
  signal.objects = reinterpret_cast<uint64_t>(&object);
  signal.fence_values = reinterpret_cast<uint64_t>(&value);
  host.status = static_cast<int32_t>(0xc0000022);
  EXPECT_EQ(Call(file, 100, LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMCPU, &signal), 0);
  signal.object_count = 33;  // what the guest checks, it refuses as ever
  EXPECT_EQ(Call(file, 100, LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMCPU, &signal), -EINVAL);
  // A wait of the CPU is never asynchronous.
  d3dkmt_waitforsynchronizationobjectfromcpu wait{};
  wait.device.v = device;
  wait.object_count = 1;
  wait.objects = signal.objects;
  wait.fence_values = signal.fence_values;
  EXPECT_EQ(Call(file, 100, LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMCPU, &wait), -EACCES);
}

}  // namespace
}  // namespace dxg::guest
