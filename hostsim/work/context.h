#pragma once

#include <cstdint>
#include <memory>
#include <unordered_set>

#include "hostsim/machine/object.h"
#include "hostsim/work/device.h"
#include "hostsim/work/gpu_queue.h"
#include "proto/abi/flags.h"

namespace dxg::hostsim {

// A stream of work for one node. The process's lock guards it.
class Context : public Object {
 public:
  static constexpr ObjectKind kKind = ObjectKind::kContext;

  // D3DDDI_CREATECONTEXTFLAGS
  static constexpr uint32_t kNullRendering = DXG_CONTEXT_NULL_RENDERING;
  static constexpr uint32_t kInitialData = DXG_CONTEXT_INITIAL_DATA;
  static constexpr uint32_t kDisableGpuTimeout = DXG_CONTEXT_DISABLE_GPU_TIMEOUT;
  static constexpr uint32_t kSynchronizationOnly = DXG_CONTEXT_SYNCHRONIZATION_ONLY;
  static constexpr uint32_t kHwQueueSupported = DXG_CONTEXT_HW_QUEUE_SUPPORTED;
  static constexpr uint32_t kNoKmdAccess = DXG_CONTEXT_NO_KMD_ACCESS;
  static constexpr uint32_t kKnownFlags = (1u << 6) - 1;

  Context(Device& device, uint32_t node, uint32_t flags, std::shared_ptr<GpuQueue> queue,
          std::atomic<uint64_t>& count)
      : Object(kKind), device(device), node(node), flags(flags), queue(std::move(queue)), counted_(count) {}

  Device& device;  // outlives its contexts
  const uint32_t node;
  const uint32_t flags;
  const std::shared_ptr<GpuQueue> queue;
  std::unordered_set<uint32_t> hw_queues;  // their handles; they end with it
  int32_t priority = 0;
  int32_t in_process_priority = 0;

 private:
  Counted counted_;
};

struct CommandContext;

// As FindDevice.
Context* FindContext(const CommandContext& call, Process& process, uint32_t handle)
    DXG_REQUIRES(process.mutex());

}  // namespace dxg::hostsim
