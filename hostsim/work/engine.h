#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "hostsim/machine/process.h"
#include "hostsim/machine/recent_amount.h"
#include "hostsim/machine/world.h"
#include "hostsim/work/command_streamer.h"
#include "hostsim/work/gpu_queue.h"
#include "proto/dxg/profile.pb.h"

namespace dxg::hostsim {

class Device;
class Machine;

// A MARKER that was executed.
struct GpuMark {
  uint32_t process;
  uint32_t node;
  uint64_t id;
  bool operator==(const GpuMark&) const = default;
};

// The engines of an adapter, one for each node, and the queues that they serve.
//
//   submission --> queue: waits and signals --> ready queues of the node --> engine --> signals behind it
//
// An engine runs one command at a time. Of the ready queues it takes the one with the highest priority, then
// the highest priority within the process, then the one that has been ready longest. Every eighth command is
// that of the queue that has been ready longest, whatever its priority, so that no queue waits for ever. This
// order is the simulator's choice.
//
// One lock guards all queues and engines of the adapter (lock order: see Machine). Commands are executed
// under no lock. Engines with threads of their own (World::engine_threads) leave short commands to the thread
// that made them ready, because that is faster than waking another one; engines without threads do all their
// work there and when the clock calls.
class Engines : public std::enable_shared_from_this<Engines> {
 public:
  Engines(Machine& machine, const AdapterProfile& profile, uint64_t guest_luid, uint64_t seed);
  ~Engines();

  // -- Queues.
  std::shared_ptr<GpuQueue> AddQueue(std::shared_ptr<DeviceWork> work, uint32_t node);
  // What an observer of the work knows it by; before anything is submitted to it.
  void SetName(GpuQueue& queue, const Process& process, uint32_t handle);
  void SetPriority(GpuQueue& queue, int32_t priority, int32_t in_process_priority);

  // A packet for each queue, or one for all of them. All queues are of the device. False: the process would
  // have more than kPacketsPerProcessMax packets, or its user too many, and nothing is queued.
  bool Submit(DeviceWork& work, std::span<GpuQueue* const> queues, std::span<GpuPacket> packets,
              Aftermath* aftermath);

  // Drops what is queued, without its effects, and stops the command that is running. The last share in
  // `stopped` is released when that command touches no memory any more. What is submitted later is dropped
  // too.
  void End(GpuQueue& queue, const std::shared_ptr<void>& stopped, Aftermath* aftermath);
  // As above, all queues of a device.
  void End(DeviceWork& work, const std::shared_ptr<void>& stopped, Aftermath* aftermath);

  // Between the two no command of the device begins. Calls nest.
  void Hold(DeviceWork& work);
  void LetGo(DeviceWork& work, Aftermath* aftermath);

  // -- What there is to see. A command that runs still counts up to now.
  // Of the node's clock, in its ticks.
  uint64_t Timestamp(uint32_t node) const;
  NodeWork Work(uint32_t index);
  NodeWork Work(const ProcessWork& of, uint32_t index);
  // Of the node, the queues that there are, and those of them that have a command for the engine or on it.
  struct InUse {
    uint64_t queues = 0;
    uint64_t ready = 0;
  };
  InUse Queues(uint32_t index);
  // Packets of the process that have not ended.
  uint64_t Queued(const ProcessWork& of);
  // The part of the window of so many slices (RecentAmount) in which the engine had a command, in
  // thousandths; without a node, that of the engine that had most.
  uint32_t Load(uint32_t index, uint64_t slices);
  uint32_t Load(uint64_t slices);
  uint64_t BytesPerSecond();     // that commands have reached of late
  std::vector<GpuMark> Marks();  // the latest, oldest first
  // Private data of submissions, as it came: the latest, oldest first.
  void NotePrivateData(const std::string& data);
  std::vector<std::string> PrivateData();

  // Ends the threads. Nothing is executed any more.
  void Stop();

 private:
  struct Running;
  struct Node;
  struct Errand;
  class Environment;

  // How much a thread does for an engine before it leaves the rest to the engine's own thread.
  struct Left;
  struct Effort {
    uint64_t bytes = CommandStreamer::kUnlimited;
    uint32_t commands = ~0u;
    bool over = false;  // that much is done
    bool own_thread = false;
  };

  static constexpr size_t kMarksMax = 1u << 16;
  static constexpr size_t kPrivateDataMax = 16;

  uint64_t NowNs() const;
  uint64_t RunningNs(const Node& node) const DXG_REQUIRES(mutex_);

  // -- Queues (engine_queues.cc).
  void Advance(GpuQueue& queue, Aftermath* aftermath) DXG_REQUIRES(mutex_);
  bool StartWait(GpuQueue& queue, const GpuWait& wait) DXG_REQUIRES(mutex_);
  void WaitOver(GpuQueue& queue, const std::shared_ptr<uint64_t>& wait);
  void Arrive(GpuSignal& signal, Aftermath* aftermath) DXG_REQUIRES(mutex_);
  void Count(GpuQueue& queue, uint64_t NodeWork::*counter) DXG_REQUIRES(mutex_);
  GpuPacket PopFront(GpuQueue& queue) DXG_REQUIRES(mutex_);
  static void GiveBack(ProcessWork& process, uint64_t packets);
  void DropPackets(GpuQueue& queue, Aftermath* aftermath) DXG_REQUIRES(mutex_);
  void SetInLine(GpuQueue& queue, bool in_line) DXG_REQUIRES(mutex_);
  void Clear(GpuQueue& queue, Aftermath* aftermath) DXG_REQUIRES(mutex_);
  template <class ConditionVariable>
  void TellWhenStopped(const std::shared_ptr<void>& stopped, ConditionVariable of) DXG_REQUIRES(mutex_);

  // -- One engine (engine.cc).
  void DriveLater(Node& node, Aftermath* aftermath);
  void DriveAt(Node& node, uint64_t at_ns) DXG_REQUIRES(mutex_);
  bool Drive(Node& node, bool own_thread);
  bool DriveOn(Node& node, uint64_t turn, Effort* effort, Errand errand);
  Errand NextErrand(Node& node, Effort* effort) DXG_REQUIRES(mutex_);
  bool Step(Node& node, Effort* effort, Errand* errand) DXG_REQUIRES(mutex_);
  CommandStop Run(const Node& node, Errand* errand, uint64_t budget_bytes);
  Errand AfterErrand(Node& node, const Errand& done, const CommandStop& stop, Effort* effort)
      DXG_REQUIRES(mutex_);
  void Condemn(Node& node, const std::optional<CommandStop>& stop, Errand* errand) DXG_REQUIRES(mutex_);
  bool Start(Node& node, Effort* effort, Aftermath* aftermath) DXG_REQUIRES(mutex_);
  void Preempt(Node& node, uint64_t now_ns) DXG_REQUIRES(mutex_);
  bool Resume(Node& node, GpuQueue& queue) DXG_REQUIRES(mutex_);
  static void CountTime(Node& node, Running& running, uint64_t now_ns);
  void CountSwitch(Node& node, GpuQueue& queue) DXG_REQUIRES(mutex_);
  void Take(Node& node, const CommandStop& stop, Effort* effort, Errand* errand) DXG_REQUIRES(mutex_);
  void Note(WorkEvent::Kind kind, const Node& node, Aftermath* aftermath) DXG_REQUIRES(mutex_);
  void Finish(Node& node, bool completed, uint64_t now_ns, Aftermath* aftermath) DXG_REQUIRES(mutex_);
  void Finish(Node& node, Running& running, bool completed, uint64_t now_ns, Aftermath* aftermath)
      DXG_REQUIRES(mutex_);
  bool Pause(Node& node, uint64_t until_ns, Effort* effort) DXG_REQUIRES(mutex_);
  void Wake(Node& node) DXG_REQUIRES(mutex_);
  void Serve(Node& node);
  bool WaitUntilWanted(Node& node);

  // -- What goes wrong on it (engine_faults.cc).
  void MakeTrouble(Running& running, uint32_t node) DXG_REQUIRES(mutex_);
  void Punish(const Running& running, uint32_t node, const std::optional<CommandStop>& stop);
  static void FailDevice(Process& process, Device& device, const CommandStop& stop, Aftermath* aftermath)
      DXG_REQUIRES(process.mutex());
  bool IsPatienceOver(Running& running, uint64_t now_ns) DXG_REQUIRES(mutex_);
  void Watch(Node& node, uint64_t at_ns) DXG_REQUIRES(mutex_);
  void LookAfter(Node& node);
  // -- Memory of clients that does not answer (engine_left.cc).
  bool HoldsTooMuch(const Running& running) const DXG_REQUIRES(mutex_);
  uint64_t LeaveBehind(Node& node, Errand* errand) DXG_REQUIRES(mutex_);
  void ComeBack(Node& node, uint64_t turn, Errand errand) DXG_EXCLUDES(mutex_);
  static std::vector<std::thread> TakeThreadsThatAreBack(Node& node);

  Machine& machine_;
  const uint64_t guest_luid_;
  const uint64_t command_ns_;
  const uint64_t jitter_ns_;
  const uint64_t timeout_ns_;
  const bool resets_adapter_;
  const bool threads_;
  const bool skips_unexecuted_;
  std::vector<uint64_t> clock_hz_;                      // by node; fixed
  std::vector<AdapterProfile::CommandFormat> formats_;  // as those
  std::vector<ExecutionRules> execution_;               // as those

  Mutex mutex_;
  std::vector<std::unique_ptr<Node>> nodes_;
  uint32_t left_ DXG_GUARDED_BY(mutex_) = 0;  // commands that the engines went on without
  Rng rng_ DXG_GUARDED_BY(mutex_);
  uint64_t times_ready_ DXG_GUARDED_BY(mutex_) = 0;  // how often a queue became ready, ever
  std::deque<GpuMark> marks_ DXG_GUARDED_BY(mutex_);
  std::deque<std::string> private_data_ DXG_GUARDED_BY(mutex_);
  RecentAmount reached_bytes_ DXG_GUARDED_BY(mutex_);
  bool stop_ DXG_GUARDED_BY(mutex_) = false;
};

}  // namespace dxg::hostsim
