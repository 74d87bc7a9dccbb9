#pragma once

#include <cstdint>
#include <memory>

#include "hostsim/sync/sync_object.h"
#include "hostsim/work/context.h"

namespace dxg::hostsim {

// A queue that the hardware schedules: commands with numbers, and a fence that has the number of the last one
// that has ended. The process's lock guards it.
class HwQueue : public Object {
 public:
  static constexpr ObjectKind kKind = ObjectKind::kHwQueue;

  // D3DDDI_CREATEHWQUEUEFLAGS
  static constexpr uint32_t kDisableGpuTimeout = 1u << 0;
  static constexpr uint32_t kNoBroadcastSignal = 1u << 1;
  static constexpr uint32_t kNoBroadcastWait = 1u << 2;
  static constexpr uint32_t kNoKmdAccess = 1u << 3;
  static constexpr uint32_t kUserModeSubmission = 1u << 4;

  HwQueue(Context& context, uint32_t flags, std::shared_ptr<GpuQueue> queue, const SyncHandle& progress,
          std::atomic<uint64_t>& count)
      : Object(kKind),
        context(context),
        flags(flags),
        queue(std::move(queue)),
        progress(progress.object),
        progress_handle(progress.handle),
        counted_(count) {}

  Context& context;  // outlives its queues
  const uint32_t flags;
  const std::shared_ptr<GpuQueue> queue;
  const std::shared_ptr<SyncObject> progress;
  const uint32_t progress_handle;
  uint64_t last_id = 0;  // that was submitted

 private:
  Counted counted_;
};

// A queue and its fence end; what it has queued is dropped. `stopped`: see Engines::End.
void EndHwQueue(Process& process, HwQueue& queue, const std::shared_ptr<void>& stopped, Aftermath* aftermath)
    DXG_REQUIRES(process.mutex());

// Where packets can be queued: a context, or one of its hardware queues.
struct QueueOf {
  Context* context = nullptr;  // null: the handle is neither
  HwQueue* hw_queue = nullptr;
  GpuQueue& queue() const { return hw_queue ? *hw_queue->queue : *context->queue; }
};

// As FindDevice.
QueueOf FindQueue(const CommandContext& call, Process& process, uint32_t handle)
    DXG_REQUIRES(process.mutex());

}  // namespace dxg::hostsim
