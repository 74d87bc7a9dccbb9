#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "proto/abi/interface.h"
#include "tests/simulation/machine.h"

// What queues, fences and waits may do, and what they must have done when nothing is left to happen. The
// model has the rules and does not schedule. While the machine works, it checks only what it sees: no fence
// has a value that nobody can have signalled, no command runs before the wait in front of it is over. When
// the machine is at rest, it computes from the rules alone what must have happened.
//
// This is possible because no outcome depends on who is first. Fences only grow, except when a client takes
// one back while everything is at rest. Semaphores and mutexes are counted, and the command behind a wait
// shows who got one.

namespace dxg::simulation {

// Types of synchronization objects, and execution states of devices, as the ABI numbers them.
enum : uint32_t {
  kMutex = 1,
  kSemaphore = 2,
  kFence = 3,
  kCpuNotification = 4,
  kMonitored = 5,
  kPeriodic = 6
};
enum : uint32_t { kActive = 1, kReset = 2, kHung = 3, kStopped = 4, kDmaFault = 6, kDmaPageFault = 7 };

// A synchronization object, however many handles lead to it.
struct Sync {
  int id = 0;
  uint32_t type = 0;   // enum d3dddi_synchronizationobject_type
  uint32_t flags = 0;  // of its creation
  // At rest: a fence's value; how often a semaphore or a mutex can be taken.
  uint64_t value = 0;
  uint64_t limit = ~0ull;      // of the latter
  uint64_t now = 0, seen = 0;  // what clients read, and what they read before
  bool certain = true;         // false: its value is unknown because a device or queue was lost
  bool lost = false;           // it has to read kFenceLost
  bool ended = false;          // nothing names it
  int names = 0;               // handles and descriptors
  int event = 0;               // of a CPU notification
  bool gpu_adds = false;       // commands add to it, and nothing else changes it
  uint64_t stray = 0;          // what commands of queues that are gone may have added
  std::set<int> holders;       // devices that have a handle on it
  std::set<int> signallers;    // devices that could signal it; it is lost with any of them
  std::vector<const volatile uint64_t*> views;

  // For a periodic fence, which the display raises: since when, how often, and how long before each vertical
  // sync.
  uint64_t created_ns = 0, period_ns = 0, before_ns = 0;

  bool readable() const { return type == 5 || periodic(); }
  bool periodic() const { return type == 6; }
  uint64_t SyncsBy(uint64_t now_ns) const {
    return (now_ns + before_ns) / period_ns - (created_ns + before_ns) / period_ns;
  }
  bool visible() const { return !views.empty(); }  // to somebody, now
  bool counts() const { return type == 1 || type == 2; }
};

struct Point {
  std::shared_ptr<Sync> sync;
  uint64_t value = 0;
};

// A signal of one or several queues. It takes effect when all of them have reached it.
struct Signal {
  std::vector<Point> points;
  int event = 0;  // ticks; 0: none
  bool rewind = false;
  bool early = false;  // takes effect when the command before it has begun
  int members = 1;
  bool broken = false;  // one of them is gone
  int reached = 0;      // how many queues may have reached it
  int arrived = 0;      // how many have reached it, at rest
};

enum class Fate { kEnds, kHangs, kFaults, kPageFaults };

struct ModelQueue;

// Memory that one command writes, once.
struct Region {
  const char* at = nullptr;
  uint64_t gpu = 0;
  uint32_t bytes = 0, pattern = 0;
  std::shared_ptr<ModelQueue> producer;
  uint64_t number = 0;                                         // the producer's command
  std::shared_ptr<bool> known = std::make_shared<bool>(true);  // false: it has the pattern, or not
};

struct Packet {
  enum class Kind { kCommand, kWait, kSignal };
  Kind kind = Kind::kCommand;

  // A command
  uint64_t number = 0;  // the value of the queue's word when it has run; 0: it writes none
  Fate fate = Fate::kEnds;
  const volatile uint64_t* needs = nullptr;  // a word that has to be 1, or the command hangs
  std::vector<Point> adds;
  std::vector<std::pair<Region, Region>> copies;  // destination and source; a source may be empty
  std::shared_ptr<Sync> guard;                    // the mutex that protects what it writes
  Point handover;         // the fence value at which another queue has written what this one copies
  uint64_t progress = 0;  // of a hardware queue

  // A wait, for all of them
  std::vector<Point> points;
  bool held = false;  // all its conditions held at one moment

  std::shared_ptr<Signal> signal;

  bool fatal() const { return fate != Fate::kEnds || (needs != nullptr && *needs == 0); }
};

struct ModelDevice;

struct ModelQueue {
  int id = 0;
  std::shared_ptr<ModelDevice> device;
  uint32_t handle = 0, context = 0;  // equal unless it is a hardware queue
  bool hardware = false;
  uint32_t node = 0;
  uint32_t priority = 0;
  bool ended = false;
  uint64_t submitted = 0, now = 0, seen = 0;  // numbers of commands
  const volatile uint64_t* word = nullptr;    // where they write them
  uint64_t word_gpu = 0;
  uint64_t last_progress = 0;
  std::shared_ptr<Sync> progress;
  uint32_t progress_handle = 0;
  std::vector<Packet> packets;  // those that may not be finished
};

struct ModelDevice {
  int id = 0;
  int client = 0;
  uint32_t handle = 0, paging_queue = 0;
  uint32_t state = 1;  // enum d3dkmt_deviceexecution_state
  uint32_t adapter_life = 0;
  bool gone = false;
  // Its memory: command buffers and all that commands write.
  uint32_t allocation = 0;
  uint64_t gpu = 0;
  char* cpu = nullptr;
  uint64_t used = 0;
  std::vector<Region> regions;
  std::set<uint64_t> bad_addresses;  // addresses at which its commands fault
  bool active() const { return !gone && state == 1; }
};

// A wait of the CPU.
struct CpuWait {
  int id = 0;
  int client = 0;
  std::shared_ptr<ModelDevice> device;
  std::vector<Point> points;
  bool any = false;
  int event = 0;  // 0: it blocks
  std::shared_ptr<Machine::Waiting> call;
  bool over = false;     // it must have ended
  bool may_end = false;  // it may have ended for a reason other than its condition
};

class WorkModel {
 public:
  explicit WorkModel(Machine& machine) : machine_(machine) {}

  std::vector<std::shared_ptr<ModelDevice>> devices;
  std::vector<std::shared_ptr<ModelQueue>> queues;  // not ended ones
  std::vector<std::shared_ptr<Sync>> syncs;         // not ended ones
  std::vector<std::shared_ptr<CpuWait>> waits;      // not over
  // By eventfd.
  struct Ticks {
    uint64_t due = 0;
    uint64_t more = 0;  // further ticks that queues may have signalled before they ended
  };
  std::map<int, Ticks> ticks;

  // Reads what clients can read, and determines how far queues may have come.
  void Read();
  // Checks what was read; throws Broken. Between Read and Judge, devices may be found lost.
  void Judge();
  // Like Judge, when the machine is at rest: everything that can happen has happened.
  void JudgeAtRest();

  // The states that a device may have got into by itself, as bits 1 << state.
  uint32_t PossibleStates(const ModelDevice& device) const;
  // The device was found in that state.
  void Lose(ModelDevice& device, uint32_t state);
  // Marks the fences that a device could signal as lost; also for a device that was lost before its adapter
  // stopped.
  void LoseFences(const ModelDevice& device, bool stopped);
  void End(const std::shared_ptr<ModelQueue>& queue);
  // Removes a handle (`local`) or a descriptor.
  void Drop(const std::shared_ptr<Sync>& sync, bool local);
  // Ends the waits of a device that is gone.
  void EndWaits(const ModelDevice& device);
  // A signal of the CPU, which has taken effect when the call returns. A fence goes back only at rest.
  void SignalNow(const Point& point, bool rewind);
  // Announces that a client is going to take the fence back.
  void Rewind(const Sync& sync);
  // What a client reads in the fence at this moment.
  static uint64_t Shown(const Sync& sync) { return sync.visible() ? *sync.views.front() : sync.seen; }
  // Whether no signal or wait of it is pending.
  bool Idle(const Sync& sync) const;

 private:
  bool Holds(const Packet& wait) const;
  bool Holds(const CpuWait& wait) const;
  void Reach();
  bool LatchWaits();
  void JudgeQueue(ModelQueue& queue);
  void JudgeData(const ModelQueue& queue, const Packet& command);
  void JudgeValue(Sync& sync);
  void JudgeAdds(Sync& sync);
  void JudgePeriodic(const Sync& sync) const;
  void JudgeTaken(const Sync& sync) const;
  void JudgeWaits();
  void JudgeEvents(bool at_rest);
  bool Explained(const Sync& sync, uint64_t value) const;
  // Finishes a queue's first packet, at rest. False if that packet holds the queue.
  bool Retire(ModelQueue& queue);
  bool RetireWait(const ModelQueue& queue, const Packet& wait);
  void Arrive(Signal& signal);
  void Apply(const Point& point, bool rewind);
  void JudgeHeld(const ModelQueue& queue) const;
  void Abandon(const ModelQueue& queue);
  static void LoseFence(Sync& sync);

  Machine& machine_;
  std::map<const Sync*, uint64_t>
      reachable_;  // of unreadable ones: a fence's highest value, or how many signals
};

}  // namespace dxg::simulation
