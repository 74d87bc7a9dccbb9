#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "hostsim/machine/aftermath.h"
#include "hostsim/machine/user_budget.h"
#include "hostsim/machine/work_observer.h"
#include "hostsim/memory/gpu_address.h"
#include "hostsim/sync/sync_domain.h"
#include "hostsim/work/command_streamer.h"

namespace dxg::hostsim {

class Engines;
class GpuQueue;
class Process;

// Packets of one process that wait on one adapter, as UnitsOf counts them. A real host stops where its memory
// does.
inline constexpr uint64_t kPacketsPerProcessMax = 1u << 20;

// Bytes that commands of one process left in its queues of one adapter (StreamerState).
inline constexpr uint64_t kStateBytesPerProcessMax = 32ull << 20;

// What an engine has done, for statistics. Commands are those that an engine runs, `waits` and `signals` what
// a queue does by itself.
struct NodeWork {
  uint64_t running_ns = 0;
  uint64_t switches = 0;  // from one queue to another
  uint64_t commands_submitted = 0;
  uint64_t commands_completed = 0;  // also those that were dropped
  uint64_t commands_faulted = 0;
  uint64_t waits_submitted = 0;
  uint64_t waits_completed = 0;
  uint64_t signals_submitted = 0;
  uint64_t signals_completed = 0;
};

// The engines' lock guards the members of the classes here that say so. They carry no annotation: a queue
// does not know its Engines, and clang would not see that their lock is the one that is held. Only functions
// of Engines that require the lock use them; GpuQueue and DeviceWork make that so by being friends of Engines
// alone.

// What one process has on one adapter. The engines' lock guards it.
struct ProcessWork {
  ProcessWork(size_t nodes, std::shared_ptr<UserBudget> user) : user(std::move(user)), nodes(nodes) {}
  const std::shared_ptr<UserBudget> user;  // null: not known
  std::vector<NodeWork> nodes;
  uint64_t packets = 0;  // queued, as UnitsOf counts them
  uint32_t left = 0;     // commands that an engine went on without, and that a thread is in still
  UserBound state_bytes{kStateBytesPerProcessMax};  // guards itself
  // Its GPU addresses have shown memory of the guest, which may never answer. Set under the process's lock.
  std::atomic<bool> reaches_guest{false};
};

// The commands of a device that were submitted between two moments. Each command has a share in its epoch
// until the command has ended, and each epoch has a share in the next one. So an epoch ends when all commands
// up to its own have ended.
struct WorkEpoch {
  std::vector<std::function<void()>> ended;  // called under no lock
  std::shared_ptr<WorkEpoch> next;
  WorkEpoch() = default;
  ~WorkEpoch();
  WorkEpoch(const WorkEpoch&) = delete;
  WorkEpoch& operator=(const WorkEpoch&) = delete;

 private:
  void CallEnded();
};

// A device as its adapter's engines know it. The engines' lock guards it unless it says otherwise.
class DeviceWork {
 public:
  DeviceWork(std::weak_ptr<Process> process, uint32_t device, std::shared_ptr<ProcessWork> of_process)
      : process(std::move(process)), device(device), of_process(std::move(of_process)) {}

  const std::weak_ptr<Process> process;
  const uint32_t device;  // its handle
  const std::shared_ptr<ProcessWork> of_process;

  // -- The process's lock guards these.

  // Calls when all commands that were submitted before have ended, under no lock; false: there are none, and
  // it is not going to be called.
  bool AfterCommands(std::function<void()> call, Aftermath* aftermath);
  // What a command that is submitted now has a share in.
  std::shared_ptr<WorkEpoch> epoch() const { return epoch_; }

 private:
  friend class Engines;
  std::shared_ptr<WorkEpoch> epoch_ = std::make_shared<WorkEpoch>();
  std::vector<GpuQueue*> queues_;
  uint32_t holds_ = 0;  // while it is not 0 no command begins: memory of the device is on its way
};

// A value that the host writes when a command has ended, at a multiple of 8. In the page of a monitored fence
// it signals the fence.
struct GpuFenceWrite {
  GpuAddress address;
  uint64_t value = 0;
};

// Packets of a queue. It takes them in their order.
struct GpuCommand {
  GpuBuffer buffer;
  // Buffers that are executed after it, in their order; null: none. The commands of a broadcast share them.
  std::shared_ptr<const std::vector<GpuBuffer>> more;
  std::optional<GpuFenceWrite> fence;
  bool null_rendering = false;  // takes its turn on the engine and executes nothing
  bool no_timeout = false;
  std::shared_ptr<SyncObject> progress;  // null, or what gets the value when the command has ended
  uint64_t progress_value = 0;
  std::shared_ptr<WorkEpoch> epoch;
};

struct GpuWait {
  std::vector<SyncPoint> points;  // all of them
};

// Takes effect when all queues that it is in have reached it.
struct GpuSignal {
  std::vector<SyncPoint> points;
  bool rewind = false;
  bool at_submission = false;  // does not wait for the end of the command before it
  std::optional<GuestEvent> event;
  size_t expected = 1;  // queues that have not reached it
};

using GpuPacket = std::variant<GpuCommand, GpuWait, std::shared_ptr<GpuSignal>>;

// How many packets it counts for: a command, as many as it has buffers.
inline uint64_t UnitsOf(const GpuPacket& packet) {
  const auto* command = std::get_if<GpuCommand>(&packet);
  return 1 + (command && command->more ? command->more->size() : 0);
}

// The packets of a context or hardware queue, all for one node. Each begins when the one before has ended. A
// wait holds up its own queue and nothing else. The engines' lock guards it.
class GpuQueue : public std::enable_shared_from_this<GpuQueue> {
 public:
  // Mutexes are owned by the number of a queue, so a machine never uses a number twice.
  GpuQueue(std::shared_ptr<DeviceWork> work, uint32_t node, uint64_t number)
      : node(node), number(number), work_(std::move(work)) {}

  const uint32_t node;
  const uint64_t number;

 private:
  friend class Engines;

  const std::shared_ptr<DeviceWork> work_;
  std::deque<GpuPacket> packets_;
  int32_t priority_ = 0;
  int32_t in_process_priority_ = 0;
  uint64_t waiting_ = 0;      // the number of a wait that is not over
  uint64_t ready_since_ = 0;  // Engines::times_ready_ when it became ready for the engine; 0: it is not ready
  bool running_ = false;      // its command is on the engine, or was preempted there
  std::unique_ptr<StreamerState> streamer_state_;  // the thread's that executes its command
  bool ended_ = false;
  ObjectName name_;     // from when its handle is known
  uint64_t begun_ = 0;  // commands, ever
};

}  // namespace dxg::hostsim
