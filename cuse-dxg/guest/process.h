#pragma once

#include <atomic>
#include <list>
#include <memory>
#include <mutex>
#include <string>

#include "cuse-dxg/client/access.h"
#include "cuse-dxg/guest/objects.h"
#include "cuse-dxg/status.h"

namespace dxg::guest {

// All that a client process has: one for each thread group that opened the node, shared by its descriptors. Handles
// mean something only here.
class Process {
 public:
  explicit Process(client::Identity identity) : identity(std::move(identity)) {}

  const client::Identity identity;  // of the thread that opened first
  std::atomic<uint32_t> host_handle{0};

  // -- Look-ups, each with the sentence that explains its refusal (EINVAL) --
  Result<std::shared_ptr<ProcessAdapter>> FindAdapter(uint32_t handle);
  Result<std::shared_ptr<Device>> FindDevice(uint32_t handle);
  Result<std::shared_ptr<Context>> FindContext(uint32_t handle);

  // -- Adapter handles --
  // A new handle of that adapter; 0 where the table is full.
  Handle OpenAdapter(const std::shared_ptr<Adapter>& adapter);
  // Frees an adapter handle. `last` gets the process's hold on the adapter when this was its last handle; its devices
  // are then to be destroyed.
  Status CloseAdapter(Handle handle, std::shared_ptr<ProcessAdapter>* last);
  // Takes every remaining hold, for the end of the process.
  std::list<std::shared_ptr<ProcessAdapter>> CloseAllAdapters();
  bool HasOpen(const Adapter& adapter);

  // -- Objects with the host's handles --
  // Enters an object, unless its parent ended meanwhile or the handle cannot be entered.
  Status AddDevice(const std::shared_ptr<Device>& device);
  Status AddContext(const std::shared_ptr<Device>& device, const std::shared_ptr<Context>& context);
  // Takes a device out: its handle and those of all its children are free and it is no longer active.
  Result<std::shared_ptr<Device>> RemoveDevice(uint32_t handle);
  void RemoveDevice(const std::shared_ptr<Device>& device);
  // The oldest device of that hold that is still there, or null.
  std::shared_ptr<Device> FirstDevice(const ProcessAdapter& held);
  Result<std::shared_ptr<Context>> RemoveContext(uint32_t handle);

  // Live handles of both kinds, for the leak checks of tests.
  size_t live_handles();

 private:
  template <typename T>
  Result<std::shared_ptr<T>> Find(HandleTable& table, Handle handle, HandleType type);
  Status Assign(Handle handle, HandleType type, std::shared_ptr<void> object);
  void RemoveDeviceLocked(const std::shared_ptr<Device>& device);

  std::mutex mutex_;  // guards all below, and the lists in ProcessAdapter and Device
  HandleTable adapter_handles_;
  HandleTable object_handles_;
  std::list<std::shared_ptr<ProcessAdapter>> adapters_;
};

}  // namespace dxg::guest
