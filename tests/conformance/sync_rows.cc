// Synchronization objects: made and ended, signalled, awaited, shared.
#include "tests/conformance/call_rows.h"

namespace dxg::conformance {
namespace {

std::vector<CallRow> SyncObjectRows() {
  return {
      {.name = "CreateSynchronizationObject",
       .code = LX_DXCREATESYNCHRONIZATIONOBJECT,
       .fill =
           [](World& world, std::byte* args) {
             As<d3dkmt_createsynchronizationobject2>(args).device = world.Live(ObjectType::kDevice);
             As<d3dkmt_createsynchronizationobject2>(args).info.type = _D3DDDI_MONITORED_FENCE;
           },
       .read_only_struct = -EFAULT,
       .handles = kDeviceFirst,
       .values = {{"SharedWithoutSecurity", 12, 4, 1, -EINVAL},
                  {"Reserved", 4, 4, 0xffffffff, 0},
                  {"Reserved1", 92, 4, 0xffffffff, 0}}},
      {.name = "CreateSynchronizationObjectOfAnEvent",
       .code = LX_DXCREATESYNCHRONIZATIONOBJECT,
       .fill =
           [](World& world, std::byte* args) {
             auto& create = As<d3dkmt_createsynchronizationobject2>(args);
             create.device = world.Live(ObjectType::kDevice);
             create.info.type = _D3DDDI_CPU_NOTIFICATION;
             create.info.cpu_notification.event = static_cast<uint64_t>(world.NewEvent());
           },
       .read_only_struct = -EFAULT,
       .handles = kDeviceFirst,
       .values = {{"EventClosed", 16, 8, 0x3ffffff0, -EINVAL},
                  {"EventStdin", 16, 8, 0, -EINVAL},
                  {"EventNegative", 16, 8, ~0ull, -EINVAL},
                  {"Event2To31", 16, 8, 1ull << 31, -EINVAL}}},
      {.name = "DestroySynchronizationObject",
       .code = LX_DXDESTROYSYNCHRONIZATIONOBJECT,
       .fill = FillFirstHandle<ObjectType::kMonitoredFence>,
       .handles = {{"Object", 0, ObjectType::kMonitoredFence}}},
  };
}

// Of a call that a context's queue carries out with one semaphore.
template <class Args>
void FillContextAndSemaphore(World& world, std::byte* args) {
  As<Args>(args).context = world.Live(ObjectType::kContext);
  As<Args>(args).object_count = 1;
  As<Args>(args).object_array[0] = world.Live(ObjectType::kSemaphore);
}

std::vector<HandleField> ContextAndSemaphore() {
  return {{"Context", 0, ObjectType::kContext},
          {.name = "Object", .offset = 8, .type = ObjectType::kSemaphore, .of_the_host = true}};
}

template <class Args>
void FillContextAndFence(World& world, std::byte* args) {
  As<Args>(args).context = world.Live(ObjectType::kContext);
  FillFence(world, As<Args>(args));
}

template <class Args>
void FillDeviceAndFence(World& world, std::byte* args) {
  As<Args>(args).device = world.Live(ObjectType::kDevice);
  FillFence(world, As<Args>(args));
}

std::vector<CallRow> SignalRows() {
  return {
      {.name = "SignalSynchronizationObject",
       .code = LX_DXSIGNALSYNCHRONIZATIONOBJECT,
       .fill = FillContextAndSemaphore<d3dkmt_signalsynchronizationobject2>,
       .needs_context = true,
       .is_queued = true,
       .handles = ContextAndSemaphore(),
       .values = {{"CountAboveLimit", 4, 4, kObjectsMax + 1, -EINVAL},
                  {"CountMax", 4, 4, 0xffffffff, -EINVAL},
                  {"Count0", 4, 4, 0, -EINVAL, true},
                  {"ContextCountAboveLimit", 140, 4, kContextsMax, -EINVAL},
                  {"ContextCountMax", 140, 4, 0xffffffff, -EINVAL},
                  {"EventStdin", 136, 4, signal_flags::kEnqueueCpuEvent, -EINVAL},
                  {"ReservedFlag", 136, 4, 1 << 3, -EINVAL, true}}},
      {.name = "SignalSynchronizationObjectFromCpu",
       .code = LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMCPU,
       .fill = FillDeviceAndFence<d3dkmt_signalsynchronizationobjectfromcpu>,
       .is_queued = true,
       .handles = kDeviceFirst,
       .pointers = {HandleList("Objects", 8, 4, ObjectType::kMonitoredFence),
                    OptionalValueList("Values", 16, 4, -EINVAL)},
       .values = BadCounts(4, kObjectsMax,
                           {{"EnqueueCpuEvent", 24, 4, signal_flags::kEnqueueCpuEvent, -EINVAL, true},
                            {"ReservedFlag", 24, 4, 1 << 3, -EINVAL, true}})},
      {.name = "SignalSynchronizationObjectFromGpu",
       .code = LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMGPU,
       .fill = FillContextAndFence<d3dkmt_signalsynchronizationobjectfromgpu>,
       .needs_context = true,
       .is_queued = true,
       .handles = kContextFirst,
       .pointers = {HandleList("Objects", 8, 4, ObjectType::kMonitoredFence),
                    OptionalValueList("Values", 16, 4, 0)},
       .values = BadCounts(4, kMessageMax)},
      {.name = "SignalSynchronizationObjectFromGpu2",
       .code = LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMGPU2,
       .fill =
           [](World& world, std::byte* args) {
             auto& signal = As<d3dkmt_signalsynchronizationobjectfromgpu2>(args);
             FillFence(world, signal);
             signal.context_count = 1;
             signal.contexts = world.ListOf(ObjectType::kContext);
           },
       .needs_context = true,
       .is_queued = true,
       .pointers = {HandleList("Objects", 8, 0, ObjectType::kMonitoredFence),
                    HandleList("Contexts", 24, 20, ObjectType::kContext),
                    OptionalValueList("Values", 32, 0, 0)},
       .values = BadCounts(0, kMessageMax,
                           {{"ContextCount0", 20, 4, 0, -EINVAL},
                            {"ContextCountAboveLimit", 20, 4, kMessageMax + 1, -EINVAL},
                            {"ContextCountMax", 20, 4, 0xffffffff, -EINVAL},
                            {"EventAndObjects", 16, 4, signal_flags::kEnqueueCpuEvent, -EINVAL},
                            {"ReservedFlag", 16, 4, 1 << 3, -EINVAL, true},
                            {"Reserved1", 4, 4, 0xffffffff, 0}})},
      {.name = "SignalSynchronizationObjectFromGpu2OfAnEvent",
       .code = LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMGPU2,
       .fill =
           [](World& world, std::byte* args) {
             auto& signal = As<d3dkmt_signalsynchronizationobjectfromgpu2>(args);
             signal.flags.value = signal_flags::kEnqueueCpuEvent;
             signal.context_count = 1;
             signal.contexts = world.ListOf(ObjectType::kContext);
             signal.cpu_event_handle = static_cast<uint64_t>(world.NewEvent());
           },
       .needs_context = true,
       .is_queued = true,
       .pointers = {HandleList("Contexts", 24, 20, ObjectType::kContext)},
       .values = {{"WithAnObject", 0, 4, 1, -EINVAL},
                  {"EventNone", 32, 8, 0, -EINVAL},
                  {"EventClosed", 32, 8, 0x3ffffff0, -EINVAL},
                  {"EventNegative", 32, 8, ~0ull, -EINVAL}}},
  };
}

std::vector<CallRow> WaitRows() {
  return {
      {.name = "WaitForSynchronizationObject",
       .code = LX_DXWAITFORSYNCHRONIZATIONOBJECT,
       .fill = FillContextAndSemaphore<d3dkmt_waitforsynchronizationobject2>,
       .needs_context = true,
       .is_queued = true,
       .handles = ContextAndSemaphore(),
       .values = BadCounts(4, kObjectsMax)},
      {.name = "WaitForSynchronizationObjectFromCpu",
       .code = LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMCPU,
       .fill = FillDeviceAndFence<d3dkmt_waitforsynchronizationobjectfromcpu>,
       .handles = kDeviceFirst,
       .pointers = {HandleList("Objects", 8, 4, ObjectType::kMonitoredFence), ValueList("Values", 16, 4)},
       .values = BadCounts(4, kMessageMax,
                           {{"EventClosed", 24, 8, 0x3ffffff0, -EINVAL},
                            {"EventNegative", 24, 8, ~0ull, -EINVAL},
                            {"EventOtherFile", 24, 8, 2, -EINVAL},
                            {"ReservedFlag", 32, 4, 1 << 1, -EINVAL, true}})},
      {.name = "WaitForSynchronizationObjectFromCpuWithAnEvent",
       .code = LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMCPU,
       .fill =
           [](World& world, std::byte* args) {
             auto& wait = As<d3dkmt_waitforsynchronizationobjectfromcpu>(args);
             wait.device = world.Live(ObjectType::kDevice);
             FillFence(world, wait);
             wait.async_event = static_cast<uint64_t>(world.NewEvent());
           },
       .handles = kDeviceFirst,
       .pointers = {HandleList("Objects", 8, 4, ObjectType::kMonitoredFence), ValueList("Values", 16, 4)}},
      {.name = "WaitForSynchronizationObjectFromGpu",
       .code = LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMGPU,
       .fill = FillContextAndFence<d3dkmt_waitforsynchronizationobjectfromgpu>,
       .needs_context = true,
       .is_queued = true,
       .handles = kContextFirst,
       .pointers = {HandleList("Objects", 8, 4, ObjectType::kMonitoredFence), ValueList("Values", 16, 4)},
       .values = BadCounts(4, kMessageMax)},
  };
}

std::vector<CallRow> ShareSyncRows() {
  return {
      {.name = "ShareObjectsOfAFence",
       .code = LX_DXSHAREOBJECTS,
       .fill =
           [](World& world, std::byte* args) {
             auto& share = As<d3dkmt_shareobjects>(args);
             share.object_count = 1;
             share.objects = world.ListOf(ObjectType::kMonitoredFence);
             share.shared_handle = world.RoomForDescriptor();
           },
       .pointers = {HandleList("Objects", 8, 0, ObjectType::kMonitoredFence)}},
      {.name = "OpenSyncObjectFromNtHandle2",
       .code = LX_DXOPENSYNCOBJECTFROMNTHANDLE2,
       .fill =
           [](World& world, std::byte* args) {
             auto& open = As<d3dkmt_opensyncobjectfromnthandle2>(args);
             open.device = world.Live(ObjectType::kDevice);
             open.flags.value = sync_flags::kShared;
             open.nt_handle = static_cast<uint64_t>(world.SharedFenceDescriptor());
           },
       .read_only_struct = -EFAULT,
       .handles = {{"Device", 8, ObjectType::kDevice}},
       .values = {{"DescriptorClosed", 0, 8, 0x3ffffff0, -EINVAL},
                  {"DescriptorOfStdin", 0, 8, 0, -EINVAL},
                  {"DescriptorNegative", 0, 8, ~0ull, -EINVAL},
                  {"Descriptor2To31", 0, 8, 1ull << 31, -EINVAL},
                  {"Reserved1", 20, 4, 0xffffffff, 0}}},
      {.name = "ShareObjectWithHost",
       .code = LX_DXSHAREOBJECTWITHHOST,
       .fill =
           [](World& world, std::byte* args) {
             As<d3dkmt_shareobjectwithhost>(args).device_handle = world.Live(ObjectType::kDevice);
             As<d3dkmt_shareobjectwithhost>(args).object_handle = world.Live(ObjectType::kMonitoredFence);
           },
       .read_only_struct = -EFAULT,
       .host_may_refuse = true,
       .handles = {{.name = "Device", .offset = 0, .type = ObjectType::kDevice, .of_the_host = true},
                   {.name = "Object", .offset = 4, .type = ObjectType::kMonitoredFence, .of_the_host = true}},
       .values = {{"Reserved", 8, 8, ~0ull, 0, true}}},
  };
}

}  // namespace

std::vector<CallRow> SyncRows() {
  return Join({SyncObjectRows(), SignalRows(), WaitRows(), ShareSyncRows()});
}

}  // namespace dxg::conformance
