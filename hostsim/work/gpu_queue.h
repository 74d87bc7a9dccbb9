#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <variant>
#include <vector>

#include "hostsim/machine/aftermath.h"
#include "hostsim/sync/sync_domain.h"

namespace dxg::hostsim {

class Engines;
class GpuQueue;
class Process;

// Packets of one process that wait on one adapter. A real host stops where its memory does.
inline constexpr uint64_t kPacketsPerProcessMax = 1u << 20;

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

// What one process has on one adapter. The engines' lock guards it.
struct ProcessWork {
  explicit ProcessWork(size_t nodes) : nodes(nodes) {}
  std::vector<NodeWork> nodes;
  uint64_t packets = 0;  // queued
};

// The commands of a device from one moment to the next. Each of them has a share in it until it has ended,
// and an earlier epoch has one in the next; so one ends when all commands up to its own have.
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
  // The share of a command that is submitted now.
  std::shared_ptr<WorkEpoch> epoch() const { return epoch_; }

 private:
  friend class Engines;
  std::shared_ptr<WorkEpoch> epoch_ = std::make_shared<WorkEpoch>();
  std::vector<GpuQueue*> queues_;
  uint32_t holds_ = 0;  // while it is not 0 no command begins: memory of the device is on its way
};

// What a queue takes, in its order.
struct GpuCommand {
  uint64_t address = 0;
  uint32_t bytes = 0;
  bool null_rendering = false;  // takes its turn and does nothing
  bool no_timeout = false;
  std::shared_ptr<SyncObject> progress;  // null, or what gets the value when the command has ended
  uint64_t progress_value = 0;
  std::shared_ptr<WorkEpoch> epoch;
};

struct GpuWait {
  std::vector<SyncPoint> points;  // all of them
};

// Takes effect when all queues that it is in have come to it.
struct GpuSignal {
  std::vector<SyncPoint> points;
  bool rewind = false;
  bool at_submission = false;  // when the command before has begun
  std::optional<GuestEvent> event;
  size_t expected = 1;  // queues that have not come to it
};

using GpuPacket = std::variant<GpuCommand, GpuWait, std::shared_ptr<GpuSignal>>;

// The order of work of a context or hardware queue: packets of one node, each begun when the one before has
// ended. A wait holds its queue and nothing else. The engines' lock guards it.
class GpuQueue : public std::enable_shared_from_this<GpuQueue> {
 public:
  // Numbers are never used twice in a machine: they own mutexes.
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
  uint64_t ready_since_ = 0;  // its place in line for the engine; 0: it is not in line
  bool running_ = false;      // its command is on the engine
  bool ended_ = false;
};

}  // namespace dxg::hostsim
