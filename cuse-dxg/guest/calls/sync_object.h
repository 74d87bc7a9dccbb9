#pragma once

#include <functional>
#include <memory>

#include "cuse-dxg/guest/call.h"

// Sync objects of a process, as the calls make and end them that give out or take back their handles.

namespace dxg::guest {

// What the host gave for a shared sync object: its handle in this process, and where the fence's value is.
struct OpenedSyncObject {
  std::shared_ptr<SyncObject>
      object;  // without its handle in the process's table, until Process::AddSyncObject
  uint64_t fence_cpu_virtual_address = 0;  // in the client; 0 where it is not monitored
  uint64_t fence_gpu_virtual_address = 0;
};

// Has the host open a shared sync object for a device of the caller's process, and brings its fence into the
// client. `device_name` is how the host hears of the device: as the caller named it, instance bits and all.
// `engine_affinity` counts for monitored fences. ENOMEM where the fence cannot be brought in; the host's
// refusals. Nothing is left where it fails.
struct OpenOptions {
  uint32_t device_name = 0;
  uint32_t engine_affinity = 0;
  uint32_t flags = 0;
  bool only_zero = false;  // a positive status of the host is a failure too, and is given back
};
TaskOf<OpenedSyncObject> OpenSharedSyncObject(Call& call, std::shared_ptr<Device> device,
                                              std::shared_ptr<SharedSyncObject> shared, OpenOptions options);

// Gives the caller's process the handle of what was opened; `answer` then says so to the client. Nothing is
// left where either fails.
Task EnterOpened(Call& call, std::shared_ptr<Device> device, const OpenedSyncObject& opened,
                 const std::function<Status()>& answer);

// Ends a sync object that has no handle in the process any more: what was mapped for it, its event, and the
// host's object, which is named `handle`. Gives the host's status.
Task EndSyncObject(Call& call, std::shared_ptr<SyncObject> object, uint32_t handle);

}  // namespace dxg::guest
