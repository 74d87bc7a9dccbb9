#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "hostsim/adapter.h"
#include "hostsim/handle_table.h"
#include "hostsim/memory_budget.h"
#include "hostsim/mutex.h"
#include "hostsim/object.h"

namespace dxg::hostsim {

// Objects of all kinds that one process may have. A real host stops where its memory does; a limit keeps one
// client of the simulator from taking everybody's.
inline constexpr uint32_t kObjectsPerProcessMax = 1u << 18;

// What a process has of an adapter.
struct AdapterUse {
  std::shared_ptr<Adapter> adapter;
  uint32_t devices = 0;
  ProcessMemory memory;
};

// A guest process as the host sees it: a name for its handles and the owner of everything behind them. One
// lock guards it all; it is held for the time of one command, never while anything is waited for.
class Process {
 public:
  Process(uint64_t cookie, uint64_t process_id, std::string name, std::atomic<uint64_t>& count)
      : cookie(cookie), process_id(process_id), name(std::move(name)), counted_(count) {}

  Mutex& mutex() HOSTSIM_THREAD_ATTRIBUTE(lock_returned(mutex_)) { return mutex_; }

  // The object of that kind with that handle, or null.
  template <class T>
  T* Find(uint32_t object) HOSTSIM_REQUIRES(mutex_) {
    Object* found = objects_.Find(object);
    return found && found->kind == T::kKind ? static_cast<T*>(found) : nullptr;
  }

  // The new object's handle; 0, with the object gone, where the process has too many objects or has ended.
  uint32_t Insert(std::unique_ptr<Object> object) HOSTSIM_REQUIRES(mutex_);
  void Erase(uint32_t object) HOSTSIM_REQUIRES(mutex_) { objects_.Remove(object); }

  template <class Visit>
  void ForEachObject(Visit visit) HOSTSIM_REQUIRES(mutex_) {
    objects_.ForEach(visit);
  }

  // What the process has of the adapter, made if need be; null once the process has ended.
  AdapterUse* UseAdapter(const std::shared_ptr<Adapter>& adapter) HOSTSIM_REQUIRES(mutex_);
  // Of an adapter that the process does not use yet: nothing used, nothing reserved.
  const ProcessMemory& MemoryOn(const Adapter& adapter) HOSTSIM_REQUIRES(mutex_);

  // Destroys all that is left. Later commands find nothing and create nothing.
  void End() HOSTSIM_REQUIRES(mutex_);

  const uint64_t cookie;  // the guest's name for it
  const uint64_t process_id;
  const std::string name;
  uint32_t handle = 0;  // set before anybody else sees the process

 private:
  AdapterUse* FindUse(const Adapter& adapter) HOSTSIM_REQUIRES(mutex_);

  Mutex mutex_;
  bool ended_ HOSTSIM_GUARDED_BY(mutex_) = false;
  HandleTable<std::unique_ptr<Object>> objects_ HOSTSIM_GUARDED_BY(mutex_){kObjectsPerProcessMax};
  std::vector<std::unique_ptr<AdapterUse>> uses_ HOSTSIM_GUARDED_BY(mutex_);
  Counted counted_;
};

}  // namespace dxg::hostsim
