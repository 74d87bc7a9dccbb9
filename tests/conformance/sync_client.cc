#include "tests/conformance/sync_client.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <string>

namespace dxg::conformance {
namespace {

const volatile uint64_t* ValueAt(uint64_t address) {
  return reinterpret_cast<const volatile uint64_t*>(address);  // Safety: the node mapped a fence's page there
}

template <size_t kRoom>
void CopyHandles(d3dkmthandle (&to)[kRoom], Handles from) {
  if (from.size() > kRoom) throw std::logic_error("more handles than the struct has room for");
  std::copy(from.begin(), from.end(), to);
}

uint64_t AddressOf(Handles list) { return list.empty() ? 0 : Address(list.data()); }
uint64_t AddressOf(Values list) { return list.empty() ? 0 : Address(list.data()); }

// The list of objects, in whichever call.
template <typename Args>
void SetObjects(Args& args, Handles objects) {
  args.object_count = static_cast<uint32_t>(objects.size());
  if constexpr (requires { args.object_array; }) {
    CopyHandles(args.object_array, objects);
  } else {
    args.objects = AddressOf(objects);
  }
}

template <typename Args>
void SetContexts(Args& args, Handles contexts) {
  args.context_count = static_cast<uint32_t>(contexts.size());
  if constexpr (requires { CopyHandles(args.contexts, contexts); }) {
    CopyHandles(args.contexts, contexts);
  } else {
    args.contexts = AddressOf(contexts);
  }
}

}  // namespace

// ---- Event ----

Event::Event() : fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (fd_ < 0) throw std::runtime_error("eventfd");
}

void Event::Close() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

uint64_t Event::Take(uint64_t expected) const {
  constexpr int kPatienceMs = 3000;
  pollfd waiting = {fd_, POLLIN, 0};
  uint64_t taken = 0;
  for (;;) {
    uint64_t count = 0;
    if (read(fd_, &count, sizeof(count)) == sizeof(count)) taken += count;
    if (taken >= expected || poll(&waiting, 1, kPatienceMs) == 0) return taken;
  }
}

void Event::Wait() const {
  pollfd waiting = {fd_, POLLIN, 0};
  while (poll(&waiting, 1, -1) != 1)
    if (errno != EINTR) throw std::runtime_error("poll");
}

// ---- Objects ----

d3dkmt_createsynchronizationobject2 SyncClient::ObjectArgs(d3dddi_synchronizationobject_type type,
                                                           uint32_t flags) const {
  d3dkmt_createsynchronizationobject2 args = {};
  args.device = device;
  args.info.type = type;
  args.info.flags.value = flags;
  return args;
}

d3dkmt_createsynchronizationobject2 SyncClient::FenceArgs(uint64_t initial, uint32_t flags) const {
  auto args = ObjectArgs(_D3DDDI_MONITORED_FENCE, flags);
  args.info.monitored_fence.initial_fence_value = initial;
  return args;
}

Fence SyncClient::CreateFence(uint64_t initial, uint32_t flags) const {
  auto args = FenceArgs(initial, flags);
  Require(TryCreateSync(args), "CreateSynchronizationObject");
  return {args.sync_object, ValueAt(args.info.monitored_fence.fence_cpu_virtual_address),
          args.info.monitored_fence.fence_gpu_virtual_address};
}

std::vector<Fence> SyncClient::CreateFences(size_t count, uint32_t flags) const {
  std::vector<Fence> fences;
  while (fences.size() < count) fences.push_back(CreateFence(0, flags));
  return fences;
}

d3dkmthandle SyncClient::CreateLegacyFence(uint64_t initial, uint32_t flags) const {
  auto args = ObjectArgs(_D3DDDI_FENCE, flags);
  args.info.fence.fence_value = initial;
  Require(TryCreateSync(args), "CreateSynchronizationObject of a fence");
  return args.sync_object;
}

d3dkmthandle SyncClient::CreateSemaphore(uint32_t initial, uint32_t maximum, uint32_t flags) const {
  auto args = ObjectArgs(_D3DDDI_SEMAPHORE, flags);
  args.info.semaphore.max_count = maximum;
  args.info.semaphore.initial_count = initial;
  Require(TryCreateSync(args), "CreateSynchronizationObject of a semaphore");
  return args.sync_object;
}

d3dkmthandle SyncClient::CreateMutex(bool owned, uint32_t flags) const {
  auto args = ObjectArgs(_D3DDDI_SYNCHRONIZATION_MUTEX, flags);
  args.info.synchronization_mutex.initial_state = owned ? 1 : 0;
  Require(TryCreateSync(args), "CreateSynchronizationObject of a mutex");
  return args.sync_object;
}

d3dkmthandle SyncClient::CreateNotification(int event) const {
  auto args = ObjectArgs(_D3DDDI_CPU_NOTIFICATION);
  args.info.cpu_notification.event = static_cast<uint32_t>(event);
  Require(TryCreateSync(args), "CreateSynchronizationObject of a CPU notification");
  return args.sync_object;
}

int SyncClient::TryDestroySync(d3dkmthandle object) const {
  d3dkmt_destroysynchronizationobject args = {object};
  return node.TryIoctl(LX_DXDESTROYSYNCHRONIZATIONOBJECT, args);
}

void SyncClient::DestroySync(d3dkmthandle object) const {
  Require(TryDestroySync(object), "DestroySynchronizationObject");
}

// ---- CPU ----

int SyncClient::TrySignal(Handles objects, Values values, uint32_t flags) const {
  d3dkmt_signalsynchronizationobjectfromcpu args = {};
  args.device = device;
  SetObjects(args, objects);
  args.fence_values = AddressOf(values);
  args.flags.value = flags;
  const int result = node.TryIoctl(LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMCPU, args);
  // A host may take a signal without answering it. What is asked next it answers after it, and tests look at
  // once.
  if (result == 0 && !objects.empty()) (void)TryWait(objects.front(), 0);
  return result;
}

void SyncClient::Signal(d3dkmthandle object, uint64_t value, uint32_t flags) const {
  Require(TrySignal(object, value, flags), "SignalSynchronizationObjectFromCpu");
}

int SyncClient::TryWait(Handles objects, Values values, bool any, int event) const {
  d3dkmt_waitforsynchronizationobjectfromcpu args = {};
  args.device = device;
  SetObjects(args, objects);
  args.fence_values = AddressOf(values);
  args.async_event = static_cast<uint32_t>(event);
  args.flags.wait_any = any ? 1 : 0;
  return node.TryIoctl(LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMCPU, args);
}

void SyncClient::Wait(d3dkmthandle object, uint64_t value) const {
  Require(TryWait(object, value), "WaitForSynchronizationObjectFromCpu");
}

void SyncClient::WaitEvent(d3dkmthandle object, uint64_t value, const Event& event) const {
  Require(TryWait(object, value, event.fd()), "WaitForSynchronizationObjectFromCpu with an event");
}

// ---- Contexts ----

d3dkmthandle SyncClient::CreateContextWith(uint32_t flags, uint32_t node_ordinal) const {
  d3dkmt_createcontextvirtual args = {};
  args.device = device;
  args.node_ordinal = node_ordinal;
  args.flags.value = flags;
  node.Ioctl(LX_DXCREATECONTEXTVIRTUAL, args, "CreateContextVirtual");
  return args.context;
}

int SyncClient::TryGpuSignal(d3dkmthandle context, Handles objects, Values values) const {
  d3dkmt_signalsynchronizationobjectfromgpu args = {};
  args.context = context;
  SetObjects(args, objects);
  args.monitored_fence_values = AddressOf(values);
  return node.TryIoctl(LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMGPU, args);
}

void SyncClient::GpuSignal(d3dkmthandle context, const Fence& fence, uint64_t value) const {
  Require(TryGpuSignal(context, fence.handle, value), "SignalSynchronizationObjectFromGpu");
}

int SyncClient::TryGpuSignal2(Handles contexts, Handles objects, Values values, uint32_t flags) const {
  d3dkmt_signalsynchronizationobjectfromgpu2 args = {};
  SetObjects(args, objects);
  args.flags.value = flags;
  SetContexts(args, contexts);
  args.monitored_fence_values = AddressOf(values);
  return node.TryIoctl(LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMGPU2, args);
}

int SyncClient::TryEnqueueEvent(Handles contexts, int event, uint32_t flags) const {
  d3dkmt_signalsynchronizationobjectfromgpu2 args = {};
  args.flags.value = flags;
  SetContexts(args, contexts);
  args.cpu_event_handle = static_cast<uint32_t>(event);
  return node.TryIoctl(LX_DXSIGNALSYNCHRONIZATIONOBJECTFROMGPU2, args);
}

int SyncClient::TryGpuWait(d3dkmthandle context, Handles objects, Values values) const {
  d3dkmt_waitforsynchronizationobjectfromgpu args = {};
  args.context = context;
  SetObjects(args, objects);
  args.monitored_fence_values = AddressOf(values);
  return node.TryIoctl(LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMGPU, args);
}

void SyncClient::GpuWait(d3dkmthandle context, const Fence& fence, uint64_t value) const {
  Require(TryGpuWait(context, fence.handle, value), "WaitForSynchronizationObjectFromGpu");
}

int SyncClient::TryGpuWaitUnmonitored(d3dkmthandle context, Handles objects, uint64_t value) const {
  d3dkmt_waitforsynchronizationobjectfromgpu args = {};
  args.context = context;
  SetObjects(args, objects);
  std::fill(std::begin(args.reserved), std::end(args.reserved), value);
  return node.TryIoctl(LX_DXWAITFORSYNCHRONIZATIONOBJECTFROMGPU, args);
}

int SyncClient::TryLegacySignal(d3dkmthandle context, Handles objects, uint64_t value, uint32_t flags,
                                Handles more_contexts) const {
  d3dkmt_signalsynchronizationobject2 args = {};
  args.context = context;
  SetObjects(args, objects);
  args.flags.value = flags;
  SetContexts(args, more_contexts);
  args.fence.fence_value = value;
  return node.TryIoctl(LX_DXSIGNALSYNCHRONIZATIONOBJECT, args);
}

int SyncClient::TryLegacyWait(d3dkmthandle context, Handles objects, Values values) const {
  d3dkmt_waitforsynchronizationobject2 args = {};
  args.context = context;
  SetObjects(args, objects);
  std::copy_n(values.begin(), std::min(values.size(), std::size(args.reserved)), args.reserved);
  return node.TryIoctl(LX_DXWAITFORSYNCHRONIZATIONOBJECT, args);
}

int SyncClient::TrySubmit(Handles contexts, uint64_t command, uint32_t bytes, uint32_t flags) const {
  d3dkmt_submitcommand args = {};
  args.command_buffer = command;
  args.command_length = bytes;
  std::memcpy(&args.flags, &flags, sizeof(flags));
  args.broadcast_context_count = static_cast<uint32_t>(contexts.size());
  CopyHandles(args.broadcast_context, contexts);
  return node.TryIoctl(LX_DXSUBMITCOMMAND, args);
}

void SyncClient::Finish(d3dkmthandle context) const {
  const Fence fence = CreateFence();
  GpuSignal(context, fence, 1);
  Wait(fence, 1);
  DestroySync(fence.handle);
}

// ---- Hardware queues ----

int SyncClient::TryCreateHwQueue(d3dkmthandle context, HwQueue* queue, uint32_t flags) const {
  d3dkmt_createhwqueue args = {};
  args.context = context;
  args.flags.value = flags;
  const int result = node.TryIoctl(LX_DXCREATEHWQUEUE, args);
  *queue = {args.queue,
            {args.queue_progress_fence, ValueAt(args.queue_progress_fence_cpu_va),
             args.queue_progress_fence_gpu_va}};
  return result;
}

HwQueue SyncClient::CreateHwQueue(uint32_t node_ordinal, uint32_t flags) const {
  HwQueue queue;
  Require(TryCreateHwQueue(CreateContextWith(context_flags::kHwQueues, node_ordinal), &queue, flags),
          "CreateHwQueue");
  return queue;
}

int SyncClient::TryDestroyHwQueue(d3dkmthandle queue) const {
  d3dkmt_destroyhwqueue args = {queue};
  return node.TryIoctl(LX_DXDESTROYHWQUEUE, args);
}

int SyncClient::TryHwSignal(Handles queues, Handles objects, Values values, uint32_t flags) const {
  d3dkmt_submitsignalsyncobjectstohwqueue args = {};
  args.flags.value = flags;
  args.hwqueue_count = static_cast<uint32_t>(queues.size());
  args.hwqueues = AddressOf(queues);
  SetObjects(args, objects);
  args.fence_values = AddressOf(values);
  return node.TryIoctl(LX_DXSUBMITSIGNALSYNCOBJECTSTOHWQUEUE, args);
}

int SyncClient::TryHwWait(d3dkmthandle queue, Handles objects, Values values) const {
  d3dkmt_submitwaitforsyncobjectstohwqueue args = {};
  args.hwqueue = queue;
  SetObjects(args, objects);
  args.fence_values = AddressOf(values);
  return node.TryIoctl(LX_DXSUBMITWAITFORSYNCOBJECTSTOHWQUEUE, args);
}

int SyncClient::TryHwSubmit(d3dkmthandle queue, uint64_t progress, uint64_t command, uint32_t bytes) const {
  d3dkmt_submitcommandtohwqueue args = {};
  args.hwqueue = queue;
  args.hwqueue_progress_fence_id = progress;
  args.command_buffer = command;
  args.command_length = bytes;
  return node.TryIoctl(LX_DXSUBMITCOMMANDTOHWQUEUE, args);
}

void SyncClient::Finish(const HwQueue& queue) const {
  const Fence fence = CreateFence();
  Require(TryHwSignal(queue, fence.handle, 1), "SubmitSignalSyncObjectsToHwQueue");
  Wait(fence, 1);
  DestroySync(fence.handle);
}

// ---- Sharing ----

int SyncClient::TryOpenSync(int descriptor, d3dkmt_opensyncobjectfromnthandle2* args, uint32_t flags) const {
  *args = {};
  args->nt_handle = static_cast<uint32_t>(descriptor);
  args->device = device;
  args->flags.value = flags;
  return node.TryIoctl(LX_DXOPENSYNCOBJECTFROMNTHANDLE2, *args);
}

Fence SyncClient::OpenFence(int descriptor, uint32_t flags) const {
  d3dkmt_opensyncobjectfromnthandle2 args;
  Require(TryOpenSync(descriptor, &args, flags), "OpenSyncObjectFromNtHandle2");
  return {args.sync_object, ValueAt(args.monitored_fence.fence_value_cpu_va),
          args.monitored_fence.fence_value_gpu_va};
}

d3dkmthandle SyncClient::OpenSync(int descriptor) const {
  d3dkmt_opensyncobjectfromnthandle2 args;
  Require(TryOpenSync(descriptor, &args, sync_flags::kShared), "OpenSyncObjectFromNtHandle2");
  return args.sync_object;
}

// ---- Waiter ----

Waiter::Waiter(std::function<int()> call)
    : thread_([this, call = std::move(call)] {
        tid_ = static_cast<pid_t>(syscall(SYS_gettid));
        result_ = call();
        done_ = true;
      }) {}

Waiter::~Waiter() {
  if (thread_.joinable()) thread_.join();
}

void Waiter::UntilInCall() const {
  while (!done_ && (tid_ == 0 || !SleepsInIoctl(tid_))) std::this_thread::yield();
}

int Waiter::Join() {
  thread_.join();
  return result_;
}

bool SleepsInIoctl(pid_t tid) {
  // Number of the system call and its arguments; "running" while the thread is not asleep.
  const std::string task = fmt::format("/proc/self/task/{}/", tid);
  if (FILE* file = fopen((task + "syscall").c_str(), "re")) {
    long number = -1;
    const int fields = fscanf(file, "%ld", &number);
    fclose(file);
    if (fields != 1 || (number != SYS_ioctl && (number != SYS_recvmsg || KindOfNode() != NodeKind::kLibrary)))
      return false;
  }
  // User Mode Linux has no such file, and one that its tracer has stopped is not asleep. Whether the thread
  // sleeps at all is in `stat`, after the name in brackets.
  FILE* file = fopen((task + "stat").c_str(), "re");
  if (file == nullptr) return true;  // it has ended
  char state = 0;
  const int fields = fscanf(file, "%*d (%*[^)]) %c", &state);
  fclose(file);
  return fields == 1 && (state == 'S' || state == 'D');
}

bool HasHwQueues() {
  static const bool has = [] {
    const SyncClient client;
    d3dkmt_createcontextvirtual args = {};
    args.device = client.device;
    args.flags.value = context_flags::kHwQueues;
    HwQueue queue;
    return client.node.TryIoctl(LX_DXCREATECONTEXTVIRTUAL, args) == 0 &&
           client.TryCreateHwQueue(args.context, &queue) == 0;
  }();
  return has;
}

}  // namespace dxg::conformance
