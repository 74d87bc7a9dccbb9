#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "hostsim/adapter/adapter.h"
#include "hostsim/machine/aftermath.h"
#include "hostsim/machine/handle_table.h"
#include "hostsim/machine/object.h"
#include "hostsim/machine/user_budget.h"
#include "hostsim/memory/gpu_va.h"
#include "hostsim/memory/io_space.h"
#include "hostsim/memory/memory_budget.h"
#include "hostsim/sync/sync_domain.h"
#include "hostsim/work/gpu_queue.h"

namespace dxg::hostsim {

// What a process has of an adapter.
struct AdapterUse {
  AdapterUse(std::shared_ptr<Adapter> adapter, std::atomic<uint64_t>& mappings,
             const std::shared_ptr<UserBudget>& user)
      : adapter(std::move(adapter)),
        work(std::make_shared<ProcessWork>(this->adapter->nodes(), user)),
        va(*this->adapter->video_memory(), this->adapter->profile().caps().virtual_address_bits(), mappings,
           work->reaches_guest, user) {}

  const std::shared_ptr<Adapter> adapter;
  uint32_t devices = 0;
  ProcessMemory memory;
  const std::shared_ptr<ProcessWork> work;
  GpuVa va;
};

// A guest process as the host sees it: a name for its handles and the owner of everything behind them. One
// lock guards it all; it is held for the time of one command, never while anything is waited for.
//
// The objects (Device, Context, Allocation, ...) and AdapterUse are guarded by the lock of their process, but
// their members carry no annotation: an object does not know its process, and where it does, clang takes
// `object.process.mutex()` and the lock that is held for two locks. What clang does check is the way to them:
// Find, Insert, Take, ForEachObject and UseAdapter require the lock, and nobody keeps a pointer without it.
// Threads that come without a command (engines, paging, the clock) keep handles and weak pointers, and look
// again under the lock.
class Process {
 public:
  // `user`: what his processes have together counts there; null: the guest does not say whose it is.
  Process(uint64_t cookie, uint64_t process_id, std::string name, Machine& machine,
          std::shared_ptr<UserBudget> user);

  Mutex& mutex() DXG_RETURN_CAPABILITY(mutex_) { return mutex_; }

  // The object of that kind with that handle, or null.
  template <class T>
  T* Find(uint32_t object) DXG_REQUIRES(mutex_) {
    Object* found = objects_.Find(object);
    return found && found->kind == T::kKind ? static_cast<T*>(found) : nullptr;
  }

  // The new object's handle; 0, with the object gone, where the process has too many objects or has ended.
  uint32_t Insert(std::unique_ptr<Object> object) DXG_REQUIRES(mutex_);
  void Erase(uint32_t object) DXG_REQUIRES(mutex_) { objects_.Remove(object); }
  // Its name is gone; null: there is no such object.
  std::unique_ptr<Object> Take(uint32_t object) DXG_REQUIRES(mutex_) { return objects_.Remove(object); }

  template <class Visit>
  void ForEachObject(Visit visit) DXG_REQUIRES(mutex_) {
    objects_.ForEach(visit);
  }

  // What the process has of the adapter, made if need be; null once the process has ended.
  AdapterUse* UseAdapter(const std::shared_ptr<Adapter>& adapter) DXG_REQUIRES(mutex_);
  // Of an adapter that the process does not use yet: nothing used, nothing reserved.
  const ProcessMemory& MemoryOn(const Adapter& adapter) DXG_REQUIRES(mutex_);

  template <class Visit>
  void ForEachUse(Visit visit) DXG_REQUIRES(mutex_) {
    for (const auto& use : uses_) visit(*use);
  }

  // What statistics of the adapter say about the process; null: it does not use it.
  std::shared_ptr<ProcessWork> WorkOn(const Adapter& adapter) DXG_REQUIRES(mutex_);

  // Destroys all that is left. Later commands find nothing and create nothing. `stopped`: see Engines::End.
  void End(const std::shared_ptr<void>& stopped, Aftermath* aftermath) DXG_REQUIRES(mutex_);

  // Where the guest's CPU sees the process's GPU memory. Has a lock of its own.
  RegionSet& regions() { return regions_; }

  Machine& machine;       // outlives it
  const uint64_t cookie;  // the guest's name for it
  const uint64_t process_id;
  const std::string name;
  const std::shared_ptr<UserBudget> user;
  uint32_t handle = 0;  // set before anybody else sees the process
  CpuWaitBudget cpu_waits;
  uint32_t periodic_fences DXG_GUARDED_BY(mutex_) = 0;
  // How often it has asked what a profile answers in turns (Adapter::Turns), up to the last turn: by the
  // adapter's address and the number of the question.
  std::map<std::pair<uint64_t, uint32_t>, uint32_t> answers_given DXG_GUARDED_BY(mutex_);

 private:
  AdapterUse* FindUse(const Adapter& adapter) DXG_REQUIRES(mutex_);

  Machine& machine_;
  std::atomic<uint64_t>& mappings_;
  RegionSet regions_;
  Mutex mutex_;
  bool ended_ DXG_GUARDED_BY(mutex_) = false;
  std::vector<std::unique_ptr<AdapterUse>> uses_ DXG_GUARDED_BY(mutex_);  // objects point into it
  HandleTable<std::unique_ptr<Object>> objects_ DXG_GUARDED_BY(mutex_);
  Counted counted_;
};

}  // namespace dxg::hostsim
