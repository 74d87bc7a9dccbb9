#pragma once

#include <atomic>
#include <list>
#include <memory>
#include <string>

#include "base/mutex.h"
#include "base/status.h"
#include "cuse-dxg/client/access.h"
#include "cuse-dxg/guest/account.h"
#include "cuse-dxg/guest/activity.h"
#include "cuse-dxg/guest/arena.h"
#include "cuse-dxg/guest/interrupted_waits.h"
#include "cuse-dxg/guest/objects.h"

namespace dxg::guest {

// All that a client process has: one for each thread group that opened the node, shared by its descriptors.
// Handles mean something only here.
class Process {
 public:
  // `user`: all that its user's processes have is charged to that; null: nothing is.
  explicit Process(client::Identity identity, std::shared_ptr<Account> user = nullptr,
                   const Limits& limits = kProcessLimits)
      : identity(std::move(identity)), account(std::make_shared<Account>(limits, std::move(user))) {}

  const client::Identity identity;  // of the thread that opened first
  const std::shared_ptr<Account> account;
  // Its memory file; empty where the user has no room for it, and the process is refused.
  Charge memory_file{account, Charged::kDescriptors, 1};
  std::atomic<uint32_t> host_handle{0};
  Activity activity;

  // -- Look-ups, each with the sentence that explains its refusal (EINVAL) --
  Result<std::shared_ptr<ProcessAdapter>> FindAdapter(uint32_t handle);
  Result<std::shared_ptr<Device>> FindDevice(uint32_t handle);
  Result<std::shared_ptr<Context>> FindContext(uint32_t handle);

  // -- Adapter handles --
  // A new handle of that adapter; 0 where the table is full.
  Handle OpenAdapter(const std::shared_ptr<Adapter>& adapter);
  // Frees an adapter handle; EINVAL: it is none. `last` gets the process's hold on the adapter when this was
  // its last handle; its devices are then to be destroyed.
  Status CloseAdapter(Handle handle, std::shared_ptr<ProcessAdapter>* last);
  // Takes every remaining hold, for the end of the process.
  std::list<std::shared_ptr<ProcessAdapter>> CloseAllAdapters();
  bool HasOpen(const Adapter& adapter);

  // -- Objects with the host's handles --
  // Enters an object, here and below. ENODEV: its parent ended meanwhile (ENOMEM: the adapter of a device);
  // ENOMEM: a limit of the process or its user is reached; EINVAL: the host's handle is in use, or no handle.
  Status AddDevice(const std::shared_ptr<Device>& device);
  Status AddContext(const std::shared_ptr<Device>& device, const std::shared_ptr<Context>& context);
  // Takes a device out: its handle and those of all its children are free and it is no longer active. EINVAL:
  // the handle is none of a device; so for all below that take something out.
  Result<std::shared_ptr<Device>> RemoveDevice(uint32_t handle);
  void RemoveDevice(const std::shared_ptr<Device>& device);
  // The oldest device of that hold that is still there, or null.
  std::shared_ptr<Device> FirstDevice(const ProcessAdapter& held);
  Result<std::shared_ptr<Context>> RemoveContext(uint32_t handle);

  // -- Memory --
  Result<std::shared_ptr<Allocation>> FindAllocation(uint32_t handle);
  Result<std::shared_ptr<Resource>> FindResource(uint32_t handle);
  Result<std::shared_ptr<PagingQueue>> FindPagingQueue(uint32_t handle);
  // The handle of any live object, adapters excepted; kFree where it is none.
  HandleType TypeOf(uint32_t handle);

  // What one call created: a resource (null: none, or an existing one), and allocations that belong to it or,
  // where `into` is null too, stand alone. All handles are entered, or none. `made_entered` tells whether it
  // was an allocation's handle that could not be.
  Status AddAllocations(const std::shared_ptr<Device>& device, const std::shared_ptr<Resource>& made,
                        const std::shared_ptr<Resource>& into,
                        const std::vector<std::shared_ptr<Allocation>>& allocations,
                        bool* made_entered = nullptr);
  // A resource that could not be entered stays at the host with its data until the device ends.
  void LeaveAtHost(Device& device, Charge data);
  // Takes all of a list out, or nothing: they have one owner on that device, and it is not a shared resource.
  Result<std::vector<std::shared_ptr<Allocation>>> RemoveAllocations(const Device& device,
                                                                     const std::vector<uint32_t>& handles);
  // Takes a resource of that device out, with its allocations.
  Result<std::shared_ptr<Resource>> RemoveResource(const Device& device, uint32_t handle);
  Status AddPagingQueue(const std::shared_ptr<Device>& device, const std::shared_ptr<PagingQueue>& queue);
  Result<std::shared_ptr<PagingQueue>> RemovePagingQueue(uint32_t handle);

  // -- Fences and queues --
  Result<std::shared_ptr<SyncObject>> FindSyncObject(uint32_t handle);
  Result<std::shared_ptr<HwQueue>> FindHwQueue(uint32_t handle);
  // Whether waits on that handle are for a value in memory: true for monitored fences, and for the fences of
  // paging and hardware queues. EINVAL where it is none that can be waited for.
  Result<bool> IsMonitored(uint32_t handle);
  Status AddSyncObject(const std::shared_ptr<Device>& device, const std::shared_ptr<SyncObject>& object);
  Result<std::shared_ptr<SyncObject>> RemoveSyncObject(uint32_t handle);
  // The queue's handle and its fence's, or none. ENODEV where the context or its device ended meanwhile.
  Status AddHwQueue(const std::shared_ptr<Device>& device, const std::shared_ptr<Context>& context,
                    const std::shared_ptr<HwQueue>& queue);
  Result<std::shared_ptr<HwQueue>> RemoveHwQueue(uint32_t handle);

  // CPU access. Lock: the address where the client already sees the allocation, counted; 0 where it has to be
  // brought there first. Locked enters what was brought (or, where another thread was faster, keeps its
  // address).
  uint64_t Lock(Allocation& allocation);
  // The hold on the mapping that came with it is the allocation's from then on; what the allocation had no
  // use for is given back.
  uint64_t Locked(Allocation& allocation, ClientAddress cpu_address, WindowAddress window_address);
  // Takes back one lock; EINVAL: there is none. `last` tells whether the host is to hear of it.
  Status Unlock(Allocation& allocation, bool* last);

  // An allocation that was taken out: the host no longer works with the client's pages, and the client is no
  // longer to see the host's; what has to be unmapped for that is added to `unmap`.
  void Release(Allocation& allocation, std::vector<Arena::Mapping>* unmap);

  // As that, of a page with a fence's value; nothing for 0.
  void ReleaseFence(WindowAddress window_address, std::vector<Arena::Mapping>* unmap);

  Arena& arena() { return arena_; }
  InterruptedWaits& interrupted_waits() { return *interrupted_waits_; }

  // Every fence that the client can read is at that value from now on, also one that is still being entered:
  // nobody is left who could raise it.
  void StoreFences(uint64_t value);

  // Calls that go on when the kernel has their answer: in a visit, in memory of a killed client, or while
  // they take apart a device. The process ends after them, although its last descriptor may be closed before.
  // A killed client's call that waits at the host is none of them: the host may answer it only when the
  // process ends. True from End or from the CallEnds that is the last: now is the time.
  void CallOutlivesItsFile();
  bool CallEnds();
  bool End();

  // Live handles of both kinds, for the leak checks of tests.
  size_t live_handles();

 private:
  bool BeginsToEnd() DXG_REQUIRES(mutex_);
  template <typename T>
  Result<std::shared_ptr<T>> Find(HandleTable& table, Handle handle, HandleType type) DXG_REQUIRES(mutex_);
  Status Assign(Handle handle, HandleType type, std::shared_ptr<void> object) DXG_REQUIRES(mutex_);
  void RemoveDeviceLocked(const std::shared_ptr<Device>& device) DXG_REQUIRES(mutex_);
  Status CheckRemovable(const Device& device, const std::vector<uint32_t>& handles,
                        std::vector<std::shared_ptr<Allocation>>* found) DXG_REQUIRES(mutex_);
  void FreeAllocationLocked(const std::shared_ptr<Allocation>& allocation) DXG_REQUIRES(mutex_);
  void FreeContextLocked(const Context& context) DXG_REQUIRES(mutex_);
  void StoreFenceLocked(WindowAddress window_address) DXG_REQUIRES(mutex_);

  const std::shared_ptr<InterruptedWaits> interrupted_waits_ = std::make_shared<InterruptedWaits>();
  Arena arena_;  // its lock is taken with mutex_ held, never the other way round

  // Also guards the lists in ProcessAdapter, Device, Context and Resource, and what is not const in an
  // Allocation. Objects do not name their process, so clang cannot check that.
  Mutex mutex_;
  HandleTable adapter_handles_ DXG_GUARDED_BY(mutex_){account};
  HandleTable object_handles_ DXG_GUARDED_BY(mutex_){account};
  std::list<std::shared_ptr<ProcessAdapter>> adapters_ DXG_GUARDED_BY(mutex_);
  std::optional<uint64_t> all_fences_ DXG_GUARDED_BY(mutex_);  // what StoreFences was told
  uint32_t calls_ DXG_GUARDED_BY(mutex_) = 0;
  bool closed_ DXG_GUARDED_BY(mutex_) = false;
  bool ending_ DXG_GUARDED_BY(mutex_) = false;
};

template <typename T>
Result<std::shared_ptr<T>> Process::Find(HandleTable& table, Handle handle, HandleType type) {
  const auto* entry = table.Find(handle);
  if (entry == nullptr) {
    return Status::Refuse(EINVAL, "{:#x} is no live handle of this process; expected {}", handle.value,
                          HandleTypeName(type));
  }
  if (entry->type != type) {
    return Status::Refuse(EINVAL, "{:#x} is {}; expected {}", handle.value, HandleTypeName(entry->type),
                          HandleTypeName(type));
  }
  return std::static_pointer_cast<T>(entry->object);
}

// -- Checks and look-ups that many handlers share -------------------------------------------------

// The adapter works, else ENODEV.
Status CheckActive(const Adapter& adapter);
// The device is not being destroyed, else ENODEV.
Status CheckActive(const Device& device);

// A context, and the device that owns it. EINVAL: as the look-ups; so below.
struct ContextAndDevice {
  std::shared_ptr<Context> context;
  std::shared_ptr<Device> device;
};
Result<ContextAndDevice> FindContextAndDevice(Process& process, uint32_t handle);

// A hardware queue, and the device that owns it.
struct HwQueueAndDevice {
  std::shared_ptr<HwQueue> queue;
  std::shared_ptr<Device> device;
};
Result<HwQueueAndDevice> FindHwQueueAndDevice(Process& process, uint32_t handle);

// A paging queue, and the device that owns it.
struct PagingQueueAndDevice {
  std::shared_ptr<PagingQueue> queue;
  std::shared_ptr<Device> device;
};
Result<PagingQueueAndDevice> FindPagingQueueAndDevice(Process& process, uint32_t handle);

}  // namespace dxg::guest
