#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "hostsim/work/command_streamer.h"
#include "hostsim/work/eu/kernel.h"
#include "hostsim/work/eu/messages.h"
#include "hostsim/work/eu/thread.h"
#include "hostsim/work/eu/thread_group.h"

namespace dxg::hostsim::eu {

// What a GPU with two slices of Gen12LP can have at once. The driver sizes scratch and private memory by
// them.
inline constexpr uint32_t kExecutionUnits = 96;
inline constexpr uint32_t kThreadsMax = 7 * kExecutionUnits;
inline constexpr uint32_t kLocalBytesMax = 64 * 1024;      // of a group
inline constexpr uint32_t kAllLocalBytesMax = 768 * 1024;  // of all groups that run
inline constexpr uint32_t kCyclesPerInstruction = 2;       // of 16 lanes, on one execution unit
// From the start of a thread to the start of the next. An assumption: no public document has the rate.
inline constexpr uint32_t kCyclesPerThread = 2;

// What a walker starts.
struct DispatchOrder {
  uint64_t kernel = 0;                  // where its instructions begin
  uint32_t lanes = 8;                   // of a thread
  uint32_t threads = 1;                 // of a group
  uint32_t last_mask = ~0u;             // of the lanes of a group's last thread
  uint32_t first[3] = {}, end[3] = {};  // x, y, z of groups
  std::vector<uint8_t> payload;         // what all threads get, and then what each thread of a group gets
  uint32_t common_registers = 0, own_registers = 0;
  uint32_t local_bytes = 0;                  // of a group
  uint32_t rounding = 0;                     // cr0 bits 5:4
  uint32_t binding_table = 0, samplers = 0;  // as r0 has them
  uint64_t scratch = 0;                      // as r0 has it, of the first thread
  uint32_t scratch_code = 0;                 // 1 KiB << that for each thread
  MessageBases bases;

  uint64_t groups() const;  // at most 2^62 or so; the largest number where there are more
};

// The execution of one walker: groups become threads, as many as the GPU has room for, and threads take
// turns.
//
// One CPU does it, in slices: it belongs to the engine, whose thread goes on to other things between them.
// A group that is in the GPU runs before the next one comes in, because it is in the CPU's caches; if its
// threads wait for something, or take long, more groups come in, and all of them take turns, so that those
// who wait for each other go on. A thread has a number below kThreadsMax that no other running one has.
class Dispatch {
 public:
  // The order is one that Refusal finds nothing against. `has_room`: whether there is memory for all threads
  // and groups that it has at once, in bytes; it asks again when they become more.
  Dispatch(DispatchOrder order, std::shared_ptr<const Kernel> kernel, uint64_t instructions_max,
           std::function<bool(uint64_t)> has_room);

  // Why this GPU cannot do it; empty: it can.
  static std::string Refusal(const DispatchOrder& order);

  struct Stop {
    enum Kind { kDone, kSlice, kCancelled, kPageFault, kRefused, kHang } kind = kDone;
    GpuFault fault;
    int32_t offset = 0;  // of the instruction
    std::string why;     // what happened there, with the instruction's text
  };
  Stop Run(CommandEnvironment& environment, const std::atomic<bool>& cancelled);

  const DispatchOrder& order() const { return order_; }
  const Kernel& kernel() const { return *kernel_; }
  uint64_t instructions() const { return instructions_; }
  // How long the GPU took for what was executed since the last call, at so many cycles a second: its units
  // for the instructions, or what starts the threads for these, whichever is longer.
  uint64_t TakeTimeNs(uint64_t frequency_hz);

 private:
  bool HasRoom() const;
  void Admit();
  void Start(ThreadGroup& group, ThreadGroup::Member& member, uint32_t index);
  // One turn of a thread; false: `stop` says why nothing goes on.
  bool Turn(ThreadGroup& group, ThreadGroup::Member& member, const std::atomic<bool>& cancelled, Stop* stop);

  const DispatchOrder order_;
  const std::shared_ptr<const Kernel> kernel_;
  const uint64_t instructions_max_;
  const std::function<bool(uint64_t)> has_room_;
  Messages messages_;
  std::vector<std::unique_ptr<ThreadGroup>> groups_;
  uint32_t next_[3];  // the group that comes in next
  bool more_;
  std::vector<std::unique_ptr<Thread>> free_threads_;
  std::vector<uint32_t> free_ids_;
  // The turn that is next, and what has happened in this round of turns: of all groups, and of its own.
  size_t group_ = 0, member_ = 0;
  bool progress_ = false;
  bool group_progress_ = false;
  bool long_turn_ = false;  // a thread of the group has used up its turn
  uint64_t instructions_ = 0;
  uint64_t since_end_ = 0;  // instructions since a thread ended
  uint64_t counted_ = 0;    // instructions whose time was taken
  uint64_t started_ = 0;    // threads
  uint64_t counted_started_ = 0;
  uint64_t threads_made_ = 0;  // that run or are in free_threads_
  PageCache* pages_ = nullptr;
  uint64_t left_ = 0;  // of the slice, in instructions and what costs as much
};

}  // namespace dxg::hostsim::eu
