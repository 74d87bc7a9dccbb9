#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "hostsim/adapter.h"
#include "hostsim/handle_table.h"
#include "hostsim/mutex.h"
#include "hostsim/process.h"
#include "hostsim/world.h"

namespace dxg::hostsim {

inline constexpr uint32_t kAdaptersMax = 64;  // live ones, as many as a guest can enumerate
inline constexpr uint32_t kProcessesMax = 1u << 16;
inline constexpr size_t kRemovedAdaptersMax = 64;  // that still answer DEVICE_REMOVED

struct Counts {
  std::atomic<uint64_t> processes{0};
  std::atomic<uint64_t> devices{0};
  std::atomic<uint64_t> contexts{0};
};

// The simulated computer: its adapters, the guest's processes, and the world around it. Commands work on it;
// Host is its door. Shared pointers keep what a command found alive to the command's end, whatever another
// thread removes.
class Machine {
 public:
  explicit Machine(World world) : world_(world) {}

  // -- Adapters. LUIDs are never used twice, as until a reboot of Windows.
  std::shared_ptr<Adapter> AddAdapter(AdapterProfile profile);  // null: there are kAdaptersMax
  std::shared_ptr<Adapter> FindAdapter(uint64_t vgpu_luid);     // also one removed lately; null: unknown
  std::vector<std::shared_ptr<Adapter>> Adapters();             // live ones, oldest first
  // Makes it a removed one. Null if it is not a live one.
  std::shared_ptr<Adapter> TakeAdapter(uint64_t vgpu_luid);

  // -- Processes.
  uint32_t AddProcess(std::shared_ptr<Process> process);  // 0: there are too many
  std::shared_ptr<Process> FindProcess(uint32_t handle);
  std::vector<std::shared_ptr<Process>> Processes();
  bool EndProcess(uint32_t handle);

  // Both of a command's parties under one lock; null where unknown.
  void Find(uint32_t process, uint64_t vgpu_luid, std::shared_ptr<Process>* found_process,
            std::shared_ptr<Adapter>* found_adapter);

  uint64_t NowNs() const { return world_.clock.NowNs(); }
  bool Hit(FaultPoint point) { return world_.faults && world_.faults->Hit(point); }

  Counts counts;  // before the tables: what is in them counts itself out

 private:
  uint64_t NewGuestLuid(uint64_t wanted) HOSTSIM_REQUIRES(mutex_);

  World world_;
  SharedMutex mutex_;
  std::vector<std::shared_ptr<Adapter>> adapters_ HOSTSIM_GUARDED_BY(mutex_);
  std::deque<std::shared_ptr<Adapter>> removed_adapters_ HOSTSIM_GUARDED_BY(mutex_);
  std::unordered_set<uint64_t> guest_luids_ HOSTSIM_GUARDED_BY(mutex_);  // all there ever were
  uint64_t adapter_serial_ HOSTSIM_GUARDED_BY(mutex_) = 0;
  HandleTable<std::shared_ptr<Process>> processes_ HOSTSIM_GUARDED_BY(mutex_){kProcessesMax};
};

}  // namespace dxg::hostsim
