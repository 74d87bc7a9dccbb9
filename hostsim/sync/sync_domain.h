#pragma once

#include <atomic>
#include <compare>
#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <span>
#include <unordered_map>
#include <variant>
#include <vector>

#include "base/mutex.h"
#include "hostsim/machine/aftermath.h"
#include "hostsim/machine/bytes.h"
#include "hostsim/machine/object.h"
#include "hostsim/machine/work_observer.h"
#include "hostsim/memory/io_space.h"
#include "proto/abi/flags.h"

namespace dxg::hostsim {

// D3DDDI_SYNCHRONIZATIONOBJECT_TYPE
enum class SyncType : uint32_t {
  kMutex = 1,
  kSemaphore = 2,
  kFence = 3,  // of queues only; nobody sees its value
  kCpuNotification = 4,
  kMonitoredFence = 5,
  kPeriodicMonitoredFence = 6,
};

// D3DDDI_SYNCHRONIZATIONOBJECT_FLAGS
inline constexpr uint32_t kSyncShared = DXG_SYNC_SHARED;
inline constexpr uint32_t kSyncNtSecuritySharing = DXG_SYNC_NT_SECURITY_SHARING;
inline constexpr uint32_t kSyncCrossAdapter = DXG_SYNC_CROSS_ADAPTER;
inline constexpr uint32_t kSyncTopOfPipeline = DXG_SYNC_TOP_OF_PIPELINE;
inline constexpr uint32_t kSyncNoSignal = DXG_SYNC_NO_SIGNAL;
inline constexpr uint32_t kSyncNoWait = DXG_SYNC_NO_WAIT;
inline constexpr uint32_t kSyncNoSignalMaxValueOnTdr = DXG_SYNC_NO_SIGNAL_MAX_VALUE_ON_TDR;
inline constexpr uint32_t kSyncNoGpuAccess = DXG_SYNC_NO_GPU_ACCESS;
inline constexpr uint32_t kSyncSignalByKmd = DXG_SYNC_SIGNAL_BY_KMD;
inline constexpr uint32_t kSyncUnwaitCpuWaitersOnlyOnDestroy = DXG_SYNC_UNWAIT_CPU_WAITERS_ONLY_ON_DESTROY;

// What a synchronization object is, fixed at its creation.
struct SyncTraits {
  SyncType type = SyncType::kMonitoredFence;
  uint32_t flags = 0;
  uint64_t initial = 0;       // a fence's value, a semaphore's count; 1: an owned mutex
  uint64_t count_max = 0;     // of a semaphore
  GuestEvent event{};         // of a CPU notification
  uint64_t adapter_luid = 0;  // of the device that made it: HostAdapter::address
  uint64_t before_ns = 0;     // of a periodic fence: how long before each vertical sync

  bool monitored() const {
    return type == SyncType::kMonitoredFence || type == SyncType::kPeriodicMonitoredFence;
  }
  bool fence() const { return monitored() || type == SyncType::kFence; }
};

class Clock;
class SyncDomain;
class SyncObject;
struct SyncWaiter;

// An object at a value: what is waited for, or signalled. Objects that have no values take no notice of it.
struct SyncPoint {
  std::shared_ptr<SyncObject> object;
  uint64_t value = 0;
};

// One synchronization object, whoever has handles on it. The guest's CPU reads a fence's value in pages of
// its own; the host keeps the true one, because a client may write into its mapping whatever it likes.
//
// It ends when nothing names it any more (SyncDomain::Drop), which is not the same as when it is freed:
// packets of a queue may still point to it. After its end it holds nobody up and takes no signal.
class SyncObject {
 public:
  SyncObject(SyncDomain& domain, const SyncTraits& traits, std::atomic<uint64_t>& count);
  SyncObject(const SyncObject&) = delete;
  SyncObject& operator=(const SyncObject&) = delete;

  const SyncTraits traits;
  SyncDomain& domain() const { return domain_; }

  // A fence's value; under no lock.
  uint64_t value() const { return value_.load(std::memory_order_acquire); }
  bool reached(uint64_t value) const { return this->value() >= value; }

  // The name of a shared one that OpenSyncObject takes; 0: none. Set before anybody else sees the object.
  uint32_t global_handle = 0;
  // What an observer of the work knows it by: its first handle. Set before anybody else sees the object.
  ObjectName name;

 private:
  friend class SyncDomain;
  // Who is to be looked at when the object changes, first by the value and then by when it came.
  struct Watch {
    uint64_t value;
    uint64_t number;
    auto operator<=>(const Watch&) const = default;
  };

  SyncDomain& domain_;
  // Written under the lock of the domain, which also guards the members below. Only SyncDomain uses them;
  // clang would take domain_.mutex_ and the domain's own mutex_ for two locks.
  std::atomic<uint64_t> value_;
  uint64_t owner_ = 0;  // queue that has the mutex; 0: none that is known
  uint64_t references_ = 1;
  bool ended_ = false;
  std::set<Watch> watches_;
  std::set<uint64_t> others_;  // waits for all that name the object and watch another one
  std::vector<std::atomic<uint64_t>*> pages_;
  Counted counted_;
};

// Where one process's CPU reads a fence's value: at the beginning of a page of its own.
class SyncPage {
 public:
  // More handles than this on one fence get no page, because each signal writes to all of them.
  static constexpr size_t kPagesMax = 4096;

  // Null where there is no page to be had.
  static std::shared_ptr<SyncPage> Create(RegionSet& regions, std::shared_ptr<SyncObject> object);
  SyncPage(Extent extent, std::shared_ptr<SyncObject> object)
      : extent_(std::move(extent)), object_(std::move(object)) {}
  ~SyncPage();
  SyncPage(const SyncPage&) = delete;
  SyncPage& operator=(const SyncPage&) = delete;

  uint64_t window_address() const { return extent_.window_address(); }

 private:
  Extent extent_;
  const std::shared_ptr<SyncObject> object_;
};

// How many CPU waits a process has that are not over. The domain's lock guards it.
struct CpuWaitBudget {
  static constexpr uint64_t kMax = 1u << 20;
  uint64_t pending = 0;
};

// The CPU waits of a device that are not over, so that they end with it.
class CpuWaits {
 public:
  explicit CpuWaits(CpuWaitBudget& budget, uint64_t process_id = 0)
      : budget_(budget), process_id_(process_id) {}
  CpuWaits(const CpuWaits&) = delete;
  CpuWaits& operator=(const CpuWaits&) = delete;

 private:
  friend class SyncDomain;
  CpuWaitBudget& budget_;      // of the process
  const uint64_t process_id_;  // the client's
  SyncWaiter* first_ = nullptr;
};

// A wait that is not over, as SyncDomain notes it. There may be very many: who waits says only what that kind
// needs.
struct SyncWaiter {
  struct Cpu {
    GuestEvent event;  // its end
    CpuWaits* list;
    SyncWaiter* next;
    SyncWaiter* previous;
  };
  struct Queue {
    uint64_t number;
    std::function<void()> released;
  };
  using Who = std::variant<Cpu, Queue>;
  struct Several {
    std::vector<SyncPoint> points;
    bool any;
  };

  uint64_t number;
  Who who;
  SyncPoint point;  // the only one, or the one that a wait for all watches
  std::unique_ptr<const Several> several;

  Cpu* cpu() { return std::get_if<Cpu>(&who); }
  uint64_t queue() const {
    const auto* queue = std::get_if<Queue>(&who);
    return queue ? queue->number : 0;
  }
  bool any() const { return several && several->any; }
  std::span<const SyncPoint> points() const {
    return several ? std::span(several->points) : std::span(&point, 1);
  }
};

// All synchronization objects of a machine and all who wait for them, under one lock: so waits for several
// objects are judged in one moment, and a queue takes mutexes and semaphores all or none.
//
//   signal --> object's watches, by value --> waiter --> taken, and noted in the aftermath
//                                               |
//                                               +--> a wait for all watches another object that is not there
//                                               yet
//
// A wait for one object costs about 200 bytes, and a signal takes time that grows with the logarithm of the
// number of waits and with those it releases. The lock is a leaf, and nobody is called under it: whoever is
// released is called later, from the aftermath.
class SyncDomain {
 public:
  // `clock` is for what an observer of the work is told; null: nobody observes.
  explicit SyncDomain(std::atomic<uint64_t>& waits, Clock* clock = nullptr) : waits_(waits), clock_(clock) {}
  SyncDomain(const SyncDomain&) = delete;
  SyncDomain& operator=(const SyncDomain&) = delete;

  // -- Waiting. Satisfied: all points, or one where `any`. A fence is reached at a value >= the point's, a
  // mutex is free, a semaphore is above 0; the wait's end takes mutexes and semaphores. An object that has
  // ended holds nobody up. A wait whose object ends is over, whatever its other objects are.

  // 0: satisfied and taken. Otherwise the wait's number, and `released` is called once when it is over.
  // `queue` is who owns what is taken, a number that no other queue of the machine has.
  uint64_t Wait(std::span<const SyncPoint> points, bool any, uint64_t queue, std::function<void()> released);
  // As above for the guest's CPU: its end is an event, which is in the aftermath where the wait is satisfied
  // already. False: the process has too many.
  bool WaitOnCpu(std::span<const SyncPoint> points, bool any, const GuestEvent& event, CpuWaits& waits,
                 Aftermath* aftermath);
  // It is not going to be released any more, unless it has been. Any number will do.
  void StopWaiting(uint64_t number);
  // Releases them all: their device ends.
  void EndCpuWaits(CpuWaits& waits, Aftermath* aftermath);

  // -- Signals. Everything of one call changes in one moment; who is satisfied then is released in the order
  // of registration.

  // A fence gets the point's value: where it is lower only if `rewind`. A semaphore goes up by one, at most
  // to its maximum; a mutex is free, whoever has it; a CPU notification's event happens.
  void Signal(std::span<const SyncPoint> points, bool rewind, Aftermath* aftermath);
  // As above for fences that the CPU signals. False: without `rewind`, one would be lowered, and nothing has
  // changed.
  bool SignalFromCpu(std::span<const SyncPoint> points, bool rewind, Aftermath* aftermath);
  // A fence, never downwards. False: it has ended.
  bool Raise(SyncObject& fence, uint64_t value, Aftermath* aftermath);
  // A fence, whatever it had: a GPU wrote to its address.
  void Store(SyncObject& fence, uint64_t value, Aftermath* aftermath);
  // As memory of one page, of which the value is the first 8 bytes; the rest reads zero and takes nothing.
  // The range lies in it.
  void ReadMemory(const SyncObject& fence, uint64_t offset, Bytes bytes) const;
  void WriteMemory(SyncObject& fence, uint64_t offset, ConstBytes bytes, Aftermath* aftermath);
  // Frees the mutexes of a queue that ends.
  void ReleaseOwner(uint64_t queue, Aftermath* aftermath);

  // -- Names. A new object has one.

  // False: it has ended.
  bool Retain(SyncObject& object);
  // True: it was the last one, and the object has ended. Otherwise the end of a handle (`local`) releases CPU
  // waits, unless the object's flags say that only its own end does.
  bool Drop(SyncObject& object, bool local, Aftermath* aftermath);

  // Signals of queues that would have lowered a fence without being allowed to. Never falls.
  std::atomic<uint64_t> ignored_rewinds{0};

 private:
  friend class SyncPage;
  using Waiter = SyncWaiter;

  bool ShowIn(SyncObject& object, std::atomic<uint64_t>* word);
  void HideIn(SyncObject& object, const std::atomic<uint64_t>* word);

  static bool Available(const SyncObject& object);  // a mutex or semaphore
  static bool Met(const SyncPoint& point);
  const SyncPoint* Take(std::span<const SyncPoint> points, bool any, uint64_t queue) DXG_REQUIRES(mutex_);
  void TakeOne(SyncObject& object, uint64_t queue) DXG_REQUIRES(mutex_);
  void GiveBack(SyncObject& object) DXG_REQUIRES(mutex_);

  Waiter& Register(std::span<const SyncPoint> points, bool any, const SyncPoint* unmet, Waiter::Who who)
      DXG_REQUIRES(mutex_);
  static void Watch(Waiter& waiter);
  static void Unwatch(Waiter& waiter);
  void Forget(Waiter& waiter) DXG_REQUIRES(mutex_);
  void Release(Waiter& waiter, Aftermath* aftermath) DXG_REQUIRES(mutex_);
  void ReleaseWaits(SyncObject& object, bool only_cpu, Aftermath* aftermath) DXG_REQUIRES(mutex_);

  static void SetValue(SyncObject& object, uint64_t value);
  void SetFence(SyncObject& fence, uint64_t value, Aftermath* aftermath) DXG_REQUIRES(mutex_);
  void NoteWaitEnded(std::span<const SyncPoint> points, bool any, const SyncPoint& last,
                     const GuestEvent& event, const CpuWaits& waits, Aftermath* aftermath) const;
  void SignalAll(std::span<const SyncPoint> points, bool rewind, Aftermath* aftermath) DXG_REQUIRES(mutex_);
  void SignalOne(const SyncPoint& point, bool rewind, Aftermath* aftermath) DXG_REQUIRES(mutex_);
  void Settle(std::span<SyncObject* const> changed, Aftermath* aftermath) DXG_REQUIRES(mutex_);
  void Judge(uint64_t number, Aftermath* aftermath) DXG_REQUIRES(mutex_);

  std::atomic<uint64_t>& waits_;
  Clock* const clock_;
  mutable Mutex mutex_;
  uint64_t numbers_ DXG_GUARDED_BY(mutex_) = 0;
  std::unordered_map<uint64_t, Waiter> waiters_ DXG_GUARDED_BY(mutex_);          // by number
  std::unordered_multimap<uint64_t, SyncObject*> owned_ DXG_GUARDED_BY(mutex_);  // mutexes, by queue
};

}  // namespace dxg::hostsim
