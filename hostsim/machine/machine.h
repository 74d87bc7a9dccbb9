#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/mutex.h"
#include "hostsim/adapter/adapter.h"
#include "hostsim/machine/aftermath.h"
#include "hostsim/machine/faults.h"
#include "hostsim/machine/handle_table.h"
#include "hostsim/machine/process.h"
#include "hostsim/machine/world.h"
#include "hostsim/memory/io_space.h"
#include "hostsim/memory/resource.h"
#include "hostsim/sync/sync_domain.h"
#include "link/fidelity.h"

namespace dxg::hostsim {

inline constexpr uint32_t kAdaptersMax = 64;  // live ones, as many as a guest can enumerate
inline constexpr uint32_t kProcessesMax = 1u << 16;
inline constexpr uint32_t kSharedMax = 1u << 18;
inline constexpr size_t kRemovedAdaptersMax = 64;  // that still answer DEVICE_REMOVED

struct Counts {
  std::atomic<uint64_t> processes{0};
  std::atomic<uint64_t> devices{0};
  std::atomic<uint64_t> contexts{0};
  std::atomic<uint64_t> hw_queues{0};
  std::atomic<uint64_t> resources{0};
  std::atomic<uint64_t> allocations{0};
  std::atomic<uint64_t> storages{0};
  std::atomic<uint64_t> mappings{0};  // ranges of GPU virtual addresses
  std::atomic<uint64_t> paging_queues{0};
  std::atomic<uint64_t> sync_objects{0};
  std::atomic<uint64_t> waits{0};             // for sync objects, of CPUs and queues, that are not over
  std::atomic<uint64_t> lost_accesses{0};     // to pages of the guest that were gone; never falls
  std::atomic<uint64_t> unheard_refusals{0};  // of asynchronous commands; never falls
};

class HostEvents;

// What all processes of the VM can name: a resource or a synchronization object.
struct SharedObject {
  std::shared_ptr<SharedResource> resource;
  std::shared_ptr<SyncObject> sync;
  bool nt =
      true;  // CreateNtSharedObject gave the name; otherwise it is a synchronization object's global one
};

// The simulated computer: its adapters, the guest's processes, and the world around it. Commands work on it,
// and Host is how they get in. Shared pointers keep what a command found alive to the command's end, whatever
// another thread removes.
//
// Lock order. A thread that holds a lock takes only locks of a later row. ACQUIRED_BEFORE cannot say this,
// because each lock belongs to another class.
//
//   1  Machine::Gate::mutex, shared      around each call of the clock
//   2  Process::mutex()                  one process at a time
//   3  PagingEngine::mutex_              one adapter at a time, as in the next two rows
//   4  Engines::mutex_
//   5  VideoMemory::mutex_
//   6  UpdateLane::mutex, Machine::mutex_, Machine::window_mutex_, RegionSet::mutex_
//   7  Storage::slow_word_              the lock of words without an address (gpu_memory.cc)
//   8  Storage::guest_mutex_             the GuestMemory's own lock is taken inside it
//   9  SyncDomain::mutex_, MemoryBudget::reserve_mutex_, Adapter::hangs_mutex_, Region::mutex_,
//      Region::map_mutex_, IoSpace::mutex_, FaultPlan::mutex_, Fidelity::mutex_,
//      the clock's lock
//
// Locks of one row are never held together. Nobody outside is called under a lock: that is what Aftermath is
// for. The exceptions are PagingOperation::done(false) under row 3, and the clock and the guest's memory,
// which do not call back.
class Machine {
 public:
  explicit Machine(World world)
      : sync_(counts.waits, world.work != nullptr ? &world.clock : nullptr),
        io_space_(std::make_shared<IoSpace>(world.rng.Next(), world.window.bytes != 0, world.engine_threads)),
        world_(world),
        faults_(world.faults ? *world.faults : own_faults_),
        gate_(std::make_shared<Gate>()) {}

  // -- Adapters. LUIDs are never used twice, as until a reboot of Windows.
  std::shared_ptr<Adapter> AddAdapter(AdapterProfile profile);  // null: there are kAdaptersMax
  std::shared_ptr<Adapter> FindAdapter(uint64_t vgpu_luid);     // also one removed lately; null: unknown
  std::vector<std::shared_ptr<Adapter>> Adapters();             // live ones, oldest first
  // Makes it a removed one. Null if it is not a live one.
  std::shared_ptr<Adapter> TakeAdapter(uint64_t vgpu_luid);

  // -- Processes.
  uint32_t AddProcess(std::shared_ptr<Process> process);  // 0: there are too many
  // Lives as long as a process of the user has it.
  std::shared_ptr<UserBudget> BudgetOf(uint32_t user);
  std::shared_ptr<Process> FindProcess(uint32_t handle);
  std::vector<std::shared_ptr<Process>> Processes();
  // As Engines::End: the last share in `stopped` goes when no engine is at its memory any more.
  bool EndProcess(uint32_t handle, const std::shared_ptr<void>& stopped, Aftermath* aftermath);

  // Both of a command's parties under one lock; null where unknown.
  void Find(uint32_t process, uint64_t vgpu_luid, std::shared_ptr<Process>* found_process,
            std::shared_ptr<Adapter>* found_adapter);

  // -- What all processes of the VM can name.
  uint32_t AddShared(SharedObject object);  // 0: there are too many
  std::shared_ptr<const SharedObject> FindShared(uint32_t handle);
  // Null: there is no such name of that kind.
  std::shared_ptr<const SharedObject> RemoveShared(uint32_t handle, bool nt);
  uint64_t shared();

  // -- Synchronization objects.
  SyncDomain& sync() { return sync_; }
  std::shared_ptr<SyncObject> NewSync(const SyncTraits& traits) {
    return std::make_shared<SyncObject>(sync_, traits, counts.sync_objects);
  }
  // As SyncDomain::Drop; with the last handle the global name goes as well.
  void DropSync(SyncObject& object, bool local, Aftermath* aftermath);

  // -- Engines.
  uint32_t objects_per_process_max() const { return world_.objects_per_process_max; }
  bool engine_threads() const { return world_.engine_threads; }
  uint64_t NewQueueNumber() { return ++queue_numbers_; }
  void StopEngines();  // of all adapters, for good

  uint64_t NowNs() const { return world_.clock.NowNs(); }
  // As Clock::CallAt, but not after EndCalls, which waits for calls that are being made.
  void CallAt(uint64_t at_ns, std::function<void()> call);
  void EndCalls();
  // For who observes the host's work, if somebody does; the time is set here.
  bool observed() const { return world_.work != nullptr; }
  void Note(WorkEvent event, Aftermath* aftermath) {
    if (!observed()) return;
    event.at_ns = NowNs();
    aftermath->work.push_back(event);
  }
  // Tells the observer and the guest, then calls. Under no lock.
  void Deliver(Aftermath aftermath);
  // As Deliver, inside a call that somebody delivers. What it sets off in the same way is delivered after it,
  // not inside it: a chain of any length needs no more stack than one link. All of it is done when the
  // outermost one returns.
  void DeliverInTurn(Aftermath aftermath);

  const std::shared_ptr<IoSpace>& io_space() const { return io_space_; }
  // The guest's window is there. False: it is somewhere else already, or has no room there.
  bool SetWindow(uint64_t start, uint64_t bytes);
  GuestMemory* guest_memory() { return world_.guest_memory ? &guest_memory_ : nullptr; }
  FaultPlan& faults() { return faults_; }
  // The fault, if this passage of a point is struck. From any thread, also under locks.
  std::optional<Fault> Strike(const Passage& passage) {
    return faults_.armed(passage.point) ? faults_.Strike(passage, NowNs()) : std::nullopt;
  }

  Fidelity& fidelity() { return fidelity_; }

  std::atomic<HostEvents*> events{nullptr};
  Counts counts;  // before the tables: what is in them counts itself out

 private:
  struct Gate {
    SharedMutex mutex;
    bool open DXG_GUARDED_BY(mutex) = true;
  };

  std::atomic<uint64_t> queue_numbers_{0};
  uint64_t NewGuestLuid(uint64_t wanted) DXG_REQUIRES(mutex_);
  void TakePciAddress(AdapterProfile::Pci* pci) const DXG_REQUIRES(mutex_);

  SyncDomain sync_;  // outlives the objects
  const std::shared_ptr<IoSpace> io_space_;
  World world_;
  Mutex window_mutex_;
  std::shared_ptr<Region> window_ DXG_GUARDED_BY(window_mutex_);  // where it is one file
  FaultPlan own_faults_;
  Fidelity fidelity_{world_.clock.NowNs()};
  FaultPlan& faults_;
  // The guest's memory, where pages may be gone by a fault.
  class FaultyGuestMemory final : public GuestMemory {
   public:
    explicit FaultyGuestMemory(Machine& machine) : machine_(machine) {}
    bool Read(uint32_t gpadl, uint64_t offset, Bytes bytes) override;
    bool Write(uint32_t gpadl, uint64_t offset, ConstBytes bytes) override;
    uint64_t Size(uint32_t gpadl) override;
    bool knows_frames() const override;
    bool ReadFrame(uint64_t frame, uint64_t offset, Bytes bytes) override;
    bool WriteFrame(uint64_t frame, uint64_t offset, ConstBytes bytes) override;

   private:
    bool Gone() { return machine_.Strike({.point = FaultPoint::kClientMemoryGone}).has_value(); }
    GuestMemory& real() const { return *machine_.world_.guest_memory; }
    Machine& machine_;
  };

  FaultyGuestMemory guest_memory_{*this};
  const std::shared_ptr<Gate> gate_;
  SharedMutex mutex_;
  std::vector<std::shared_ptr<Adapter>> adapters_ DXG_GUARDED_BY(mutex_);
  std::deque<std::shared_ptr<Adapter>> removed_adapters_ DXG_GUARDED_BY(mutex_);
  std::unordered_set<uint64_t> guest_luids_ DXG_GUARDED_BY(mutex_);  // all there ever were
  uint64_t adapter_serial_ DXG_GUARDED_BY(mutex_) = 0;
  HandleTable<std::shared_ptr<Process>> processes_ DXG_GUARDED_BY(mutex_){kProcessesMax};
  std::unordered_map<uint32_t, std::weak_ptr<UserBudget>> users_ DXG_GUARDED_BY(mutex_);
  HandleTable<std::shared_ptr<const SharedObject>> shared_ DXG_GUARDED_BY(mutex_){kSharedMax};
};

}  // namespace dxg::hostsim
