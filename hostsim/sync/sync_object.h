#pragma once

#include <cstdint>
#include <memory>

#include "hostsim/machine/machine.h"
#include "hostsim/machine/object.h"
#include "hostsim/machine/process.h"
#include "hostsim/memory/gpu_address.h"
#include "hostsim/sync/sync_domain.h"
#include "hostsim/work/device.h"
#include "proto/abi/d3dkmthk.h"

namespace dxg::hostsim {

inline constexpr uint32_t kSyncObjectsPerListMax =
    D3DDDI_MAX_OBJECT_SIGNALED;  // that one command waits for or signals

// One process's handle on a synchronization object, with what the process may do. The process's lock guards
// it.
class SyncHandle : public Object {
 public:
  static constexpr ObjectKind kKind = ObjectKind::kSync;

  // Who raises the object, besides those who may signal it.
  enum class Use {
    kOfProgram,
    kOfPagingQueue,  // its queue, and nobody else; ends with it
    kProgress,       // a hardware queue; ends with it
  };

  SyncHandle(std::shared_ptr<Adapter> adapter, std::shared_ptr<SyncObject> object, Use use, uint32_t flags)
      : Object(kKind), adapter(std::move(adapter)), object(std::move(object)), use(use), flags(flags) {}

  // A program may destroy it, and may let its queues signal it.
  bool of_program() const { return use == Use::kOfProgram; }
  // ACCESS_DENIED where the handle is not for that.
  int32_t CheckSignal() const;
  int32_t CheckWait() const;

  const std::shared_ptr<Adapter> adapter;  // of the device that made or opened it
  const std::shared_ptr<SyncObject> object;
  const Use use;
  const uint32_t flags;            // kSync...: of the creation, or of the opening
  uint32_t device = 0;             // that it ends with; 0: with the process
  std::shared_ptr<SyncPage> page;  // null: the CPU does not see it
  GpuAddress gpu_address;          // in the process's addresses on the adapter; 0: it is not there
};

struct CommandContext;

// As FindDevice.
SyncHandle* FindSync(const CommandContext& call, Process& process, uint32_t handle)
    DXG_REQUIRES(process.mutex());

// A monitored fence at 0 that a queue raises, with its page and, where `gpu_access`, its place among the GPU
// addresses, which GPUs only read. Null: there is no memory, and nothing is left. It ends with the device, or
// by EndSync.
SyncHandle* CreateQueueFence(Process& process, Device& device, SyncHandle::Use use, bool gpu_access)
    DXG_REQUIRES(process.mutex());

// CreateNtSharedObject; 0: refused.
uint32_t ShareSync(Machine& machine, const SyncHandle& handle, Aftermath* aftermath);
// The process ends, and with it what it gave to the host.
void EndHostShare(Process& process, const Object& share, Aftermath* aftermath) DXG_REQUIRES(process.mutex());

// A handle ends: its page, its addresses, and its share in the object.
void EndSync(Process& process, SyncHandle& handle, Aftermath* aftermath) DXG_REQUIRES(process.mutex());
// All handles that end with the device, and the device's CPU waits.
void EndSyncsOf(Process& process, Device& device, Aftermath* aftermath) DXG_REQUIRES(process.mutex());
// The device is in error: the monitored fences that it could signal get the largest value. Where its adapter
// has `stopped` all fences of the adapter do, and its CPU waits end, also of a device that was in error
// before.
void LoseFences(Process& process, Device& device, bool stopped, Aftermath* aftermath)
    DXG_REQUIRES(process.mutex());

}  // namespace dxg::hostsim
