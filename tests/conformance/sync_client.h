#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "proto/abi/flags.h"
#include "tests/conformance/memory_client.h"

// A client of fences and queues, and the calls about them by name.
//
// As in Node, a call whose name begins with Try returns the raw result. Any other call is set-up and throws
// if it is refused.

namespace dxg::conformance {

// An eventfd, as the calls take it for an event.
class Event {
 public:
  Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  ~Event() { Close(); }

  int fd() const { return fd_; }
  void Close();
  // How often it was signalled since the last call of this. A signal may arrive later than the answer to the
  // call that causes it, so this waits a while for the expected number.
  uint64_t Take(uint64_t expected = 0) const;
  // Waits until it is signalled. It has no deadline of its own; the test's timeout ends it.
  void Wait() const;

 private:
  int fd_;
};

// A monitored fence, or the fence of a queue.
struct Fence {
  d3dkmthandle handle;
  const volatile uint64_t* value;  // in this process
  uint64_t gpu_address;

  uint64_t Value() const { return __atomic_load_n(value, __ATOMIC_ACQUIRE); }
};

struct HwQueue {
  d3dkmthandle handle;
  Fence progress;
};

namespace sync_flags {
inline constexpr uint32_t kShared =
    DXG_SYNC_SHARED | DXG_SYNC_NT_SECURITY_SHARING;  // as every shared object has
inline constexpr uint32_t kCrossAdapter = DXG_SYNC_CROSS_ADAPTER;
inline constexpr uint32_t kTopOfPipeline = DXG_SYNC_TOP_OF_PIPELINE;
inline constexpr uint32_t kNoSignal = DXG_SYNC_NO_SIGNAL;
inline constexpr uint32_t kNoWait = DXG_SYNC_NO_WAIT;
inline constexpr uint32_t kNoSignalMaxValueOnTdr = DXG_SYNC_NO_SIGNAL_MAX_VALUE_ON_TDR;
inline constexpr uint32_t kNoGpuAccess = DXG_SYNC_NO_GPU_ACCESS;
inline constexpr uint32_t kSignalByKmd = DXG_SYNC_SIGNAL_BY_KMD;
inline constexpr uint32_t kKeepWaitersUntilLast = DXG_SYNC_UNWAIT_CPU_WAITERS_ONLY_ON_DESTROY;
}  // namespace sync_flags

namespace signal_flags {
inline constexpr uint32_t kAtSubmission = DXG_SIGNAL_AT_SUBMISSION;
inline constexpr uint32_t kEnqueueCpuEvent = DXG_SIGNAL_ENQUEUE_CPU_EVENT;
inline constexpr uint32_t kAllowRewind = DXG_SIGNAL_ALLOW_FENCE_REWIND;
}  // namespace signal_flags

namespace context_flags {
inline constexpr uint32_t kNullRendering = DXG_CONTEXT_NULL_RENDERING;
inline constexpr uint32_t kDisableGpuTimeout = DXG_CONTEXT_DISABLE_GPU_TIMEOUT;
inline constexpr uint32_t kSynchronizationOnly = DXG_CONTEXT_SYNCHRONIZATION_ONLY;
inline constexpr uint32_t kHwQueues = DXG_CONTEXT_HW_QUEUE_SUPPORTED;
}  // namespace context_flags

using Handles = std::span<const d3dkmthandle>;
using Values = std::span<const uint64_t>;

class SyncClient : public MemoryClient {
 public:
  // ---- Objects ----
  int TryCreateSync(d3dkmt_createsynchronizationobject2& args) const {
    return node.TryIoctl(LX_DXCREATESYNCHRONIZATIONOBJECT, args);
  }
  // Calls that make an object of that type, and a monitored fence, on the client's device.
  d3dkmt_createsynchronizationobject2 ObjectArgs(d3dddi_synchronizationobject_type type,
                                                 uint32_t flags = 0) const;
  d3dkmt_createsynchronizationobject2 FenceArgs(uint64_t initial = 0, uint32_t flags = 0) const;
  Fence CreateFence(uint64_t initial = 0, uint32_t flags = 0) const;
  std::vector<Fence> CreateFences(size_t count, uint32_t flags = 0) const;
  d3dkmthandle CreateLegacyFence(uint64_t initial = 0, uint32_t flags = 0) const;
  d3dkmthandle CreateSemaphore(uint32_t initial, uint32_t maximum, uint32_t flags = 0) const;
  d3dkmthandle CreateMutex(bool owned, uint32_t flags = 0) const;
  d3dkmthandle CreateNotification(int event) const;
  int TryDestroySync(d3dkmthandle object) const;
  void DestroySync(d3dkmthandle object) const;

  // ---- CPU ----
  int TrySignal(Handles objects, Values values, uint32_t flags = 0) const;
  int TrySignal(d3dkmthandle object, uint64_t value, uint32_t flags = 0) const {
    return TrySignal({&object, 1}, {&value, 1}, flags);
  }
  void Signal(d3dkmthandle object, uint64_t value, uint32_t flags = 0) const;
  void Signal(const Fence& fence, uint64_t value) const { Signal(fence.handle, value); }
  // Waits in the call without an event.
  int TryWait(Handles objects, Values values, bool any = false, int event = 0) const;
  int TryWait(d3dkmthandle object, uint64_t value, int event = 0) const {
    return TryWait({&object, 1}, {&value, 1}, false, event);
  }
  void Wait(d3dkmthandle object, uint64_t value) const;
  void Wait(const Fence& fence, uint64_t value) const { Wait(fence.handle, value); }
  void WaitEvent(d3dkmthandle object, uint64_t value, const Event& event) const;

  // ---- Contexts ----
  d3dkmthandle CreateContextWith(uint32_t flags, uint32_t node_ordinal = 0) const;
  d3dkmthandle CreateContext(uint32_t node_ordinal = 0) const {
    return node.CreateContext(device, node_ordinal);
  }
  int TryGpuSignal(d3dkmthandle context, Handles objects, Values values) const;
  int TryGpuSignal(d3dkmthandle context, d3dkmthandle object, uint64_t value) const {
    return TryGpuSignal(context, {&object, 1}, {&value, 1});
  }
  void GpuSignal(d3dkmthandle context, const Fence& fence, uint64_t value) const;
  int TryGpuSignal2(Handles contexts, Handles objects, Values values, uint32_t flags = 0) const;
  int TryEnqueueEvent(Handles contexts, int event, uint32_t flags = signal_flags::kEnqueueCpuEvent) const;
  int TryGpuWait(d3dkmthandle context, Handles objects, Values values) const;
  int TryGpuWait(d3dkmthandle context, d3dkmthandle object, uint64_t value) const {
    return TryGpuWait(context, {&object, 1}, {&value, 1});
  }
  void GpuWait(d3dkmthandle context, const Fence& fence, uint64_t value) const;
  // For an object that is no monitored fence; up to 8 values.
  int TryGpuWaitUnmonitored(d3dkmthandle context, Handles objects, uint64_t value) const;
  int TryLegacySignal(d3dkmthandle context, Handles objects, uint64_t value, uint32_t flags = 0,
                      Handles more_contexts = {}) const;
  int TryLegacySignal(d3dkmthandle context, d3dkmthandle object, uint64_t value) const {
    return TryLegacySignal(context, Handles(&object, 1), value);
  }
  int TryLegacyWait(d3dkmthandle context, Handles objects, Values values) const;
  int TryLegacyWait(d3dkmthandle context, d3dkmthandle object, uint64_t value) const {
    return TryLegacyWait(context, {&object, 1}, {&value, 1});
  }
  int TrySubmit(Handles contexts, uint64_t command, uint32_t bytes, uint32_t flags = 0) const;
  int TrySubmit(d3dkmthandle context, uint64_t command, uint32_t bytes) const {
    return TrySubmit({&context, 1}, command, bytes);
  }
  // Waits until everything that is queued on the context is done.
  void Finish(d3dkmthandle context) const;

  // ---- Hardware queues ----
  int TryCreateHwQueue(d3dkmthandle context, HwQueue* queue, uint32_t flags = 0) const;
  HwQueue CreateHwQueue(uint32_t node_ordinal = 0, uint32_t flags = 0) const;
  int TryDestroyHwQueue(d3dkmthandle queue) const;
  int TryHwSignal(Handles queues, Handles objects, Values values, uint32_t flags = 0) const;
  int TryHwSignal(const HwQueue& queue, d3dkmthandle object, uint64_t value) const {
    return TryHwSignal({&queue.handle, 1}, {&object, 1}, {&value, 1});
  }
  int TryHwWait(d3dkmthandle queue, Handles objects, Values values) const;
  int TryHwWait(const HwQueue& queue, d3dkmthandle object, uint64_t value) const {
    return TryHwWait(queue.handle, {&object, 1}, {&value, 1});
  }
  int TryHwSubmit(d3dkmthandle queue, uint64_t progress, uint64_t command, uint32_t bytes) const;
  void Finish(const HwQueue& queue) const;

  // ---- Sharing; descriptors as of MemoryClient::Share ----
  int TryOpenSync(int descriptor, d3dkmt_opensyncobjectfromnthandle2* args, uint32_t flags = 0) const;
  Fence OpenFence(int descriptor, uint32_t flags = 0) const;
  d3dkmthandle OpenSync(int descriptor) const;
};

// A thread that waits in a call. The test can check that it waits, and that it still does.
class Waiter {
 public:
  // The call ends with its result.
  explicit Waiter(std::function<int()> call);
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;
  ~Waiter();

  // Waits until the thread sleeps in the system call, or has returned from it.
  void UntilInCall() const;
  bool IsDone() const { return done_; }
  // Waits for the end of the thread and returns the result of the call.
  int Join();
  pid_t tid() const { return tid_; }
  pthread_t thread() { return thread_.native_handle(); }

 private:
  std::atomic<pid_t> tid_ = 0;
  std::atomic<bool> done_ = false;
  int result_ = 0;
  std::thread thread_;
};

// Whether a thread of this process sleeps in an ioctl.
bool SleepsInIoctl(pid_t tid);

// Whether contexts can have hardware queues. Asked once.
bool HasHwQueues();

#define SKIP_WITHOUT_HW_QUEUES()                                                      \
  if (!::dxg::conformance::options().simulator && !::dxg::conformance::HasHwQueues()) \
  GTEST_SKIP() << "the host's GPU driver makes no hardware queue for this program"

}  // namespace dxg::conformance
